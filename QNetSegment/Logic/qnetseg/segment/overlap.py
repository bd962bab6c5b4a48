"""How far masks overlap, and voxels that several structures claim. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .result import Segmentation


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 0 where both are empty."""
    together = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / together if together else 0.0


def share_voxels(results: Sequence[Segmentation]) -> list[np.ndarray]:
    """The masks of structures of one volume without their overlaps, (K, J, I) uint8, 0 or 1.

    A voxel that several claim goes to the one with the highest confidence there, the first of equals.
    """
    if len(results) < 2:  # the usual case, at once also for a large volume
        return [(result.mask > 0).astype(np.uint8) for result in results]
    shape = results[0].mask.shape
    owner = np.full(shape, -1, np.int16)
    best = np.zeros(shape, np.float32)  # confidence of the owner
    for number, result in enumerate(results):
        wins = (result.mask > 0) & ((owner < 0) | (result.confidence > best))
        owner[wins] = number
        best[wins] = result.confidence[wins]
    return [(owner == number).astype(np.uint8) for number in range(len(results))]
