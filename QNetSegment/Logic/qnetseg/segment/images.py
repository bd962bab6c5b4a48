"""Slices on the grid of Q-Net's images."""

from __future__ import annotations

import numpy as np

from ..model import QNetConfig
from ..volume import InPlaneGrid, SupportSet
from .query import Stack

LEAST_ACROSS = 96  # network pixels along the larger edge of a field of view, at least


def model_grid(support: SupportSet, stack: Stack, config: QNetConfig) -> InPlaneGrid:
    """The grid of Q-Net's images that the query's and all drawn slices fit in."""
    shape = stack.slices.shape[1], stack.slices.shape[2]
    fields = [
        (shape, stack.spacing[1:]),
        *(((part.mask.shape[0], part.mask.shape[1]), part.spacing) for part in support.slices),
    ]
    largest = max(count * mm for counts, spacing in fields for count, mm in zip(counts, spacing, strict=True))
    return InPlaneGrid(shape, stack.spacing[1:], fitted_spacing(largest, config), config.size)


def fitted_spacing(field: float, config: QNetConfig) -> float:
    """mm of the pixels of Q-Net's images for a field of view of so many mm.

    They are those that Q-Net was trained with; coarser for a field that does not fit, and finer for one that
    would be lost in them, as of a micro-CT.
    """
    return max(min(config.spacing, field / LEAST_ACROSS), field / config.size)


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
