"""Windows on a stack of slices, scaled to what is drawn: where they lie, and the way there and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.propagation import STRIDE

DEPTH = 32  # planes of a window, as in training
WHOLE = 48  # planes of a stack up to which one window holds it all: no window has to move on
SIDE = 128  # pixels along the edge of the largest window, as in training
LEAST_SIDE = 64
RADII = 6.0  # edge of a window in radii of the drawn structure, as in training; no more than the image has
MARGIN = 1.25  # edge of a window in extents of the drawing, at least
FEWEST = 8.0  # pixels of radius below which a window has finer pixels than the image
FINEST = 0.5  # pixels of the image in one of the window's at least
PLANE_GAP = 1 / 8  # radii between two planes where slices are thin, as in training


@dataclass(frozen=True)
class Window:
    """Where a window lies in a stack of slices (S, H, W).

    Attributes:
        centre: row and column in the slices' pixels.
        pixel: mm.
        side: pixels along an edge, N.
        planes: (D,) slice of each plane, rising or falling, also beyond the stack's ends.
        radius: of the drawn structure in the window's pixels.
        gap: distance between planes in the window's pixels.
    """

    centre: tuple[float, float]
    pixel: float
    side: int
    planes: np.ndarray
    radius: float
    gap: float

    @classmethod
    def around(
        cls, masks: Mapping[int, np.ndarray], count: int, spacing: tuple[float, float, float]
    ) -> Window:
        """The first window of a drawing: around its largest slice.

        Args:
            masks: slice -> (H, W) bool, at least one of them not empty.
            count: slices of the stack.
            spacing: mm along (S, H, W).
        """
        anchor = max(masks, key=lambda index: int(masks[index].sum()))
        mask = masks[anchor]
        thick, *inner = spacing
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        extent = max((part[-1] - part[0] + 1) * mm for part, mm in zip((rows, columns), inner, strict=True))
        radius = math.sqrt(float(mask.sum()) * inner[0] * inner[1] / math.pi)
        image = max(side * mm for side, mm in zip(mask.shape, inner, strict=True))
        width = max(min(RADII * radius, image), MARGIN * extent)
        pixel = max(width / SIDE, FINEST * min(inner), min(min(inner), radius / FEWEST))
        side = min(SIDE, max(LEAST_SIDE, rounded_up(width / pixel, STRIDE[1])))
        step = max(1, round(PLANE_GAP * radius / thick))
        middle = tuple(float(part[0] + part[-1]) / 2 for part in (rows, columns))
        return cls(
            (middle[0], middle[1]),
            pixel,
            side,
            _first_planes(anchor, count, step),
            radius / pixel,
            step * thick / pixel,
        )

    @property
    def step(self) -> int:
        """Slices from one plane to the next, negative where they fall."""
        return int(self.planes[1] - self.planes[0])

    def moved(self, planes: int, rows: int, columns: int) -> Window:
        """The window so many planes further on, and so many of its pixels aside."""
        return replace(
            self,
            planes=self.planes + planes * self.step,
            centre=(self.centre[0] + rows, self.centre[1] + columns),
        )

    def turned(self) -> Window:
        """The same window with its planes in the other order."""
        return replace(self, planes=self.planes[::-1].copy())

    def sample(self, slices: Tensor, spacing: tuple[float, float]) -> Tensor:
        """(D, N, N) float32 of (S, H, W) slices; planes beyond the stack repeat its ends.

        spacing: mm of the slices' pixels.
        """
        index = torch.from_numpy(self.planes.clip(0, len(slices) - 1)).to(slices.device)
        planes, first = (
            averaged(slices[index].float(), max(1, int(self.pixel / max(spacing)))),
            slices.shape[1:],
        )
        grid = self._grid(first, spacing).to(slices.device)
        return F.grid_sample(planes[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[
            0
        ]

    def inside(self, shape: tuple[int, int, int], spacing: tuple[float, float]) -> Tensor:
        """(D, N, N) float32, 1 within a stack of this shape."""
        grid = self._grid(shape[1:], spacing)[0]
        within = (grid.abs() <= 1).all(-1).float()
        planes = torch.from_numpy((self.planes >= 0) & (self.planes < shape[0])).float()
        return planes[:, None, None] * within

    def native(
        self, values: Tensor, shape: tuple[int, int], spacing: tuple[float, float]
    ) -> tuple[Tensor, Box]:
        """(D, N, N) values on the slices' own pixels: (D, h, w) float32, and the box of (H, W) it fills."""
        box = self._box(shape, spacing)
        edge = self.pixel * self.side / 2
        axes = [
            (torch.arange(low, high).float() - middle) * mm / edge
            for (low, high), middle, mm in zip(box, self.centre, spacing, strict=True)
        ]
        y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([x, y], -1)[None].to(values.device)
        found = F.grid_sample(values[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
        return found[0], box

    def _box(self, shape: tuple[int, int], spacing: tuple[float, float]) -> Box:
        edge = self.pixel * self.side / 2
        found = []
        for middle, count, mm in zip(self.centre, shape, spacing, strict=True):
            low, high = math.ceil(middle - edge / mm), math.floor(middle + edge / mm) + 1
            found.append((min(max(low, 0), count), max(min(high, count), 0)))
        return found[0], found[1]

    def _grid(self, shape: torch.Size | tuple[int, ...], spacing: tuple[float, float]) -> Tensor:
        """(1, N, N, 2) places of the window's pixels for `grid_sample`."""
        across = (torch.arange(self.side) - (self.side - 1) / 2) * self.pixel
        rows, columns = (
            (2 * (across / mm + middle) + 1) / count - 1
            for mm, middle, count in zip(spacing, self.centre, shape, strict=True)
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([x, y], -1)[None]


Box = tuple[tuple[int, int], tuple[int, int]]
"""First and last + 1 of rows, and of columns."""


def averaged(planes: Tensor, factor: int) -> Tensor:
    """(D, H, W) planes against aliasing: blocks of pixels are averaged, and the field of view stays."""
    if factor == 1:
        return planes
    rows, columns = (count // factor * factor for count in planes.shape[1:])
    if not rows or not columns:
        return planes
    whole = planes[:, None, :rows, :columns]
    small = F.avg_pool2d(whole, factor)
    spread = F.interpolate(small, (rows, columns), mode="bilinear", align_corners=False)[:, 0]
    return F.pad(spread, (0, planes.shape[2] - columns, 0, planes.shape[1] - rows), mode="replicate")


def _first_planes(anchor: int, count: int, step: int) -> np.ndarray:
    """All of the stack where it fits in a window, else the part around the anchor."""
    below, above = -(-anchor // step), -(-(count - 1 - anchor) // step)
    if below + above + 1 <= WHOLE:
        depth = rounded_up(below + above + 1, STRIDE[0])
        return anchor + step * (np.arange(depth) - below)
    first = min(max(below - DEPTH // 2, 0), below + above + 1 - DEPTH)
    return anchor + step * (np.arange(DEPTH) + first - below)


def rounded_up(value: float, multiple: int) -> int:
    """The smallest multiple that is not below the value."""
    return math.ceil(value / multiple - 1e-9) * multiple
