"""How far masks overlap, and voxels that several structures claim. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..boxes import Box
from .result import Found


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 0 where both are empty."""
    together = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / together if together else 0.0


def share_voxels(found: Sequence[Found]) -> list[Box]:
    """The masks of structures of one volume without their overlaps.

    A voxel that several claim goes to the one with the highest confidence there, the first of equals; without
    confidence to the first.
    """
    own = [one.mask for one in found]
    for first, second in combinations(range(len(found)), 2):
        # Who has the highest confidence loses against nobody, so pairs are enough.
        both = found[first].mask.meeting(found[second].mask)
        if both.is_empty:
            continue
        wins = _at(found[first], both) >= _at(found[second], both)
        for loser, lost in ((second, wins), (first, ~wins)):
            taken = np.zeros_like(both.mask)
            taken[both.mask] = lost
            own[loser] = own[loser].without(Box(taken, both.start))
    return own


def _at(found: Found, part: Box) -> np.ndarray:
    """(n,) confidence at the voxels of a part of the mask."""
    if found.confidence is None:
        return np.zeros(part.count, np.float32)
    whole = np.zeros(found.mask.mask.shape, np.float32)
    whole[found.mask.mask] = found.confidence
    return part.values(whole, found.mask.start)
