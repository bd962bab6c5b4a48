"""Whether a label map belongs to a volume, and bringing it there when no interpolation is needed."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..errors import GeometryError
from .nifti import corner_shift
from .segfile import LabelMap
from .volume import Volume

# Corners of two grids may differ by this share of a voxel: files store geometry in float32 or in decimals.
GRID_TOLERANCE = 0.02


def on_grid_of(labelmap: LabelMap, volume: Volume, crop: bool = True) -> LabelMap:
    """The label map on the volume's grid: axes reordered and flipped, cropped and padded, never interpolated.

    That is what a mask needs that another program wrote with other axes, or that Slicer cropped to its
    segments. crop: False for a file that has to have the very same voxels. Where a NIfTI file has two
    positions, either may be meant. Raises GeometryError when the voxels do not coincide or labels lie outside
    the volume.
    """
    if not crop and sorted(labelmap.array.shape) != sorted(volume.shape):
        raise _other_shape(labelmap, volume)
    refused: list[GeometryError] = []
    for mask_to_ras, to_ras in _positions(labelmap, volume):
        try:
            placed = _placed(labelmap.array, mask_to_ras, volume, to_ras, crop)
            return LabelMap(placed, volume.ijk_to_ras, labelmap.segments, volume.placement)
        except GeometryError as error:
            refused.append(error)
    raise refused[0]


def _positions(labelmap: LabelMap, volume: Volume) -> list[tuple[np.ndarray, np.ndarray]]:
    """Matrices (4, 4) of both that may be meant, the ones that Slicer shows first."""
    masks, volumes = (
        [image.ijk_to_ras, *(image.placement.others if image.placement else ())]
        for image in (labelmap, volume)
    )
    return list(product(masks, volumes))


def _placed(
    array: np.ndarray, mask_to_ras: np.ndarray, volume: Volume, to_ras: np.ndarray, crop: bool
) -> np.ndarray:
    """The label array (K, J, I) on the volume's grid, whose matrix is `to_ras`."""
    exact = np.linalg.solve(to_ras, mask_to_ras)
    to_volume = np.rint(exact)
    turn, shift = to_volume[:3, :3], to_volume[:3, 3]
    if not np.array_equal(np.abs(turn) @ np.abs(turn).T, np.eye(3)):
        raise _mismatch(volume, "its voxels have another size or direction")
    distance = corner_shift(exact, to_volume, array.shape)
    if distance > GRID_TOLERANCE:
        raise _mismatch(volume, f"its voxels lie up to {distance:.3g} voxels beside the volume's")

    # Coordinates i, j, k are the array axes 2, 1, 0.
    sources = np.abs(turn).argmax(axis=1)[::-1]
    array = array.transpose(2 - sources)
    source_slices, target_slices, starts = [], [], []
    for axis, (coordinate, source) in enumerate(zip((2, 1, 0), sources, strict=True)):
        count, flipped = array.shape[axis], turn[coordinate, source] < 0
        start = int(shift[coordinate]) - (count - 1 if flipped else 0)
        low, high = (min(max(edge, 0), volume.shape[axis]) for edge in (start, start + count))
        array = np.flip(array, axis) if flipped else array
        source_slices.append(slice(low - start, high - start))
        target_slices.append(slice(low, high))
        starts.append(start)
    if not crop and (any(starts) or array.shape != volume.shape):
        beside = max(map(abs, starts))
        raise _mismatch(volume, f"its voxels lie up to {beside} voxels beside the volume's")
    inside = array[tuple(source_slices)]
    if np.count_nonzero(inside) < np.count_nonzero(array):
        raise _mismatch(volume, "parts of it lie outside the volume")
    placed = np.zeros(volume.shape, array.dtype)
    placed[tuple(target_slices)] = inside
    return placed


def _other_shape(labelmap: LabelMap, volume: Volume) -> GeometryError:
    shapes = ["x".join(map(str, shape)) for shape in (labelmap.array.shape, volume.shape)]
    return _mismatch(volume, f"it has {shapes[0]} voxels (k, j, i), the volume {shapes[1]}")


def _mismatch(volume: Volume, reason: str) -> GeometryError:
    which = f"the volume '{volume.name}'" if volume.name else "the volume"
    return GeometryError(
        f"The label map does not belong to {which}: {reason}.",
        "Use a label map that was drawn on this volume.",
    )
