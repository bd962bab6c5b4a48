"""Volume nodes become volumes of the engine, alone and in pairs; what cannot be segmented is refused."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    SHAPE,
    add_volume,
    development_volume,
    empty_scene,  # noqa: F401
    linear,
    oblique,
    put_under,
    volume_of,
    warped,
)

# isort: split

import numpy as np
import pytest
import slicer
import vtk

from qnetseg.errors import GeometryError, VolumeError
from qnetseg.volume import canonical, read_volume
from QNetSegmentLib.scene.volumes import lattice_of, pair_of, require_unchanged, source_of


@pytest.mark.parametrize("left_handed", [False, True])
def test_a_volume_goes_to_the_worker_uncopied_with_its_geometry(left_handed):
    matrix = oblique(left_handed=left_handed)
    node = add_volume(matrix, name="Kopf ä")
    source, view = source_of(node), slicer.util.arrayFromVolume(node)
    assert np.shares_memory(source.array, view) and source.array.dtype == view.dtype
    assert np.allclose(source.ijk_to_ras, matrix) and source.name == "Kopf ä"
    assert source.grid.spacing == pytest.approx((3.0, 1.2, 0.9)) and source.grid.shape == SHAPE


def test_a_node_is_the_same_source_until_its_voxels_or_its_place_change():
    node = add_volume()
    key = source_of(node).key
    assert source_of(node).key == key
    put_under(node, linear())
    node.SetName("another")
    assert source_of(node).key == key
    slicer.util.arrayFromVolume(node)[0] = 7
    slicer.util.arrayFromVolumeModified(node)
    changed = source_of(node).key
    assert changed != key
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique(left_handed=True)))
    assert source_of(node).key not in (key, changed)
    assert pair_of(add_volume(), node)[1].key != source_of(node).key, "it was brought beside the query"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_of_voxel_is_taken(dtype):
    node = add_volume()
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 200
    slicer.util.updateVolumeFromArray(node, values.astype(dtype))
    assert np.array_equal(volume_of(node).array, values)


def test_a_parent_transform_does_not_count():
    matrix = np.eye(4)
    matrix[:3, 3] = (50, 0, 0)
    node = add_volume(parent=linear(matrix, parent=linear(matrix)))
    assert np.allclose(volume_of(node).ijk_to_ras, oblique())
    put_under(node, warped())
    assert np.allclose(volume_of(node).ijk_to_ras, oblique())


def removed():
    node = add_volume()
    slicer.mrmlScene.RemoveNode(node)
    return node


def bare(kind):
    return slicer.mrmlScene.AddNewNodeByClass(kind, "x")


def of_components(count):

    node = bare("vtkMRMLScalarVolumeNode" if count == 2 else "vtkMRMLVectorVolumeNode")
    image = vtk.vtkImageData()
    image.SetDimensions(3, 4, 5)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, count)
    node.SetAndObserveImageData(image)
    return node


def filled(values):
    node = add_volume()
    slicer.util.updateVolumeFromArray(node, values)
    return node


def spoiled(value, dtype=np.float32):
    values = np.arange(np.prod(SHAPE), dtype=dtype).reshape(SHAPE)
    values[1, 2, 3] = value
    return filled(values)


def labels():
    node = bare("vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(node, np.eye(4, dtype=np.uint8)[None])
    return node


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: None, "no volume"),
        (removed, "no volume"),
        (lambda: bare("vtkMRMLModelNode"), "not an image"),
        (lambda: bare("vtkMRMLScalarVolumeNode"), "no image"),
        (labels, "label map"),
        (lambda: of_components(3), "several values"),
        (lambda: of_components(2), "several values"),
        (lambda: spoiled(np.nan), "not finite"),
        (lambda: spoiled(np.inf), "not finite"),
        (lambda: spoiled(1e200, np.float64), "not finite"),
        (lambda: filled(np.full(SHAPE, 7, np.int16)), "constant"),
    ],
)
def test_what_cannot_be_segmented_is_refused_in_one_sentence(make, words):
    node = make()
    good = add_volume()
    attempts = [lambda: volume_of(node)]
    if words not in ("not finite", "constant"):  # which only the worker looks for
        attempts += [lambda: source_of(node), lambda: pair_of(node, good), lambda: pair_of(good, node)]
    for attempt in attempts:
        with pytest.raises(VolumeError, match=words) as caught:
            attempt()
        assert caught.value.message.endswith(".")


def test_one_node_as_query_and_support_is_one_volume_whatever_its_transform():
    node = add_volume()
    plain, _, _ = pair_of(node, node)
    for parent in (linear(), warped()):
        put_under(node, parent)
        query, support, warnings = pair_of(node, node)
        assert query is support and not warnings
        assert np.array_equal(query.ijk_to_ras, plain.ijk_to_ras)


def test_volumes_under_one_transform_keep_their_own_axes():
    for parent in (None, linear(), warped()):
        query, support = add_volume(parent=parent), add_volume(oblique(left_handed=True), parent=parent)
        a, b, warnings = pair_of(query, support)
        assert np.allclose(a.ijk_to_ras, oblique()) and not warnings
        assert np.allclose(b.ijk_to_ras, oblique(left_handed=True))


def test_under_different_linear_transforms_the_support_comes_beside_the_query():
    """Relative to each other they lie as in the world, and the query's own slices keep their numbers."""
    first, second = linear(), linear(np.diag([1.0, -1.0, 1.0, 1.0]))
    for parents in ((first, second), (None, second), (first, None), (first, linear(parent=warped()))):
        query, support = (add_volume(oblique(), parent=parent) for parent in parents)
        a, b, warnings = pair_of(query, support)
        if parents[1] is not None and parents[1].GetParentTransformNode():
            assert len(warnings) == 1
            continue
        worlds = []
        for node in (query, support):
            world = [0.0, 0.0, 0.0]
            node.TransformPointToWorld((oblique() @ (1.0, 2.0, 3.0, 1.0))[:3], world)
            worlds.append(world)
        seen = [0.0, 0.0, 0.0]
        query.TransformPointToWorld((b.ijk_to_ras @ (1.0, 2.0, 3.0, 1.0))[:3], seen)
        assert np.allclose(a.ijk_to_ras, oblique()) and not warnings
        assert np.allclose(seen, worlds[1]) and not np.allclose(*worlds)


