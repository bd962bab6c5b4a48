"""Lower bound without image: an ellipsoid around the drawn slice, as long as the structure usually is."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from .task import Answer, Task


def ellipsoid(task: Task) -> Answer:
    """The drawn outline shrinks about its centroid as an ellipsoid's section does.

    The drawn slice with the largest area is taken for the middle; beyond half the usual length of the
    structure there is nothing. Where no other patient has that length, it is the diameter of a disc of the
    drawn area.
    """
    spacing, areas = task.spacing, task.mask.sum(axis=(1, 2))
    middle = int(areas.argmax())
    drawn = task.mask[middle]
    disc = 2 * math.sqrt(float(areas[middle]) * spacing[1] * spacing[2] / math.pi)
    half = (task.usual_length or disc) / 2
    mask = np.zeros_like(task.mask)
    for index in range(len(mask)):
        share = 1 - ((index - middle) * spacing[0] / half) ** 2
        if share > 0:
            mask[index] = scaled(drawn, math.sqrt(share))
    return Answer(task.as_drawn(mask))


def scaled(mask: np.ndarray, factor: float) -> np.ndarray:
    """(H, W) bool, scaled about its centroid."""
    centre = np.array(ndimage.center_of_mass(mask))
    matrix = np.eye(2) / factor
    values = ndimage.affine_transform(mask.astype(np.float32), matrix, centre - matrix @ centre, order=1)
    return np.asarray(values > 0.5)
