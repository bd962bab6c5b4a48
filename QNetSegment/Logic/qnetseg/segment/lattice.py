"""The box around a drawing, in cells as fine as the drawing needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

MARGIN = 20.0  # mm beside the structure's radius: as far as a neighbouring slice's outline may lie
COARSEST = 2  # pixels along a cell's edge
THICKNESS = 6.0  # cells across the thickest part of the drawing, at least, unless pixels are coarser


@dataclass(frozen=True)
class Lattice:
    """Square cells of `cell` x `cell` pixels in a window of (S, N, N) images.

    Attributes:
        rows, columns: window, whole cells.
        cell: pixels along a cell's edge.
        size: N.
    """

    rows: slice
    columns: slice
    cell: int
    size: int

    @classmethod
    def around(cls, masks: np.ndarray, radius: float, spacing: float) -> Lattice:
        """The window of what is drawn and its surroundings.

        masks: (n, N, N) bool, not empty; radius: mm of the structure; spacing: mm of a pixel.
        """
        # A frame of background, from which the thickness of a mask that fills its slice can be told.
        depth = max(float(ndimage.distance_transform_edt(np.pad(mask, 1)).max()) for mask in masks)
        cell = int(np.clip(2 * depth / THICKNESS, 1, COARSEST))
        margin = (radius + MARGIN) / spacing
        rows, columns = (np.asarray(masks.any(axis=(0, axis))) for axis in (2, 1))
        return cls(_window(rows, margin, cell), _window(columns, margin, cell), cell, masks.shape[-1])

    def cells(self, images: Tensor) -> Tensor:
        """(S, N, N) float images -> (S, H, W) means of the cells."""
        return F.avg_pool2d(images[:, None, self.rows, self.columns].float(), self.cell)[:, 0]

    def images(self, cells: Tensor) -> Tensor:
        """(S, H, W) -> (S, N, N) float32, linear, 0 outside the window."""
        inside = F.interpolate(cells[:, None], scale_factor=self.cell, mode="bilinear", align_corners=False)
        out = torch.zeros(len(cells), self.size, self.size)
        out[:, self.rows, self.columns] = inside[:, 0]
        return out


def _window(occupied: np.ndarray, margin: float, cell: int) -> slice:
    """Whole cells around the occupied pixels of one axis, within it."""
    places, count = np.flatnonzero(occupied), len(occupied) // cell
    first = max(int((places[0] - margin) // cell), 0)
    last = min(int((places[-1] + 1 + margin) // cell) + 1, count)
    return slice(min(first, count - 1) * cell, max(last, first + 1) * cell)


def radius_mm(mask: np.ndarray, spacing: float) -> float:
    """Radius in mm of the circle with the area of a filled (N, N) bool mask; spacing: mm of a pixel."""
    return float(np.sqrt(ndimage.binary_fill_holes(mask).sum() / np.pi)) * spacing
