"""Baseline without image: shapes between drawn slices, as Slicer's "Fill between slices"."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

from .task import Answer, Task


def shape_interpolation(task: Task) -> Answer:
    """Signed distances of neighbouring drawn slices mixed linearly (Raya and Udupa 1990).

    Towards a slice drawn as empty the outline is eroded the way that an ellipsoid ends. Beyond the outermost
    drawn slices there is nothing.
    """
    mask = np.zeros_like(task.mask)
    for low, high in pairwise(task.slices):
        lower, upper = task.mask[low], task.mask[high]
        if not (lower.any() or upper.any()):
            continue
        for index in range(low + 1, high):
            way = (index - low) / (high - low)
            if lower.any() and upper.any():
                mixed = (1 - way) * _depth(lower, task) + way * _depth(upper, task)
            else:
                depth = _depth(lower if lower.any() else upper, task)
                from_drawn = way if lower.any() else 1 - way
                mixed = depth - depth.max() * (1 - np.sqrt(1 - from_drawn**2))
            mask[index] = mixed > 0
    return Answer(task.as_drawn(mask))


def _depth(mask: np.ndarray, task: Task) -> np.ndarray:
    """Signed distance of (H, W) to the outline in mm, positive inside."""
    spacing = task.spacing[1:]
    inside = ndimage.distance_transform_edt(mask, spacing)
    outside = ndimage.distance_transform_edt(~mask, spacing)
    return np.asarray(inside - outside)
