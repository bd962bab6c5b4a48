"""What kind of structure an expert's mask shows, by its shape alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

KINDS = ("compact", "long and thin", "shell", "many parts")
HOLLOW = 0.25  # share of a slice's filled area that is a hole, from which it is a shell
PART = 0.2  # share of a slice's area, from which a part of it counts
LONG = 2.5  # times the deviation along the second axis, from which the first one makes it long


def kind_of(mask: np.ndarray, spacing: tuple[float, float, float]) -> str:
    """One of `KINDS`, for a mask (S, H, W) bool that is not empty; spacing: mm along its axes.

    A shell is hollow, and a structure of many parts is in pieces, on the slice of its largest area; a long
    one extends along its first principal axis far more than along the second.
    """
    largest = mask[int(mask.sum((1, 2)).argmax())]
    filled = ndimage.binary_fill_holes(largest)
    if 1 - largest.sum() / filled.sum() >= HOLLOW:
        return "shell"
    labels, count = ndimage.label(largest, np.ones((3, 3)))
    areas = ndimage.sum_labels(largest, labels, np.arange(1, count + 1))
    if (np.asarray(areas) >= PART * largest.sum()).sum() > 1:
        return "many parts"
    places = np.argwhere(mask) * np.array(spacing)
    if len(places) < 4:
        return "compact"
    variances = np.linalg.eigvalsh(np.cov(places.T))
    return "long and thin" if variances[2] >= LONG**2 * max(variances[1], 1e-6) else "compact"
