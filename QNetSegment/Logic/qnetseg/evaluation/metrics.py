"""Overlap measures and their uncertainty."""

from __future__ import annotations

import numpy as np

BOOTSTRAP_DRAWS = 2000


def dice(predicted: np.ndarray, target: np.ndarray) -> float:
    """Sorensen-Dice coefficient of two masks of equal shape (paper, Eq. 14), 0 to 1; 1 if both are empty."""
    predicted, target = predicted > 0, target > 0
    total = int(predicted.sum()) + int(target.sum())
    return 2 * int((predicted & target).sum()) / total if total else 1.0


def iou(predicted: np.ndarray, target: np.ndarray) -> float:
    """Intersection over union, 0 to 1; 1 if both are empty."""
    predicted, target = predicted > 0, target > 0
    union = int((predicted | target).sum())
    return int((predicted & target).sum()) / union if union else 1.0


def bootstrap_interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of per-patient values, by resampling patients."""
    rng = np.random.default_rng(seed)
    sample = np.asarray(values, dtype=float)
    means = sample[rng.integers(len(sample), size=(BOOTSTRAP_DRAWS, len(sample)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
