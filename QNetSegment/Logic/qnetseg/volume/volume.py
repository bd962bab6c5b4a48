"""A scalar image volume together with its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GeometryError, VolumeError
from .nifti import Placement

# Smallest |determinant| of the unit axis vectors; below it the three axes lie almost in a plane.
MIN_DETERMINANT = 1e-3


@dataclass(frozen=True)
class SourceFrame:
    """Where a slice was read: a DICOM file, and the number of the frame in it, from 1."""

    path: Path
    number: int = 1


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on a regular, possibly oblique, grid.

    array: (K, J, I) float32, finite.
    ijk_to_ras: (4, 4) float64, maps voxel centres (i, j, k, 1) to RAS in mm.
    name: what the user calls it.
    placement: of a NIfTI file that programs place differently, or None.
    frames: of a volume from DICOM, where each of its K slices was read; else empty.

    The plain constructor trusts its caller; `checked` is the door for data from outside.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = ""
    placement: Placement | None = None
    frames: tuple[SourceFrame, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I) in voxels."""
        k, j, i = self.array.shape
        return k, j, i

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm."""
        return axis_spacing(self.ijk_to_ras)

    @classmethod
    def blank(
        cls,
        shape: tuple[int, int, int],
        ijk_to_ras: np.ndarray,
        name: str = "",
        placement: Placement | None = None,
        frames: tuple[SourceFrame, ...] = (),
    ) -> Volume:
        """A grid of (K, J, I) voxels whose array occupies one number: for those who ask where voxels lie."""
        return cls(np.broadcast_to(np.float32(0.0), shape), ijk_to_ras, name, placement, frames)

    @classmethod
    def checked(
        cls,
        array: Any,
        ijk_to_ras: Any,
        name: str = "",
        placement: Placement | None = None,
        frames: tuple[SourceFrame, ...] = (),
    ) -> Volume:
        """Build a volume from untrusted data; any real dtype is converted to float32.

        Raises VolumeError when the array is not a 3-D array of real, finite, varying values, and
        GeometryError when the matrix is not an invertible voxel-to-world matrix.
        """
        what = f"The volume '{name}'" if name else "The volume"
        values = np.asarray(array)
        if values.dtype.kind not in "biuf":
            raise VolumeError(f"{what} has values of type {values.dtype}, which is not a real number.")
        if values.ndim != 3:
            raise VolumeError(
                f"{what} has {values.ndim} dimensions, not 3.",
                "Choose a single 3-D volume; of a time series, extract one time point first.",
            )
        if values.size == 0:
            raise VolumeError(f"{what} is empty: its shape is {'x'.join(map(str, values.shape))}.")
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype(np.float32, copy=False)
            # The extremes see every NaN and Inf without a temporary of the volume's size.
            low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise VolumeError(
                f"{what} contains values that are not finite numbers (NaN or infinite).",
                "Replace them, for example by 0, and try again.",
            )
        if low == high:
            raise VolumeError(f"{what} is constant: every voxel has the value {low:g}.")
        return cls(values, checked_matrix(ijk_to_ras, what), name, placement, frames)


def axis_spacing(ijk_to_ras: np.ndarray) -> tuple[float, float, float]:
    """Lengths in mm of the steps along (k, j, i), the array's axes."""
    i, j, k = (float(np.linalg.norm(ijk_to_ras[:3, axis])) for axis in range(3))
    return k, j, i


def axis_directions(ijk_to_ras: np.ndarray) -> np.ndarray:
    """(3, 3) float64: unit RAS vectors in columns, of the axes i, j, k."""
    steps = ijk_to_ras[:3, :3]
    unit: np.ndarray = steps / np.linalg.norm(steps, axis=0)
    return unit


def checked_matrix(matrix: Any, what: str = "The volume") -> np.ndarray:
    """The (4, 4) voxel-to-world matrix as a float64 copy, or GeometryError if it is not invertible."""
    problem = f"{what} has no usable position in space:"
    try:
        ijk_to_ras = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"{problem} its matrix is not numeric.") from error
    if ijk_to_ras.shape != (4, 4) or not np.isfinite(ijk_to_ras).all():
        raise GeometryError(f"{problem} its matrix is not a 4x4 matrix of finite numbers.")
    if not np.allclose(ijk_to_ras[3], (0.0, 0.0, 0.0, 1.0), rtol=0.0, atol=1e-9):
        raise GeometryError(f"{problem} the last row of its matrix is not 0 0 0 1.")
    if min(axis_spacing(ijk_to_ras)) < 1e-6:
        raise GeometryError(f"{problem} the spacing along an axis is zero.")
    if abs(np.linalg.det(axis_directions(ijk_to_ras))) < MIN_DETERMINANT:
        raise GeometryError(f"{problem} its axes do not span three dimensions (singular matrix).")
    return ijk_to_ras
