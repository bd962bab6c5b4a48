"""Where the body is in a volume: what pseudo-labels are restricted to and prepared slices are centred on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qnetseg.errors import VolumeError


def foreground_mask(image: NDArray, threshold: float = 10.0) -> NDArray[np.bool_]:
    """The body: in every slice the largest connected region brighter than `threshold`, holes filled.

    `image` is a (K, J, I) volume; `threshold` counts on its 0..255 scale. Returns (K, J, I) bool.
    """
    mask = np.zeros(np.shape(image), dtype=bool)
    touching = np.ones((3, 3))
    for index, bright in enumerate(scaled(image) > threshold):
        regions, count = ndimage.label(bright, touching)
        if count:
            largest = 1 + np.argmax(np.bincount(regions.ravel())[1:])
            mask[index] = ndimage.binary_fill_holes(regions == largest)
    return mask


def scaled(image: NDArray) -> NDArray[np.float64]:
    """`image` on the scale 0..255 that thresholds and parameters refer to. Raises VolumeError."""
    volume = np.asarray(image, dtype=np.float64)
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise VolumeError("Supervoxels need a 3-D volume without NaN or infinite values.")
    lowest, highest = volume.min(), volume.max()
    if lowest == highest:
        raise VolumeError("Supervoxels need contrast, and all voxels of this volume are equal.")
    # Multiplied before the division: the last bits order edges of otherwise equal weight.
    return 255 * (volume - lowest) / (highest - lowest)


def body_box(body: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around `body` on all slices; (K, J, I) bool, at least one True."""
    rows, columns = (np.flatnonzero(body.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
