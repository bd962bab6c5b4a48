"""From a volume to the network's slices, and back to the volume's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model import QNetConfig
from ..volume import PLANES, InPlaneGrid, Orientation, SupportSet, Volume, canonical, normalise, volume_id

LEAST_ACROSS = 96  # network pixels along the larger edge of a field of view, at least


@dataclass(frozen=True)
class Stack:
    """The query as slices of the support's plane.

    Attributes:
        slices: (S, H, W) float32, z-scored, native in-plane resolution, reoriented like the support's volume.
        axis: array axis of the reoriented volume that S runs along.
        orientation: way back to native axes.
        spacing: mm along (S, H, W).
        volume_id: fingerprint of the query.
        same_volume: whether the support was drawn on this volume.
    """

    slices: np.ndarray
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

    def along(self, array: np.ndarray) -> np.ndarray:
        """(K, J, I) array on the query's own axes as (S, H, W), contiguous."""
        return np.ascontiguousarray(np.moveaxis(self.orientation.apply(array), self.axis, 0))


def build_stack(support: SupportSet, query: Volume) -> Stack:
    """Bring the query to the support's plane, and normalise it."""
    turned, orientation = canonical(query, support.axes)
    axis = PLANES[support.plane]
    # Normalised after turning: sums depend on the axis order in their last bits.
    slices = np.ascontiguousarray(np.moveaxis(normalise(turned.array), axis, 0))
    spacing = _reordered(turned.spacing, axis)
    identity = volume_id(query)
    return Stack(slices, axis, orientation, spacing, identity, support.volume_id == identity)


def model_grid(support: SupportSet, stack: Stack, config: QNetConfig) -> InPlaneGrid:
    """The grid of Q-Net's images that the query's and all drawn slices fit in.

    Its pixels are those that Q-Net was trained with; coarser for a field of view that does not fit, and finer
    for one that would be lost in them, as of a micro-CT.
    """
    shape = stack.slices.shape[1], stack.slices.shape[2]
    fields = [
        (shape, stack.spacing[1:]),
        *(((part.mask.shape[0], part.mask.shape[1]), part.spacing) for part in support.slices),
    ]
    largest = max(count * mm for counts, spacing in fields for count, mm in zip(counts, spacing, strict=True))
    spacing = max(min(config.spacing, largest / LEAST_ACROSS), largest / config.size)
    return InPlaneGrid(shape, stack.spacing[1:], spacing, config.size)


def support_images(support: SupportSet, grid: InPlaneGrid) -> tuple[np.ndarray, np.ndarray]:
    """Support images and masks on the network's grid: (n, size, size) float32 each, masks 0 or 1.

    Only slices that hold the structure. No mask is empty: the grid covers every support slice, and a drawing
    thinner than a pixel keeps its core. grid: of the query, see `model_grid`.
    """
    images, masks = [], []
    for part in support.filled:
        shape = (part.mask.shape[0], part.mask.shape[1])
        own = InPlaneGrid(shape, part.spacing, grid.spacing, grid.size)
        images.append(own.to_model(part.image[None], fill=float(part.image.min()))[0])
        masks.append(model_mask(part.mask, own))
    return np.stack(images), np.stack(masks)


def model_mask(mask: np.ndarray, grid: InPlaneGrid) -> np.ndarray:
    """A drawn mask (H, W) on the network's grid: (size, size) float32, 0 or 1, never empty."""
    coverage = grid.to_model(mask[None].astype(np.float32))[0]
    inside = coverage >= 0.5
    return (inside if inside.any() else coverage >= coverage.max()).astype(np.float32)


def _reordered(spacing: tuple[float, float, float], axis: int) -> tuple[float, float, float]:
    rows, columns = (mm for other, mm in enumerate(spacing) if other != axis)
    return spacing[axis], rows, columns
