"""Whether the confidence of a method is right: in voxels, and in slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rows import R1Row, Reliability, ReliabilityFigures
from .scoring import WORST_FEW, slice_dice

BINS = 10
FAINT = 0.02  # voxels below it are the background that nobody doubts: they would drown all others


def reliability(
    probability: np.ndarray,
    mask: np.ndarray,
    truth: np.ndarray,
    confidence: dict[int, float],
    scored: np.ndarray,
) -> Reliability:
    """What a result file keeps of one result.

    Args:
        probability: (S, H, W) float32 of the structure, as the method says it.
        mask, truth: (S, H, W) bool.
        confidence: slice -> Dice that the method expects.
        scored: (S,) bool, slices that count.
    """
    asked = probability[scored]
    seen = asked > FAINT
    bins = np.minimum((asked[seen] * BINS).astype(int), BINS - 1)
    right = truth[scored][seen]
    voxels = [[int((bins == b).sum()), int(right[bins == b].sum())] for b in range(BINS)]
    occupied = np.flatnonzero(scored & (mask | truth).any(axis=(1, 2)))
    quality = slice_dice(mask, truth)
    slices = [
        [round(confidence[i], 3), round(float(quality[i]), 3)] for i in occupied.tolist() if i in confidence
    ]
    return {"voxels": voxels, "slices": slices}


def summarise_reliability(rows: Sequence[R1Row]) -> ReliabilityFigures | None:
    """Over all rows that have it (None where none has)."""
    own = [entry for row in rows if (entry := row.get("reliability"))]
    pairs = np.array([pair for entry in own for pair in entry["slices"]]).reshape(-1, 2)
    if not len(pairs):
        return None
    voxels = np.sum([entry["voxels"] for entry in own], axis=0)
    middles = (np.arange(BINS) + 0.5) / BINS
    gaps = np.abs(middles * voxels[:, 0] - voxels[:, 1]).sum()
    several = [np.array(entry["slices"]) for entry in own if len(entry["slices"]) > WORST_FEW]
    varied = bool((pairs.std(axis=0) > 0).all())
    return {
        "voxels": voxels.tolist(),
        "voxel_error": float(gaps / max(voxels[:, 0].sum(), 1)),
        "slices": len(pairs),
        "slice_error": float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()),
        "correlation": float(np.corrcoef(pairs.T)[0, 1]) if varied else None,
        "least_sure_hits": 100 * float(np.mean([_hit(pairs) for pairs in several])) if several else None,
    }


def _hit(pairs: np.ndarray) -> bool:
    return bool(pairs[pairs[:, 0].argmin(), 1] <= np.sort(pairs[:, 1])[WORST_FEW - 1])


def binned(pairs: np.ndarray) -> list[list[float]]:
    """(n, 2) of expected and true values -> [mean expected, mean true] of each bin that is not empty."""
    bins = np.minimum((pairs[:, 0] * BINS).astype(int), BINS - 1)
    return [pairs[bins == b].mean(axis=0).tolist() for b in range(BINS) if (bins == b).any()]
