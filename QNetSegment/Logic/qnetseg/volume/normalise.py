"""Intensity normalisation of a whole volume."""

from __future__ import annotations

import numpy as np

from ..errors import VolumeError

TOP_PERCENT = 0.5  # of the voxels, the brightest, are cut to one value (paper, 5.3)
FAR_BELOW = 0.5  # of the image's range: a lowest value that lies so far below all others is padding
FAR_ABOVE = 10.0  # the same for a highest value; bright tissue, bone and metal may lie far above the rest
FEW = 0.001  # of all voxels
STEP = 0.1  # of the image's range, by which padding stays off the image
TAILS = (0.5, 99.5)  # per cent of the voxels between which the image's range lies
ENOUGH = 1 << 20  # voxels that tell the range


def normalise(array: np.ndarray) -> np.ndarray:
    """What every network sees of a volume: the brightest TOP_PERCENT cut, then z-scored; float32, same shape.

    An image that was cut before keeps its histogram; padding far off the image is brought close to it (see
    `padding_floor`). The statistics are those of the whole volume; in the last bits they depend on the order
    of the axes, so normalise the canonical array where results must not depend on how a file was written.
    Raises VolumeError for a constant volume.
    """
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise VolumeError(f"The volume is constant: every voxel has the value {low:g}.")
    floor = padding_floor(array, low)
    ceiling = min(padding_ceiling(array, high, floor), _percentile(array, 100.0 - TOP_PERCENT))
    # A ceiling at the minimum would leave nothing (an image that is almost all background): keep it whole.
    if ceiling > floor:
        out = np.minimum(array, np.float32(ceiling), dtype=np.float32, order="C")
    else:
        out = array.astype(np.float32, order="C")
    if floor > low:
        np.maximum(out, np.float32(floor), out=out)
    # Centre before squaring, slice by slice in float64: exact enough and no temporary of the volume's size.
    out -= np.float32(out.mean(dtype=np.float64))
    residue = out.mean(dtype=np.float64)
    variance = sum(float(np.square(part, dtype=np.float64).sum()) for part in out) / out.size - residue**2
    out /= np.float32(np.sqrt(variance))
    return out


def padding_floor(array: np.ndarray, low: float) -> float:
    """The value that padding is raised to; `low`, the minimum, for an image without padding.

    Scanners write -2000, -3024 or -32768 outside their field of view, and programs one of these beside
    another; left there it would squeeze the image into a small part of the range. What is padding shows by
    the gap between it and everything else. Images of positive values have their own background at 0 and stay
    as they are.
    """
    sample, floor = _sampled(array), low
    while low < 0 and (rest := sample[sample > low]).size:
        first, last = (float(value) for value in np.percentile(rest, TAILS))
        if not first - low > FAR_BELOW * (last - first) > 0:
            break
        floor, low = first - STEP * (last - first), float(rest.min())
    return floor


def padding_ceiling(array: np.ndarray, high: float, floor: float) -> float:
    """The value that padding far above the image, such as 32767, is lowered to; else `high`, the maximum.

    floor: of `padding_floor`. A few voxels are no padding, and are cut with the brightest of the histogram.
    """
    sample = _sampled(array)
    if (sample == high).mean() <= FEW:
        return high
    rest = sample[(sample >= floor) & (sample < high)]
    if not rest.size:
        return high
    first, last = (float(value) for value in np.percentile(rest, TAILS))
    return last + STEP * (last - first) if high - last > FAR_ABOVE * (last - first) > 0 else high


def _sampled(array: np.ndarray) -> np.ndarray:
    """Every so many voxels, so that there are about ENOUGH."""
    step = max(1, round((array.size / ENOUGH) ** (1 / array.ndim)))
    return array[(slice(None, None, step),) * array.ndim]


def _percentile(array: np.ndarray, percent: float) -> float:
    """The value at `percent` of the sorted voxels (the lower of two neighbours)."""
    rank = int((array.size - 1) * percent / 100.0)
    return float(np.partition(array, rank, axis=None)[rank])
