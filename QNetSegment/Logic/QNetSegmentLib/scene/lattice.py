"""Grids of voxels in the scene, and how one lies on another through their parent transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from qnetseg.boxes import Box, Triple

# Two grids whose voxels differ by less than this share of a voxel are the same grid: files store geometry in
# float32 or in decimals, and transforms are composed with rounding. The engine's tolerance for files.
GRID_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Lattice:
    """A grid of voxels, in the coordinates of a node."""

    ijk_to_local: np.ndarray  # (4, 4), from (i, j, k, 1) to mm, without the parent transform
    parent: Any  # the transform node that the node is under, or None


@dataclass(frozen=True, eq=False)
class VolumeLattice(Lattice):
    """The grid of a volume, which has ends; shape: (K, J, I)."""

    shape: Triple


def volume_lattice(volume_node: Any) -> VolumeLattice:
    """The grid of a volume node that has an image."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    i, j, k = volume_node.GetImageData().GetDimensions()
    return VolumeLattice(
        slicer.util.arrayFromVTKMatrix(matrix), volume_node.GetParentTransformNode(), (k, j, i)
    )


def image_lattice(image: Any, parent: Any) -> Lattice:
    """The grid of a vtkOrientedImageData of a node under `parent`; its indices are those of the extent."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return Lattice(slicer.util.arrayFromVTKMatrix(matrix), parent)


def transform_between(source_parent: Any, target_parent: Any) -> Any:
    """vtkGeneralTransform from what is under one transform node to what is under another (None: world)."""
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source_parent, target_parent, between)
    return between


def linear_between(source_parent: Any, target_parent: Any) -> np.ndarray | None:
    """(4, 4) from what is under one transform node to what is under another; None if that is not linear."""
    if source_parent is target_parent:
        return np.eye(4)  # also under a nonlinear transform: both move together
    linear = vtk.vtkTransform()
    between = transform_between(source_parent, target_parent)
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between, linear):
        return None
    return slicer.util.arrayFromVTKMatrix(linear.GetMatrix())


def voxel_steps(source: Lattice, target: Lattice) -> np.ndarray | None:
    """(4, 4) from the source's (i, j, k, 1) to the target's; None through a nonlinear transform."""
    between = linear_between(source.parent, target.parent)
    if between is None:
        return None
    return np.linalg.solve(target.ijk_to_local, between @ source.ijk_to_local)


def whole_steps(steps: np.ndarray, box: Box) -> np.ndarray | None:
    """`steps` in whole numbers if it brings every voxel of the box onto a voxel of the other grid, else None.

    Then nothing has to be resampled: axes are permuted, flipped and shifted.
    """
    rounded = np.rint(steps)
    turn = np.abs(rounded[:3, :3])
    if not np.array_equal(turn @ turn.T, np.eye(3)):
        return None
    corners = box_corners(box, margin=0.0)
    if np.abs((steps - rounded) @ corners).max() > GRID_TOLERANCE:
        return None
    return rounded


def box_corners(box: Box, margin: float) -> np.ndarray:
    """(4, 8): the centres of the voxels in the box's corners as (i, j, k, 1), moved outwards by `margin`."""
    (k0, j0, i0), (k1, j1, i1) = box.start, box.stop
    edges = ((i0 - margin, i1 - 1 + margin), (j0 - margin, j1 - 1 + margin), (k0 - margin, k1 - 1 + margin))
    return np.array([(i, j, k, 1.0) for i in edges[0] for j in edges[1] for k in edges[2]]).T
