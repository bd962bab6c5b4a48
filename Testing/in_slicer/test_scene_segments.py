"""Segments on a volume's voxels: any axes, shared and cropped label maps, surfaces, refusals."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    BED,
    LIVER,
    MASK,
    OTHER,
    SHAPE,
    add_volume,
    as_slicer_reads,
    axis_orders,
    blob,
    drawn,
    empty_scene,  # noqa: F401
    extents,
    inventory,
    linear,
    oblique,
    own_places,
    put_under,
    random_mask,
    transforms,
    tree,
)

# isort: split
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import MaskError, OutputError, VolumeError
from QNetSegmentLib.scene.segments import new_segmentation, remove_node, segment_mask, terminology_of
from support.masks import add_segment, write_segment


@pytest.mark.parametrize("number", range(48))
def test_any_axis_order_is_written_and_read_exactly(number):
    volume = add_volume(axis_orders()[number])
    node, segment_id = drawn(volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), MASK)
    assert np.array_equal(as_slicer_reads(node, segment_id, volume), MASK)
    write_segment(node, segment_id, OTHER, volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER)
    assert np.array_equal(as_slicer_reads(node, segment_id, volume), OTHER)


@pytest.mark.parametrize("number", range(0, 48, 5))
def test_a_drawing_on_one_axis_order_is_the_same_place_on_another(number):
    """Two volumes with the same voxels in the world, stored along different axes."""
    volume = add_volume(axis_orders()[0])
    node, segment_id = drawn(volume)
    orders = axis_orders()
    other_axes = orders[number][:3, :3] / (2.0, 3.0, 5.0)
    # World = axes * step; steps of both grids are the ones of the first along each world axis.
    step = np.abs(orders[0][:3, :3]).sum(axis=1)
    matrix = np.eye(4)
    matrix[:3, :3] = step[:, None] * other_axes
    own = np.abs(orders[0][:3, :3] / (2.0, 3.0, 5.0))
    sizes = own @ np.array(SHAPE[::-1])  # voxels along R, A, S
    corner = orders[0][:3, 3] + np.minimum(orders[0][:3, :3] @ (np.array(SHAPE[::-1]) - 1), 0)
    counts = np.abs(other_axes).T @ sizes
    matrix[:3, 3] = corner - np.minimum(matrix[:3, :3] @ (counts - 1), 0)
    other = add_volume(matrix, tuple(int(n) for n in counts[::-1]))
    found = segment_mask(node, segment_id, other)
    assert np.allclose(own_places(found, other), own_places(MASK, volume))


def test_segments_of_one_layer_keep_their_voxels():
    volume = add_volume()
    node, first = drawn(volume, OTHER & ~MASK)
    second = add_segment(node, MASK, volume, "second", (1, 0, 0))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    for mask in (MASK & OTHER, np.zeros(SHAPE, bool), OTHER & ~MASK, MASK | OTHER, np.ones(SHAPE, bool)):
        write_segment(node, first, mask, volume)
        assert np.array_equal(segment_mask(node, first, volume), mask)
        assert np.array_equal(segment_mask(node, second, volume), MASK)
    assert node.GetSegmentation().GetNumberOfLayers() == 2


def test_neighbours_in_a_layer_of_another_grid_keep_their_voxels():
    volume, finer = add_volume(), add_volume(oblique((0.5, 0.5, 1.0)), (20, 20, 20))
    node, first = drawn(volume, OTHER & ~MASK)
    second = add_segment(node, MASK, volume, "second", (1, 0, 0))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    mask = np.zeros((20, 20, 20), bool)
    mask[19, 19, 19] = True  # touches none of the others
    write_segment(node, first, mask, finer)
    assert np.array_equal(segment_mask(node, first, finer), mask)
    assert np.array_equal(segment_mask(node, second, volume), MASK)


steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from([0.0, 0.02, 0.3, 1.0]), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(steps)
@settings(max_examples=40)
def test_any_sequence_of_writes_leaves_what_was_written_last(actions):
    BED.reset()
    volume = add_volume()
    node = new_segmentation(volume, "drawing")
    expected = [random_mask(seed=number, share=0.1) for number in range(3)]
    ids = [add_segment(node, mask, volume, f"s{n}", (1, 0, 0)) for n, mask in enumerate(expected)]
    for number, seed, share, collapse in actions:
        expected[number] = random_mask(seed=seed, share=share)
        if collapse:
            node.GetSegmentation().CollapseBinaryLabelmaps(False)
        write_segment(node, ids[number], expected[number], volume)
        for segment_id, mask in zip(ids, expected, strict=True):
            assert np.array_equal(segment_mask(node, segment_id, volume), mask)


def test_label_maps_stay_cropped_to_what_is_drawn():
    volume = add_volume(shape=(30, 40, 50))
    mask = np.zeros((30, 40, 50), bool)
    mask[10, 20:25, 30:36] = True
    node, segment_id = drawn(volume, mask)
    assert extents(node) == [(30, 35, 20, 24, 10, 10)]
    mask[12, 2, 3] = True
    write_segment(node, segment_id, mask, volume)
    assert extents(node) == [(3, 35, 2, 24, 10, 12)]
    assert np.array_equal(segment_mask(node, segment_id, volume), mask)


def test_a_large_label_value_survives_writing():
    volume = add_volume()
    node, segment_id = drawn(volume)
    segment = node.GetSegmentation().GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    slicer.vtkOrientedImageDataResample.CastImageForValue(image, 1000)
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)[:] *= 1000
    segment.SetLabelValue(1000)
    assert np.array_equal(segment_mask(node, segment_id, volume), MASK)
    write_segment(node, segment_id, OTHER, volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER)


def surface_of(volume, mask):
    """A segmentation that consists of the surface of the mask, without voxels."""
    node, segment_id = drawn(volume, mask)
    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0")
    node.CreateClosedSurfaceRepresentation()
    node.SetSourceRepresentationToClosedSurface()
    node.RemoveBinaryLabelmapRepresentation()
    return node, segment_id


@pytest.mark.parametrize("kind", ["none", "linear", "grid"])
@pytest.mark.parametrize("left_handed", [False, True])
def test_a_surface_is_read_and_the_node_stays_as_it_is(left_handed, kind):
    volume = add_volume(oblique(left_handed=left_handed), (12, 20, 24), parent=transforms()[kind])
    node, segment_id = surface_of(volume, blob((12, 20, 24)))
    before, modified = inventory(), node.GetSegmentation().GetMTime()
    found = segment_mask(node, segment_id, volume)
    assert np.mean(found != blob((12, 20, 24))) < 0.01
    assert node.GetSegmentation().GetMTime() == modified and inventory() == before
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    put_under(node, linear(np.diag([1.0, 1.0, -1.0, 1.0])))
    assert not np.array_equal(segment_mask(node, segment_id, volume), found)


def test_a_surface_is_never_written_into():
    volume = add_volume(shape=(12, 20, 24))
    node, segment_id = surface_of(volume, blob((12, 20, 24)))
    for write in (
        lambda: write_segment(node, segment_id, blob((12, 20, 24)), volume),
        lambda: add_segment(node, blob((12, 20, 24)), volume, "x", (1, 0, 0)),
    ):
        with pytest.raises(MaskError, match="surfaces") as caught:
            write()
        assert "Segmentations module" in caught.value.advice
    assert node.GetSegmentation().GetNumberOfSegments() == 1


def test_a_shown_surface_follows_what_is_written():
    volume = add_volume(shape=(12, 20, 24))
    node, segment_id = drawn(volume, blob((12, 20, 24)))
    node.CreateClosedSurfaceRepresentation()
    points = node.GetClosedSurfaceInternalRepresentation(segment_id).GetNumberOfPoints()
    mask = np.zeros((12, 20, 24), bool)
    mask[5, 5:9, 5:9] = True
    write_segment(node, segment_id, mask, volume)
    assert 0 < node.GetClosedSurfaceInternalRepresentation(segment_id).GetNumberOfPoints() < points
    second = add_segment(node, blob((12, 20, 24)), volume, "second", (1, 0, 0))
    assert node.GetClosedSurfaceInternalRepresentation(second).GetNumberOfPoints() > 0


def test_reading_leaves_selection_display_and_scene_alone():
    volume = add_volume()
    node, segment_id = drawn(volume)
    display = node.GetDisplayNode()
    display.SetSegmentVisibility(segment_id, False)
    display.SetSegmentOpacity2DFill(segment_id, 0.123)
    before = inventory(), node.GetMTime(), display.GetMTime(), node.GetSegmentation().GetMTime()
    seen = []
    slicer.mrmlScene.AddObserver("AnyEvent", lambda *_: seen.append(1))
    segment_mask(node, segment_id, volume)
    assert (inventory(), node.GetMTime(), display.GetMTime(), node.GetSegmentation().GetMTime()) == before
    assert not seen


def test_a_new_segment_has_name_colour_and_terminology():
    volume = add_volume()
    node, segment_id = drawn(volume)
    segment = node.GetSegmentation().GetSegment(segment_id)
    assert segment.GetName() == "liver" and segment.GetColor() == pytest.approx((0.2, 0.4, 0.6))
    assert terminology_of(segment) == LIVER == segment.GetTerminology()
    plain = add_segment(node, MASK, volume, "plain", (1, 0, 0))
    assert "Tissue" in terminology_of(node.GetSegmentation().GetSegment(plain))  # Slicer's own default


def test_a_segment_that_got_voxels_is_in_progress_as_after_painting():
    volume = add_volume()
    node, segment_id = drawn(volume, np.zeros(SHAPE))
    logic = slicer.modules.segmentations.logic()
    segment = node.GetSegmentation().GetSegment(segment_id)
    assert logic.GetSegmentStatus(segment) == logic.NotStarted
    write_segment(node, segment_id, MASK, volume)
    assert logic.GetSegmentStatus(segment) == logic.InProgress
    logic.SetSegmentStatus(segment, 2)
    write_segment(node, segment_id, OTHER, volume)
    assert logic.GetSegmentStatus(segment) == 2


def test_a_new_segmentation_lies_beside_its_volume():
    hierarchy = tree()
    volume = add_volume(parent=linear())
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    node = new_segmentation(volume, "result")
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    assert node.GetDisplayNode() is not None and node.GetName() == "result"
    assert new_segmentation(volume, "result").GetName() != "result"


def test_removing_a_segmentation_leaves_nothing():
    volume = add_volume()
    before = inventory()
    node, _ = drawn(volume)
    node.AddDefaultStorageNode()
    remove_node(node)
    assert inventory() == before
    remove_node(node)
    remove_node(None)


def test_a_segmentation_that_cannot_be_completed_leaves_nothing(monkeypatch):
    volume = add_volume()
    before = inventory()

    def fails(*_):
        raise RuntimeError("no hierarchy")

    monkeypatch.setattr("QNetSegmentLib.scene.segments._put_beside", fails)
    with pytest.raises(RuntimeError):
        new_segmentation(volume, "result")
    assert inventory() == before


class Refusing:
    """A segmentations logic that refuses to write."""

    def __init__(self, reason=None):
        self.reason = reason

    def SetBinaryLabelmapToSegment(self, *_):
        if self.reason:
            raise self.reason
        return False


def test_when_slicer_refuses_the_segment_keeps_its_voxels(monkeypatch):
    volume = add_volume()
    node, segment_id = drawn(volume)
    for reason, error in ((None, OutputError), (MemoryError(), MemoryError)):
        logic = Refusing(reason)
        monkeypatch.setattr(slicer.modules, "segmentations", SimpleNamespace(logic=lambda logic=logic: logic))
        with pytest.raises(error):
            write_segment(node, segment_id, OTHER, volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), MASK)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_any_type_are_accepted(dtype):
    volume = add_volume()
    node, segment_id = drawn(volume, MASK.astype(dtype))
    assert np.array_equal(segment_mask(node, segment_id, volume), MASK)
    write_segment(node, segment_id, (OTHER * 3).astype(dtype)[:, ::-1], volume)
    assert np.array_equal(segment_mask(node, segment_id, volume), OTHER[:, ::-1])


def test_what_is_gone_is_named():
    volume = add_volume()
    node, segment_id = drawn(volume)
    with pytest.raises(MaskError, match="no longer"):
        segment_mask(node, "unknown", volume)
    with pytest.raises(MaskError, match="no segmentation"):
        segment_mask(None, segment_id, volume)
    with pytest.raises(VolumeError):
        segment_mask(node, segment_id, None)
    remove_node(node)
    with pytest.raises(MaskError, match="no segmentation"):
        segment_mask(node, segment_id, volume)