def test_a_shared_nonlinear_transform_above_linear_ones_is_no_obstacle():
    bent, matrix = warped(), np.eye(4)
    matrix[:3, 3] = (50, 0, 0)
    query = add_volume(parent=bent)
    support = add_volume(parent=linear(matrix, parent=bent))
    _, found, warnings = pair_of(query, support)
    assert np.allclose(found.ijk_to_ras, matrix @ oblique()) and not warnings


def test_a_nonlinear_transform_on_one_is_ignored_with_a_warning():
    query, support = add_volume(parent=warped()), add_volume(parent=linear())
    for first, second in ((query, support), (support, query)):
        a, b, warnings = pair_of(first, second)
        assert np.allclose(a.ijk_to_ras, oblique()) and np.allclose(b.ijk_to_ras, oblique())
        assert len(warnings) == 1 and warnings[0].endswith(".")


def test_a_volume_that_changed_during_a_run_is_noticed():
    node = add_volume()
    before = lattice_of(node)
    matrix = before.ijk_to_local
    require_unchanged(node, before)
    put_under(node, linear())
    node.SetName("another")
    require_unchanged(node, before)
    moved = matrix.copy()
    moved[0, 3] += 1.0
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(moved))
    with pytest.raises(GeometryError, match="another"):
        require_unchanged(node, before)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    require_unchanged(node, before)
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4)))
    with pytest.raises(GeometryError):
        require_unchanged(node, before)
    slicer.mrmlScene.RemoveNode(node)
    with pytest.raises(GeometryError, match="removed"):
        require_unchanged(node, before)


def test_the_development_volumes_are_the_same_from_slicer_and_from_the_file(development_data):
    node, path = development_volume(development_data)
    theirs, ours = canonical(volume_of(node))[0], canonical(read_volume(path))[0]
    assert np.array_equal(theirs.array, ours.array)
    assert np.allclose(theirs.ijk_to_ras, ours.ijk_to_ras, atol=1e-4)
