"""Marks of slices, signatures and neighbours in a real MRML scene, for every axis order and odd content."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from qnetseg.errors import InputError, MaskError
from support.scene_bed import (
    SHAPE,
    add_volume,
    axis_orders,
    blob,
    drawn,
    empty_scene,
    linear,
    put_under,
    support_sets,
    volume_at,
    volume_of,
)

# isort: split
from QNetSegmentLib.scene.canonical import CanonicalGrid
from QNetSegmentLib.scene.drawings import drawn_slices
from QNetSegmentLib.scene.marks import TAG, marks_of, set_marks
from QNetSegmentLib.scene.not_here import drop_drawn_marks, is_marked, mark_slice, marked_slices
from QNetSegmentLib.scene.others import others_than_drawn
from QNetSegmentLib.scene.results import signature
from QNetSegmentLib.scene.views import shown_slice
from QNetSegmentLib.scene.volumes import pair_of
from support.masks import add_segment, write_segment

__all__ = ["empty_scene"]


def one_slice(k=2):
    mask = np.zeros(SHAPE, bool)
    mask[k] = blob()[2]
    return mask


@pytest.mark.parametrize("number", range(48))
def test_a_mark_reaches_the_engine_on_the_same_slice_whatever_the_axes(number):
    volume = add_volume(axis_orders()[number])
    node, segment_id = drawn(volume, one_slice())
    (part,) = drawn_slices(node, volume)
    other = part.index - 1 if part.index > 0 else part.index + 1
    mark_slice(node, segment_id, volume, part.plane, other)
    parent = linear()  # moves the support beside the query: other matrix, same slices
    put_under(volume, parent)
    put_under(node, parent)
    for copy in (volume_of(volume), volume_at(pair_of(add_volume(seed=4, name="other"), volume)[1])):
        (support,) = support_sets(node, volume, copy)
        (full,) = support.filled
        (empty,) = [one for one in support.slices if not one.mask.any()]
        assert abs(empty.index - full.index) == 1 and full.mask.sum() == one_slice().sum()
    (same,) = support_sets(node, volume, volume_of(volume))
    assert {one.index for one in same.slices} == {part.index, other}


def test_marks_are_listed_in_the_plane_of_the_drawing_and_taken_back():
    volume = add_volume()
    node, segment_id = drawn(volume, one_slice())
    found = drawn_slices(node, volume)
    (part,) = found
    undo = mark_slice(node, segment_id, volume, part.plane, 4)
    mark_slice(node, segment_id, volume, "axial" if part.plane != "axial" else "coronal", 1)
    (shown,) = marked_slices(node, volume, found)
    assert (shown.index, shown.not_here, shown.area_mm2) == (4, True, 0.0)
    assert np.allclose(shown.center, CanonicalGrid.of(volume).center(part.plane, 4))
    again = mark_slice(node, segment_id, volume, part.plane, 4)  # already there: undoing changes nothing
    again()
    assert is_marked(node, segment_id, volume, part.plane, 4)
    undo()
    assert marked_slices(node, volume, found) == []
    back = mark_slice(node, segment_id, volume, part.plane, 4, here=True)
    back()
    assert not is_marked(node, segment_id, volume, part.plane, 4)
    with pytest.raises(InputError):
        mark_slice(node, segment_id, volume, part.plane, 99)
    with pytest.raises(MaskError):
        mark_slice(node, "gone", volume, part.plane, 1)


def test_a_slice_that_is_drawn_on_loses_its_mark():
    volume = add_volume()
    node, segment_id = drawn(volume, one_slice())
    plane = drawn_slices(node, volume)[0].plane
    mark_slice(node, segment_id, volume, plane, 3)
    mark_slice(node, segment_id, volume, plane, 4)
    write_segment(node, segment_id, one_slice() | one_slice(3), volume)
    drop_drawn_marks(node, volume, drawn_slices(node, volume))
    assert [part.index for part in marked_slices(node, volume, drawn_slices(node, volume))] == [4]


def test_marks_do_not_move_to_a_volume_with_other_slices():
    volume = add_volume()
    node, segment_id = drawn(volume, one_slice())
    mark_slice(node, segment_id, volume, drawn_slices(node, volume)[0].plane, 4)
    cropped = add_volume(shape=(4, 7, 9), name="cropped")
    assert marked_slices(node, cropped, drawn_slices(node, cropped)) == []


@pytest.mark.parametrize("text", ["", "nonsense", "axial/5=9", "axial/5=", "axial/x=1", "axial/5=1,,x"])
def test_a_tag_that_somebody_changed_is_no_mark_out_of_range(text):
    segment = slicer.vtkSegment()
    segment.SetTag(TAG, text)
    assert set(marks_of(segment, "axial", 5)) <= {1}
    set_marks(segment, "axial", 5, [3, 1, 3])
    assert marks_of(segment, "axial", 5) == [1, 3]
    set_marks(segment, "axial", 5, [])
    assert marks_of(segment, "axial", 5) == [] and not segment.HasTag(TAG)


def test_the_shown_slice_follows_the_views():
    volume = add_volume()
    for plane in ("axial", "coronal", "sagittal"):
        with pytest.raises(InputError):
            shown_slice(volume, plane)  # the views stand on the world's axes, the volume is oblique
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.RotateToVolumePlane(volume)
    for index in (0, 3, 4):
        red.JumpSliceByCentering(*CanonicalGrid.of(volume).center("axial", index))
        assert shown_slice(volume, "axial") == index


def test_a_signature_tells_voxels_and_marks_from_looks():
    volume = add_volume()
    node, segment_id = drawn(volume, one_slice())
    before = signature(node)
    segment = node.GetSegmentation().GetSegment(segment_id)
    segment.SetName("another")
    segment.SetColor(1.0, 0.0, 0.0)
    write_segment(node, segment_id, one_slice(), volume)
    assert signature(node) == before
    undo = mark_slice(node, segment_id, volume, "axial", 1)
    assert signature(node) != before
    undo()
    assert signature(node) == before
    write_segment(node, segment_id, one_slice(1), volume)
    assert signature(node) != before
    with pytest.raises(MaskError):
        slicer.mrmlScene.RemoveNode(node)
        signature(node)


def test_neighbours_are_read_through_transforms():
    volume = add_volume()
    node, first = drawn(volume, one_slice())
    second = add_segment(node, one_slice(3), volume, "other", (0.0, 1.0, 0.0))
    parent = linear()
    put_under(volume, parent)
    put_under(node, parent)
    boxes = others_than_drawn(node, [first, second], volume)
    assert np.array_equal(boxes[0].placed(SHAPE), one_slice(3))
    assert np.array_equal(boxes[1].placed(SHAPE), one_slice())
    node.GetDisplayNode().SetVisibility(False)
    assert all(box.is_empty for box in others_than_drawn(node, [first, second], volume))
