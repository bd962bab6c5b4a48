"""From a volume to the network's slices, and back to the volume's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model import QNetConfig
from ..volume import PLANES, InPlaneGrid, Orientation, SupportSet, Volume, canonical, normalise, volume_id


@dataclass(frozen=True)
class Stack:
    """The query as slices of the support's plane.

    Attributes:
        slices: (S, H, W) float32, z-scored, native in-plane resolution, turned like the support's volume.
        grid: to and from the network's images.
        axis: array axis of the turned volume that S runs along.
        orientation: way back to native axes.
        spacing: mm along (S, H, W).
        volume_id: fingerprint of the query.
        same_volume: whether the support was drawn on this volume.
    """

    slices: np.ndarray
    grid: InPlaneGrid
    axis: int
    orientation: Orientation
    spacing: tuple[float, float, float]
    volume_id: str
    same_volume: bool

    @property
    def fill(self) -> float:
        """Value of the background outside the field of view."""
        return float(self.slices.min())

    def native(self, stack: np.ndarray) -> np.ndarray:
        """(S, H, W) array back on the query's own (K, J, I) axes, contiguous."""
        return np.ascontiguousarray(self.orientation.back(np.moveaxis(stack, 0, self.axis)))


def build_stack(support: SupportSet, query: Volume, config: QNetConfig) -> Stack:
    """Bring the query to the support's plane, and find the in-plane grid that both fit in."""
    turned, orientation = canonical(query, support.axes)
    axis = PLANES[support.plane]
    # Normalised after turning: sums depend on the axis order in their last bits.
    slices = np.moveaxis(normalise(turned.array, config.top_percent), axis, 0)
    spacing = _reordered(turned.spacing, axis)
    fields = [(slices.shape[1:], spacing[1:]), *((part.mask.shape, part.spacing) for part in support.slices)]
    coarsest = max(
        InPlaneGrid.fitting(shape, mm, config.spacing, config.size).spacing for shape, mm in fields
    )
    grid = InPlaneGrid((slices.shape[1], slices.shape[2]), spacing[1:], coarsest, config.size)
    identity = volume_id(query)
    return Stack(slices, grid, axis, orientation, spacing, identity, support.volume_id == identity)


def support_images(support: SupportSet, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Support images and masks on the network's grid: (n, size, size) float32 each, masks 0 or 1.

    No mask is empty: the grid covers every support slice, and a drawing thinner than a pixel keeps its core.
    """
    images, masks = [], []
    for part in support.slices:
        grid = InPlaneGrid(
            (part.mask.shape[0], part.mask.shape[1]), part.spacing, stack.grid.spacing, stack.grid.size
        )
        images.append(grid.to_model(part.image[None], fill=float(part.image.min()))[0])
        masks.append(model_mask(part.mask, grid))
    return np.stack(images), np.stack(masks)


def model_mask(mask: np.ndarray, grid: InPlaneGrid) -> np.ndarray:
    """A drawn mask (H, W) on the network's grid: (size, size) float32, 0 or 1, never empty."""
    coverage = grid.to_model(mask[None].astype(np.float32))[0]
    inside = coverage >= 0.5
    return (inside if inside.any() else coverage >= coverage.max()).astype(np.float32)


def _reordered(spacing: tuple[float, float, float], axis: int) -> tuple[float, float, float]:
    rows, columns = (mm for other, mm in enumerate(spacing) if other != axis)
    return spacing[axis], rows, columns
