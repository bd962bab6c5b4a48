"""Drawings told from images whose values happen to be whole numbers."""

from __future__ import annotations

import numpy as np

from ..errors import MaskError
from .segfile import labels_of

SEVERAL = 16  # values; with fewer an image cannot be told from a label map
ALIKE = 0.5  # share of neighbouring voxels of one value: more in regions, less in grey values
MOST = 512  # labels that anybody would want to segment one after the other


def require_drawing(array: np.ndarray, name: str) -> None:
    """MaskError for a (K, J, I) array of whole numbers that looks like an image; name: of its file."""
    if array.ndim != 3:
        return
    labels = labels_of(array)
    if len(labels) > MOST or (len(labels) > SEVERAL and _alike(array) < ALIKE):
        raise MaskError(
            f"The mask '{name}' has {len(labels)} different values: it looks like an image, not a drawing.",
            "Choose the drawing as mask; perhaps image and mask were exchanged.",
        )


def _alike(array: np.ndarray) -> float:
    """Share of neighbours with the same value, the commonest value (background) aside.

    Neighbours along the longest axis; 0 to 1.
    """
    values, counts = np.unique(array, return_counts=True)
    background = values[counts.argmax()]
    along = np.moveaxis(array, int(np.argmax(array.shape)), 0)
    one, other = along[:-1], along[1:]
    inside = (one != background) | (other != background)
    return float((one == other)[inside].mean()) if inside.any() else 1.0
