"""vtkOrientedImageData, Slicer's image of a segment, from and to boxes of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from qnetseg.boxes import Box, Triple

from .lattice import Lattice, VolumeLattice, box_corners, linear_between, transform_between, voxel_steps

# Samples along an edge of a box when its place behind a nonlinear transform is sought.
SAMPLES = 33


def array_of(image: Any) -> np.ndarray:
    """(k, j, i) view of the image's voxels; of size 0 for an image without any."""
    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])


def start_of(image: Any) -> Triple:
    """(k, j, i) index of the image's first voxel."""
    extent = image.GetExtent()
    return extent[4], extent[2], extent[0]


def image_of(box: Box, lattice: Lattice, parent: Any) -> Any:
    """vtkOrientedImageData of 0 and 1, in the coordinates of a node under the transform node `parent`.

    Linear transforms only change where the voxels lie, so they are exact, shear included; a nonlinear one
    between the two parents resamples to the nearest voxel.
    """
    image = slicer.vtkOrientedImageData()
    (k0, j0, i0), (k1, j1, i1) = box.start, box.stop
    image.SetExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    if not box.is_empty:
        array_of(image)[:] = box.mask
    between = linear_between(lattice.parent, parent)
    matrix = lattice.ijk_to_local if between is None else between @ lattice.ijk_to_local
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    if between is None and not box.is_empty:
        slicer.vtkOrientedImageDataResample.TransformOrientedImage(
            image, transform_between(lattice.parent, parent)
        )
    return image


def resampled(image: Any, label: int, box: Box, source: Lattice, target: VolumeLattice) -> Box:
    """The voxels of `target` whose centres lie in voxels of the image that have `label`.

    box: where the image has that label, on its own grid `source`. Beyond the end of `target` voxels are
    found, too, except through a nonlinear transform.
    """
    start, stop = _region(box, source, target)
    if any(low >= high for low, high in zip(start, stop, strict=True)):
        return Box.empty()
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(_plain(image))
    reslice.SetInterpolationModeToNearestNeighbor()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    (k0, j0, i0), (k1, j1, i1) = start, stop
    reslice.SetOutputExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
    steps = voxel_steps(target, source)
    if steps is not None:  # several times faster than the same as a transform
        reslice.SetResliceAxes(slicer.util.vtkMatrixFromArray(steps))
    else:
        reslice.SetResliceTransform(_voxel_transform(target, source))
    reslice.Update()
    found = reslice.GetOutput()
    return Box.around(array_of(found), label, start)


def _plain(image: Any) -> Any:
    """The image in voxel coordinates: no spacing, no directions."""
    plain = vtk.vtkImageData()
    plain.ShallowCopy(image)
    plain.SetOrigin(0, 0, 0)
    plain.SetSpacing(1, 1, 1)
    plain.SetDirectionMatrix(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return plain


def _voxel_transform(source: Lattice, target: Lattice) -> Any:
    """vtkGeneralTransform from the source's (i, j, k) to the target's, through any parent transforms."""
    whole = vtk.vtkGeneralTransform()
    whole.PostMultiply()
    whole.Concatenate(slicer.util.vtkMatrixFromArray(source.ijk_to_local))
    whole.Concatenate(transform_between(source.parent, target.parent))
    whole.Concatenate(slicer.util.vtkMatrixFromArray(np.linalg.inv(target.ijk_to_local)))
    return whole


def _region(box: Box, source: Lattice, target: VolumeLattice) -> tuple[Triple, Triple]:
    """(start, stop) of the part of `target` that can hold voxels of the box."""
    steps = voxel_steps(source, target)
    if steps is not None:
        points = (steps @ box_corners(box, margin=0.5))[:3]
        low, high = np.floor(points.min(axis=1)), np.ceil(points.max(axis=1)) + 1
    else:
        points = _transformed(_shell(box), source, target)
        low, high = points.min(axis=1), points.max(axis=1)
        # Between the samples the surface may bulge a little further.
        slack = 2.0 + 0.05 * (high - low)
        low, high = np.floor(low - slack), np.ceil(high + slack) + 1
        low, high = (np.clip(edge, 0, target.shape[::-1]) for edge in (low, high))
    (i0, j0, k0), (i1, j1, k1) = low.astype(int).tolist(), high.astype(int).tolist()
    return (k0, j0, i0), (k1, j1, i1)


def _shell(box: Box) -> np.ndarray:
    """(4, n): points on the surface of the box as (i, j, k, 1).

    A transform that can be inverted maps the surface to the surface, so these are enough to find its ends.
    """
    edges = [
        np.linspace(low - 0.5, high - 0.5, min(high - low + 1, SAMPLES))
        for low, high in zip(box.start[::-1], box.stop[::-1], strict=True)
    ]
    i, j, k = (axis.ravel() for axis in np.meshgrid(*edges, indexing="ij"))
    outside = np.zeros(i.shape, bool)
    for values, axis in ((i, edges[0]), (j, edges[1]), (k, edges[2])):
        outside |= (values == axis[0]) | (values == axis[-1])
    return np.stack([i, j, k, np.ones_like(i)])[:, outside]


def _transformed(points: np.ndarray, source: Lattice, target: Lattice) -> np.ndarray:
    """(3, n): voxel positions of `source` as (i, j, k) of `target`, through any transform."""
    through = _voxel_transform(source, target)
    return np.array([through.TransformPoint(point) for point in points[:3].T]).T
