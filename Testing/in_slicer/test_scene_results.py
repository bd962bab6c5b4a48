"""Results in the scene: exactly the masks, whole or not at all, previewed, accepted, discarded."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    LIVER,
    SHAPE,
    add_volume,
    axis_orders,
    blob,
    empty_scene,  # noqa: F401
    inventory,
    linear,
    oblique,
    put_under,
    random_mask,
    tree,
    warped,
)

# isort: split

from types import SimpleNamespace

import numpy as np
import pytest
import slicer

from qnetseg.boxes import Box
from qnetseg.errors import MaskError, OutputError, VolumeError
from QNetSegmentLib.scene import results as results_module
from QNetSegmentLib.scene.results import (
    accept_preview,
    is_preview,
    set_opacity,
    set_surface_visible,
    surface_visible,
    write_result,
)
from QNetSegmentLib.scene.segments import add_box, new_segmentation, remove_node, segment_mask, terminology_of
from support.masks import add_segment


def found(mask, name="liver", color=(0.2, 0.4, 0.6), terminology=LIVER):
    """What a run hands over for one structure."""
    example = SimpleNamespace(name=name, color=color, terminology=terminology)
    return SimpleNamespace(example=example, mask=Box.around(mask))


def several():
    """Results that share no voxel, one of them empty."""
    labels = np.random.default_rng(5).integers(0, 4, SHAPE)
    masks = [labels == 1, labels == 2, labels == 99, labels == 3]
    return [
        found(mask, name, color)
        for mask, name, color in zip(
            masks,
            ("liver", "spleen", "nothing", "kidney"),
            ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)),
            strict=True,
        )
    ]


def ids(node):
    return node.GetSegmentation().GetSegmentIDs()


def segments(node):
    return [node.GetSegmentation().GetSegment(segment_id) for segment_id in ids(node)]


@pytest.mark.parametrize("kind", ["none", "linear", "thin plate", "grid"])
@pytest.mark.parametrize("number", [0, 17, 30, 47, None])
def test_segments_have_exactly_the_voxels_of_the_masks(number, kind):
    parent = {"none": None, "linear": linear()}.get(kind) or (None if kind == "none" else warped(kind))
    matrix = oblique(left_handed=True) if number is None else axis_orders()[number]
    volume = add_volume(matrix, parent=parent)
    node = write_result(volume, several(), name="result")
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    for segment_id, result in zip(ids(node), several(), strict=True):
        assert np.array_equal(segment_mask(node, segment_id, volume), result.mask.placed(SHAPE))
        exported = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
        assert np.array_equal(exported != 0, result.mask.placed(SHAPE))


def test_segments_carry_what_the_supports_say():
    volume = add_volume()
    node = write_result(volume, several(), name="result")
    assert [segment.GetName() for segment in segments(node)] == ["liver", "spleen", "nothing", "kidney"]
    assert [segment.GetColor() for segment in segments(node)] == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    assert {terminology_of(segment) for segment in segments(node)} == {LIVER}
    assert node.GetName() == "result" and not is_preview(node)
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_a_result_lies_beside_its_volume_and_replaces_nothing():
    hierarchy, volume = tree(), add_volume()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "folder")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), folder)
    drawing = new_segmentation(volume, "result")
    segment_id = add_segment(drawing, blob(), volume, "liver", (1, 0, 0))
    node = write_result(volume, several(), name="result")
    assert node is not drawing and node.GetName() != drawing.GetName()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder
    assert np.array_equal(segment_mask(drawing, segment_id, volume), blob())


class Failing:
    """A function that works a few times and then raises."""

    def __init__(self, function, times, error):
        self.function, self.times, self.error = function, times, error

    def __call__(self, *arguments, **named):
        if self.times == 0:
            raise self.error
        self.times -= 1
        return self.function(*arguments, **named)


@pytest.mark.parametrize("times", [0, 1, 3])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("broken"), OutputError),
        (MemoryError(), OutputError),
        (MaskError("no."), MaskError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_halfway_leaves_the_scene_as_it_was(monkeypatch, times, error, kind):
    volume = add_volume()
    drawing = new_segmentation(volume, "drawing")
    add_segment(drawing, blob(), volume, "liver", (1, 0, 0))
    before = inventory()
    monkeypatch.setattr(results_module, "add_box", Failing(add_box, times, error))
    with pytest.raises(kind):
        write_result(volume, several(), name="result", preview=True)
    assert inventory() == before


def test_results_without_a_volume_leave_the_scene_as_it_was():
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    before = inventory()
    for missing in (None, empty):
        with pytest.raises(VolumeError):
            write_result(missing, several(), name="result")
    assert inventory() == before


def test_a_preview_is_marked_until_it_is_accepted():
    volume = add_volume()
    node = write_result(volume, several(), name="preview", preview=True)
    assert is_preview(node) and not is_preview(None)
    assert accept_preview(node, "liver of patient 3") is node
    assert not is_preview(node) and node.GetName() == "liver of patient 3"


@pytest.mark.parametrize("kind", ["none", "linear"])
def test_a_preview_is_accepted_into_the_drawing_as_new_segments(kind):
    volume = add_volume(parent=linear(np.diag([1.0, -1.0, 1.0, 1.0])))
    drawing = new_segmentation(volume, "drawing")
    put_under(drawing, {"none": None, "linear": linear()}[kind])
    own = add_segment(drawing, blob(), volume, "liver", (1, 0, 1))
    without = inventory()
    node = write_result(volume, several(), name="preview", preview=True)
    assert accept_preview(node, "ignored", into=drawing) is drawing
    assert inventory() == without and drawing.GetName() == "drawing"
    names = [segment.GetName() for segment in segments(drawing)]
    assert names == ["liver", "liver 2", "spleen", "nothing", "kidney"]
    assert np.array_equal(segment_mask(drawing, own, volume), blob())
    for segment_id, result in zip(ids(drawing)[1:], several(), strict=True):
        assert np.array_equal(segment_mask(drawing, segment_id, volume), result.mask.placed(SHAPE))
        assert terminology_of(drawing.GetSegmentation().GetSegment(segment_id)) == LIVER


@pytest.mark.parametrize("times", [0, 2])
def test_accepting_that_fails_leaves_both_as_they_were(monkeypatch, times):
    volume = add_volume()
    drawing = new_segmentation(volume, "drawing")
    own = add_segment(drawing, blob(), volume, "liver", (1, 0, 1))
    node = write_result(volume, several(), name="preview", preview=True)
    before = inventory()
    failing = Failing(results_module.add_box, times, RuntimeError("broken"))
    monkeypatch.setattr(results_module, "add_box", failing)
    with pytest.raises(OutputError, match="broken"):
        accept_preview(node, "x", into=drawing)
    assert inventory() == before and is_preview(node) and len(ids(node)) == 4
    assert ids(drawing) == (own,) and np.array_equal(segment_mask(drawing, own, volume), blob())


def test_accepting_into_surfaces_is_refused():
    volume = add_volume(shape=(12, 20, 24))
    surfaces = new_segmentation(volume, "surfaces")
    add_segment(surfaces, blob((12, 20, 24)), volume, "liver", (1, 0, 1))
    surfaces.CreateClosedSurfaceRepresentation()
    surfaces.SetSourceRepresentationToClosedSurface()
    node = write_result(volume, [found(blob((12, 20, 24)))], name="preview", preview=True)
    with pytest.raises(MaskError, match="surfaces"):
        accept_preview(node, "x", into=surfaces)
    assert is_preview(node) and len(ids(surfaces)) == 1


def test_a_discarded_result_leaves_nothing():
    volume = add_volume()
    before = inventory()
    node = write_result(volume, several(), name="preview", preview=True)
    set_surface_visible(node, True)
    remove_node(node)
    remove_node(node)
    remove_node(None)
    assert inventory() == before


def test_opacity_is_that_of_fill_and_outline():
    node = write_result(add_volume(), several(), name="result")
    for opacity in (0.0, 0.35, 1.0):
        set_opacity(node, opacity, opacity)
        display = node.GetDisplayNode()
        assert (display.GetOpacity2DFill(), display.GetOpacity2DOutline()) == (opacity, opacity)


def test_surfaces_are_made_when_they_are_to_be_seen():
    volume = add_volume(shape=(12, 20, 24))
    node = write_result(volume, [found(blob((12, 20, 24)))], name="result")
    assert not surface_visible(node) and not surface_visible(None)
    set_surface_visible(node, True)
    assert surface_visible(node)
    assert node.GetClosedSurfaceInternalRepresentation(ids(node)[0]).GetNumberOfPoints() > 0
    set_surface_visible(node, False)
    assert not surface_visible(node)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert np.array_equal(segment_mask(node, ids(node)[0], volume), blob((12, 20, 24)))


def test_hiding_the_surface_of_a_segmentation_that_has_nothing_else_keeps_it():
    volume = add_volume(shape=(12, 20, 24))
    node = write_result(volume, [found(blob((12, 20, 24)))], name="result")
    node.CreateClosedSurfaceRepresentation()
    node.SetSourceRepresentationToClosedSurface()
    node.RemoveBinaryLabelmapRepresentation()
    set_surface_visible(node, False)
    assert not surface_visible(node) and segment_mask(node, ids(node)[0], volume).any()


@pytest.mark.parametrize("kind", ["none", "linear", "grid"])
def test_a_result_survives_saving_the_scene(tmp_path, kind):
    parent = {"none": None, "linear": linear(), "grid": warped("grid")}[kind]
    volume = add_volume(parent=parent)
    write_result(volume, several(), name="result", preview=True)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    volume, node = slicer.util.getNode("volume"), slicer.util.getNode("result")
    assert is_preview(node) and len(ids(node)) == 4
    for segment, segment_id, result in zip(segments(node), ids(node), several(), strict=True):
        assert np.array_equal(segment_mask(node, segment_id, volume), result.mask.placed(SHAPE))
        assert segment.GetName() == result.example.name and terminology_of(segment) == LIVER
        assert segment.GetColor() == pytest.approx(result.example.color)


def test_overlapping_results_keep_their_voxels_in_layers_of_their_own():
    volume = add_volume()
    masks = [random_mask(seed=seed, share=0.6) for seed in range(3)]
    node = write_result(volume, [found(mask, str(n)) for n, mask in enumerate(masks)], name="result")
    for segment_id, mask in zip(ids(node), masks, strict=True):
        assert np.array_equal(segment_mask(node, segment_id, volume), mask)
