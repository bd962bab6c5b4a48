"""Intensity normalisation of a whole volume."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, VolumeError


def normalise(array: np.ndarray, top_percent: float = 0.5) -> np.ndarray:
    """Cut the brightest `top_percent` of the histogram (paper, 5.3), then z-score: float32, same shape.

    top_percent 0 leaves the histogram whole. The statistics are those of the whole volume; in the last bits
    they depend on the order of the axes, so normalise the canonical array where results must not depend on
    how a file was written. Raises VolumeError for a constant volume and InputError for a percentage outside
    0 <= p < 100.
    """
    if not 0.0 <= top_percent < 100.0:
        raise InputError(f"The share of the histogram to cut must be from 0 to below 100, not {top_percent}.")
    low = float(array.min())
    if low == float(array.max()):
        raise VolumeError(f"The volume is constant: every voxel has the value {low:g}.")
    ceiling = _percentile(array, 100.0 - top_percent) if top_percent else low
    # A ceiling at the minimum would leave nothing (an image that is almost all background): keep it whole.
    if ceiling > low:
        out = np.minimum(array, np.float32(ceiling), dtype=np.float32, order="C")
    else:
        out = array.astype(np.float32, order="C")
    # Centre before squaring, slice by slice in float64: exact enough and no temporary of the volume's size.
    out -= np.float32(out.mean(dtype=np.float64))
    residue = out.mean(dtype=np.float64)
    variance = sum(float(np.square(part, dtype=np.float64).sum()) for part in out) / out.size - residue**2
    out /= np.float32(np.sqrt(variance))
    return out


def _percentile(array: np.ndarray, percent: float) -> float:
    """The value at `percent` of the sorted voxels (the lower of two neighbours)."""
    rank = int((array.size - 1) * percent / 100.0)
    flat = array.flatten()
    flat.partition(rank)
    return float(flat[rank])
