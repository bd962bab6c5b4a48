"""Overlap measures and their uncertainty."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

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


def surface_dice(
    predicted: np.ndarray, target: np.ndarray, spacing: tuple[float, ...], tolerance_mm: float
) -> float:
    """Share of both surfaces that lies within a tolerance of the other (Nikolov 2021), 0 to 1.

    Surfaces are the masks' voxels with a neighbour outside; 1 if both masks are empty, 0 if one is.
    """
    if not (predicted.any() and target.any()):
        return float(predicted.any() == target.any())
    there, back = _surface_distances(predicted > 0, target > 0, spacing)
    close = int((there <= tolerance_mm).sum()) + int((back <= tolerance_mm).sum())
    return close / (len(there) + len(back))


def hausdorff95(predicted: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> float:
    """The larger 95th percentile of the two directed surface distances in mm; NaN if a mask is empty."""
    if not (predicted.any() and target.any()):
        return float("nan")
    return float(max(np.percentile(d, 95) for d in _surface_distances(predicted > 0, target > 0, spacing)))


def _surface_distances(
    predicted: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """mm from each surface voxel of one mask to the surface of the other, and the other way round."""
    own, other = (mask & ~ndimage.binary_erosion(mask) for mask in (predicted, target))
    to_other = ndimage.distance_transform_edt(~other, spacing)
    to_own = ndimage.distance_transform_edt(~own, spacing)
    return to_other[own], to_own[other]
