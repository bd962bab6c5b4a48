"""Overlap and distance measures and their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from scipy import ndimage

BOOTSTRAP_DRAWS = 2000
LEAST_TOLERANCE = 2.0  # mm, of the surface Dice; the slice thickness where that is larger


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


class Measures(TypedDict, total=False):  # of a case in fractions and mm, or means in per cent and mm
    dice: float
    iou: float | None
    surface_dice: float | None
    hd95: float | None


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm between the surfaces of two masks.

    A mask's surface is its voxels with a background voxel among their six neighbours; beyond the array is
    background. Distances run between voxel centres, and every surface voxel counts the same.

    Attributes:
        to_target: of every surface voxel of the prediction to the nearest one of the target.
        to_predicted: the other way round. Both are empty if one of the masks is empty.
        empty: how many of the two masks are empty.
    """

    to_target: np.ndarray
    to_predicted: np.ndarray
    empty: int

    @classmethod
    def between(
        cls, predicted: np.ndarray, target: np.ndarray, spacing: tuple[float, float, float]
    ) -> SurfaceDistances:
        """predicted, target: (K, J, I), foreground where above 0; spacing: mm along (k, j, i)."""
        masks = [np.asarray(mask) > 0 for mask in (predicted, target)]
        empty = sum(not mask.any() for mask in masks)
        if empty:
            return cls(np.zeros(0), np.zeros(0), empty)
        # Distances are needed at surfaces only, so the common bounding box gives the same ones.
        box = ndimage.find_objects((masks[0] | masks[1]).astype(np.uint8))[0]
        surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in masks]
        to_own = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
        return cls(to_own[1][surfaces[0]], to_own[0][surfaces[1]], 0)

    def dice(self, tolerance: float) -> float:
        """Surface Dice (Nikolov et al. 2021, arXiv 1809.04430), 0 to 1: the share of both surfaces that lies
        within `tolerance` mm of the other; 0 if one mask is empty, 1 if both are."""
        if self.empty:
            return float(self.empty == 2)
        near = int((self.to_target <= tolerance).sum()) + int((self.to_predicted <= tolerance).sum())
        return near / (len(self.to_target) + len(self.to_predicted))

    def hd95(self) -> float | None:
        """The larger of the two directions' 95th percentiles in mm; None if a mask is empty."""
        if self.empty:
            return None
        return max(float(np.percentile(side, 95)) for side in (self.to_target, self.to_predicted))


def surface_tolerance(spacing: tuple[float, float, float]) -> float:
    """Tolerance of the surface Dice in mm: max(2 mm, slice thickness). spacing: mm along (k, j, i)."""
    return max(LEAST_TOLERANCE, spacing[0])


def measures(predicted: np.ndarray, target: np.ndarray, spacing: tuple[float, float, float]) -> Measures:
    """All of one case. predicted, target: (K, J, I), foreground above 0; spacing: mm along (k, j, i)."""
    distances = SurfaceDistances.between(predicted, target, spacing)
    return {
        "dice": dice(predicted, target),
        "iou": iou(predicted, target),
        "surface_dice": distances.dice(surface_tolerance(spacing)),
        "hd95": distances.hd95(),
    }


def bootstrap_interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of per-patient values, by resampling patients."""
    return bootstrap_mean_interval(np.asarray(values, dtype=float)[:, None], seed)


def bootstrap_mean_interval(table: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean over structures of their means over patients.

    table: (patients, structures) float, not a number where a patient lacks a structure. Patients are
    resampled whole, so what their structures have in common is kept. Structures that no drawn patient has
    are left out of that draw.
    """
    rng = np.random.default_rng(seed)
    picked = table[rng.integers(len(table), size=(BOOTSTRAP_DRAWS, len(table)))]
    there = ~np.isnan(picked)
    counts = there.sum(axis=1)
    means = np.where(there, picked, 0).sum(axis=1) / np.maximum(counts, 1)
    draws = (means * (counts > 0)).sum(axis=1) / np.maximum((counts > 0).sum(axis=1), 1)
    low, high = np.percentile(draws[counts.any(axis=1)], [2.5, 97.5])
    return float(low), float(high)
