"""Segments and volumes under parent transforms: every combination, linear and not."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    MASK,
    OTHER,
    add_volume,
    as_slicer_reads,
    blob,
    drawn,
    empty_scene,  # noqa: F401
    in_order,
    oblique,
    put_under,
    transforms,
)

# isort: split
import numpy as np
import pytest
import slicer
import vtk

from QNetSegmentLib.scene.segments import segment_mask
from support.masks import add_segment, write_segment

LINEAR = ("none", "linear", "other linear", "shear", "chain")
NONLINEAR = ("thin plate", "grid", "linear under grid")


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("of_segmentation", LINEAR)
@pytest.mark.parametrize("of_volume", LINEAR)
def test_linear_transforms_on_either_are_exact(of_volume, of_segmentation, left_handed):
    known = transforms()
    volume = add_volume(oblique(left_handed=left_handed), parent=known[of_volume])
    node, segment_id = drawn(volume)
    put_under(node, known[of_segmentation])
    write_segment(node, segment_id, OTHER, volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER)
    second = add_segment(node, MASK, volume, "second", (1, 0, 0))
    assert np.array_equal(segment_mask(node, second, volume), MASK)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER)


@pytest.mark.parametrize("of_segmentation", LINEAR)
@pytest.mark.parametrize("of_volume", LINEAR)
def test_the_voxels_lie_in_the_world_where_the_volumes_voxels_lie(of_volume, of_segmentation):
    """Where Slicer will draw the segment, from its own label map and transform."""
    known = transforms()
    volume = add_volume(parent=known[of_volume])
    node, segment_id = drawn(volume)
    put_under(node, known[of_segmentation])
    write_segment(node, segment_id, OTHER, volume)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
    i, _, j, _, k, _ = image.GetExtent()
    found = places(np.argwhere(voxels)[:, ::-1] + (i, j, k), matrix, node)
    volume.GetIJKToRASMatrix(matrix)
    expected = places(np.argwhere(OTHER)[:, ::-1], matrix, volume)
    assert np.allclose(found, expected, atol=1e-6)


def places(ijk, matrix, node):
    """(n, 3) sorted world positions of voxels, through a linear parent transform."""
    to_world = np.eye(4)
    if node.GetParentTransformNode():
        parent = vtk.vtkMatrix4x4()
        node.GetParentTransformNode().GetMatrixTransformToWorld(parent)
        to_world = slicer.util.arrayFromVTKMatrix(parent)
    return in_order(ijk, to_world @ slicer.util.arrayFromVTKMatrix(matrix))


# With transforms on both nodes that differ, Slicer's own export takes them for nonlinear and resamples.
@pytest.mark.parametrize(
    ("of_volume", "of_segmentation"),
    [("none", "none"), ("none", "linear"), ("other linear", "none"), ("shear", "shear"), ("grid", "grid")],
)
def test_slicers_own_export_agrees(of_volume, of_segmentation):
    known = transforms()
    volume = add_volume(parent=known[of_volume])
    node, segment_id = drawn(volume)
    put_under(node, known[of_segmentation])
    write_segment(node, segment_id, OTHER, volume)
    assert np.array_equal(as_slicer_reads(node, segment_id, volume), OTHER)


@pytest.mark.parametrize("kind", NONLINEAR)
def test_a_nonlinear_transform_on_both_is_exact(kind):
    volume = add_volume(parent=transforms()[kind])
    node, segment_id = drawn(volume)
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert np.array_equal(segment_mask(node, segment_id, volume), MASK)
    write_segment(node, segment_id, OTHER, volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER)
    put_under(volume, None)
    put_under(node, None)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER)


@pytest.mark.parametrize("kind", NONLINEAR)
@pytest.mark.parametrize("under", ["volume", "segmentation"])
def test_a_nonlinear_transform_on_one_moves_the_drawing_by_it(kind, under):
    """Each voxel of the volume is looked up where the transforms say it lies in the drawing."""
    shape = (12, 20, 24)
    transform = transforms()[kind]
    volume = add_volume(np.diag([3.0, 3.0, 4.0, 1.0]), shape)
    node, segment_id = drawn(volume, blob(shape))
    put_under({"volume": volume, "segmentation": node}[under], transform)
    found = segment_mask(node, segment_id, volume)
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        volume.GetParentTransformNode(), node.GetParentTransformNode(), between
    )
    doubtful = 0
    for k, j, i in np.ndindex(shape):
        at = np.array(between.TransformPoint(3.0 * i, 3.0 * j, 4.0 * k)) / (3, 3, 4)
        a, b, c = np.rint(at[::-1]).astype(int)
        inside = all(0 <= n < count for n, count in zip((a, b, c), shape, strict=True))
        if np.abs(np.abs(at - np.floor(at)) - 0.5).min() < 1e-2:
            doubtful += 1  # on the border of two voxels, rounding decides
        else:
            assert found[k, j, i] == bool(inside and blob(shape)[a, b, c])
    assert found.any() and not np.array_equal(found, blob(shape)) and doubtful < found.size / 5


def test_another_grid_gives_the_voxels_whose_centres_are_drawn():
    """Reading a drawing on another scan of the patient: finer, turned, shifted."""
    volume = add_volume(np.diag([2.0, 2.0, 5.0, 1.0]), (8, 20, 20))
    node, segment_id = drawn(volume, blob((8, 20, 20)))
    matrix = oblique((1.0, 1.5, 2.0))
    other = add_volume(matrix, (20, 24, 30))
    found = segment_mask(node, segment_id, other)
    ijk = np.argwhere(np.ones((20, 24, 30), bool))[:, ::-1]
    at = (ijk @ matrix[:3, :3].T + matrix[:3, 3]) / (2.0, 2.0, 5.0)
    nearest = np.rint(at).astype(int)
    inside = ((nearest >= 0) & (nearest < (20, 20, 8))).all(axis=1)
    expected = np.zeros(len(ijk), bool)
    expected[inside] = blob((8, 20, 20))[tuple(nearest[inside][:, ::-1].T)]
    assert found.any() and np.mean(found.ravel() != expected) < 1e-3
