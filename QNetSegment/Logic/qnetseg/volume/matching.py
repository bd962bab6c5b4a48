"""Whether a label map belongs to a volume, and bringing it there when no interpolation is needed."""

from __future__ import annotations

import numpy as np

from ..errors import GeometryError
from .segfile import LabelMap
from .volume import Volume

# Corners of two grids may differ by this share of a voxel: files store geometry in float32 or in decimals.
GRID_TOLERANCE = 0.02


def require_same_grid(labelmap: LabelMap, volume: Volume) -> None:
    """GeometryError unless the voxels are the volume's: same shape, corners within 2 % of a voxel."""
    if labelmap.array.shape != volume.shape:
        shapes = ["x".join(map(str, shape)) for shape in (labelmap.array.shape, volume.shape)]
        raise _mismatch(volume, f"it has {shapes[0]} voxels (k, j, i), the volume {shapes[1]}")
    distance = _largest_shift(labelmap, volume, np.eye(4))
    if distance > GRID_TOLERANCE:
        raise _mismatch(volume, f"its voxels lie up to {distance:.3g} voxels beside the volume's")


def on_grid_of(labelmap: LabelMap, volume: Volume) -> LabelMap:
    """The label map on the volume's grid: axes reordered and flipped, cropped and padded, never interpolated.

    That is what a mask needs that another program wrote with other axes, or that Slicer cropped to its
    segments. Raises GeometryError when the voxels do not coincide or labels lie outside the volume.
    """
    to_volume = np.rint(np.linalg.solve(volume.ijk_to_ras, labelmap.ijk_to_ras))
    turn, shift = to_volume[:3, :3], to_volume[:3, 3]
    if not np.array_equal(np.abs(turn) @ np.abs(turn).T, np.eye(3)):
        raise _mismatch(volume, "its voxels have another size or direction")
    distance = _largest_shift(labelmap, volume, to_volume)
    if distance > GRID_TOLERANCE:
        raise _mismatch(volume, f"its voxels lie up to {distance:.3g} voxels beside the volume's")

    # Coordinates i, j, k are the array axes 2, 1, 0.
    sources = np.abs(turn).argmax(axis=1)[::-1]
    array = labelmap.array.transpose(2 - sources)
    source_slices, target_slices = [], []
    for axis, (coordinate, source) in enumerate(zip((2, 1, 0), sources, strict=True)):
        count, flipped = array.shape[axis], turn[coordinate, source] < 0
        start = int(shift[coordinate]) - (count - 1 if flipped else 0)
        low, high = (min(max(edge, 0), volume.shape[axis]) for edge in (start, start + count))
        array = np.flip(array, axis) if flipped else array
        source_slices.append(slice(low - start, high - start))
        target_slices.append(slice(low, high))
    inside = array[tuple(source_slices)]
    if np.count_nonzero(inside) < np.count_nonzero(array):
        raise _mismatch(volume, "parts of it lie outside the volume")
    placed = np.zeros(volume.shape, labelmap.array.dtype)
    placed[tuple(target_slices)] = inside
    return LabelMap(placed, volume.ijk_to_ras, labelmap.segments)


def _largest_shift(labelmap: LabelMap, volume: Volume, to_volume: np.ndarray) -> float:
    """How far, in voxels of the volume, the label map's corners lie from where `to_volume` puts them."""
    k, j, i = labelmap.array.shape
    corners = np.array([(x, y, z, 1.0) for x in (0, i - 1) for y in (0, j - 1) for z in (0, k - 1)]).T
    found = np.linalg.solve(volume.ijk_to_ras, labelmap.ijk_to_ras @ corners)
    return float(np.abs(found - to_volume @ corners).max())


def _mismatch(volume: Volume, reason: str) -> GeometryError:
    which = f"the volume '{volume.name}'" if volume.name else "the volume"
    return GeometryError(
        f"The label map does not belong to {which}: {reason}.",
        "Use a label map that was drawn on this volume.",
    )
