"""One result against the expert's mask: overlap, surfaces, volume, ends, and what lies beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..metrics import measures
from .rows import Score

WORST_FEW = 3  # a flag, or the least certain slice, is right when it is one of so many


def score(
    predicted: np.ndarray,
    target: np.ndarray,
    spacing: tuple[float, float, float],
    drawn: Iterable[int] = (),
    labelled: np.ndarray | None = None,
) -> Score:
    """Figures of a result on the slices that nobody drew.

    Drawn slices and those that no expert has labelled are cut out of both masks before they are compared;
    of the ends only the drawn slices count as found. Ends and false volume need every slice labelled.

    Args:
        predicted, target: (S, H, W) bool.
        spacing: mm along (S, H, W).
        drawn: slices that are not scored.
        labelled: (S,) bool; None for all.
    """
    labelled = np.ones(len(target), bool) if labelled is None else labelled
    kept = labelled.copy()
    kept[list(drawn)] = False
    found, true = predicted[kept], target[kept]
    voxel_ml = math.prod(spacing) / 1000
    ends = end_errors(predicted, target) if labelled.all() else None
    return {
        **measures(found, true, spacing),
        "volume_error": 100 * (float(found.sum()) / float(true.sum()) - 1) if true.any() else None,
        "end_error_slices": ends,
        "end_error_mm": None if ends is None else [error * spacing[0] for error in ends],
        "false_ml": outside_range(predicted, target) * voxel_ml if labelled.all() else None,
    }


def slice_dice(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(S,) Dice of each slice; 1 where both are empty."""
    both = (predicted & target).sum(axis=(1, 2))
    total = predicted.sum(axis=(1, 2)) + target.sum(axis=(1, 2))
    return np.asarray(np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0))


def end_errors(predicted: np.ndarray, target: np.ndarray) -> list[int] | None:
    """Slices by which a result runs past the low and the high end (negative: stops short)."""
    found = np.flatnonzero(predicted.any(axis=(1, 2)))
    true = np.flatnonzero(target.any(axis=(1, 2)))
    if not len(found) or not len(true):
        return None
    return [int(true[0] - found[0]), int(found[-1] - true[-1])]


def outside_range(predicted: np.ndarray, target: np.ndarray) -> int:
    """Voxels of a result on slices beyond the first and the last that hold the structure."""
    true = np.flatnonzero(target.any(axis=(1, 2)))
    if not len(true):
        return int(predicted.sum())
    return int(predicted[: true[0]].sum() + predicted[true[-1] + 1 :].sum())
