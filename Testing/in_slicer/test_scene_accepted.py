"""Which result in the scene goes with a drawing that is kept."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    SHAPE,
    add_volume,
    blob,
    draw,
    drawn,
    empty_scene,  # noqa: F401
    linear,
    put_under,
)

# isort: split

import numpy as np
import pytest
import slicer

from qnetseg.boxes import Box
from qnetseg.segment.result import Report, StructureResult
from qnetseg.volume import ANATOMICAL_AXES, Drawing
from QNetSegmentLib.scene.accepted import accepted_results
from QNetSegmentLib.scene.reports import store_reports, stored_reports
from QNetSegmentLib.scene.results import accept_preview, write_result
from QNetSegmentLib.scene.segments import remove_node
from support.masks import write_segment

WHOLE = blob()
ONE = np.where(np.arange(SHAPE[0])[:, None, None] == 2, WHOLE, False)  # what is drawn: one slice
ELSEWHERE = ~WHOLE


def result(volume, drawn_ids=(), masks=(WHOLE,), names=("liver",), preview=False):
    """A segmentation of a volume with results and their reports."""
    found = []
    for mask, name in zip(masks, names, strict=True):
        report = Report(name, "m", "cpu", "fp32", 0.1, 1.5, "axial", 0.0, (), ())
        example = Drawing(Box.around(mask), name)
        found.append(StructureResult(example, ANATOMICAL_AXES, Box.around(mask), report))
    node = write_result(volume, found, name="result", preview=preview)
    store_reports(node, found, volume, drawn_ids)
    return node


def first(node):
    return node.GetSegmentation().GetNthSegmentID(0)


def masks_of(drawing, volume):
    """(K, J, I) bool for each drawing, or None."""
    found = accepted_results(drawing, volume)
    return [None if box is None else box.placed(SHAPE) for box in found]


def only(drawing, volume):
    (mask,) = masks_of(drawing, volume)
    return mask


@pytest.mark.parametrize("under", ["nothing", "a transform"])
def test_what_the_user_has_made_of_an_accepted_result_is_taken(under):
    volume = add_volume(parent=linear() if under == "a transform" else None)
    drawing, segment_id = drawn(volume, ONE)
    assert only(drawing, volume) is None
    node = result(volume, [segment_id], preview=True)
    assert only(drawing, volume) is None, "it waits for the user's decision"
    accept_preview(node, "kept")
    assert np.array_equal(only(drawing, volume), WHOLE)
    corrected = WHOLE.copy()
    corrected[1] = False
    write_segment(node, first(node), corrected, volume)
    put_under(node, volume.GetParentTransformNode())
    assert np.array_equal(only(drawing, volume), corrected)
    node.GetSegmentation().GetSegment(first(node)).SetName("another name")
    assert np.array_equal(only(drawing, volume), corrected)
    node.GetSegmentation().RemoveSegment(first(node))
    assert only(drawing, volume) is None


def test_what_was_accepted_into_another_segmentation_is_taken():
    volume, other = add_volume(), add_volume(name="other")
    drawing, segment_id = drawn(volume, ONE)
    atlas, _ = drawn(volume, ELSEWHERE, "atlas")
    shrunk = WHOLE & (np.arange(SHAPE[2]) < 5)
    for mask in (shrunk, WHOLE):
        accept_preview(result(volume, [segment_id], [mask], preview=True), "", into=atlas)
        assert np.array_equal(only(drawing, volume), mask), "the last one counts"
    assert len(stored_reports(atlas)) == 2
    atlas.GetSegmentation().RemoveSegment(stored_reports(atlas)[-1].segment_id)
    assert np.array_equal(only(drawing, volume), shrunk)
    by_itself = result(volume, [segment_id], [WHOLE])
    assert np.array_equal(only(drawing, volume), WHOLE)
    accept_preview(result(volume, [segment_id], [shrunk], preview=True), "", into=atlas)
    assert np.array_equal(only(drawing, volume), shrunk), "written later, in an older segmentation"
    remove_node(by_itself)
    elsewhere, _ = drawn(other, ONE)
    accept_preview(result(volume, [segment_id], preview=True), "", into=elsewhere)
    assert stored_reports(elsewhere) == [], "its slices are counted by the axes of another volume"


def test_a_result_is_found_by_its_structure_where_its_segment_got_a_new_name():
    volume = add_volume()
    drawing, _ = drawn(volume, ONE)
    atlas, _ = drawn(volume, ELSEWHERE, "liver")
    accept_preview(result(volume, preview=True), "", into=atlas)
    assert [atlas.GetSegmentation().GetNthSegment(n).GetName() for n in (0, 1)] == ["liver", "liver 2"]
    assert np.array_equal(only(drawing, volume), WHOLE)


def test_each_drawing_has_its_own_and_the_last_one_counts():
    volume = add_volume()
    drawing, (liver, spleen) = draw(volume, ONE, ELSEWHERE)
    empty = drawing.GetSegmentation().AddEmptySegment("", "not drawn")
    shrunk = WHOLE & (np.arange(SHAPE[2]) < 5)
    result(volume, [liver], [WHOLE])
    later = result(volume, [spleen, liver, empty], [ELSEWHERE, shrunk, WHOLE & ~shrunk], "abc")
    found = masks_of(drawing, volume)
    assert len(found) == 2 and np.array_equal(found[0], shrunk) and np.array_equal(found[1], ELSEWHERE)
    only_spleen = accepted_results(drawing, volume, [spleen, empty])
    assert [np.array_equal(box.placed(SHAPE), ELSEWHERE) for box in only_spleen] == [True]
    remove_node(later)
    found = masks_of(drawing, volume)
    assert np.array_equal(found[0], WHOLE) and found[1] is None


def test_a_result_of_another_volume_or_another_place_is_not_taken():
    volume, other = add_volume(), add_volume(name="other")
    drawing, segment_id = drawn(volume, ONE)
    result(other, [segment_id])
    result(volume, [segment_id], [ELSEWHERE])  # of what was drawn in the segment before
    result(volume, [segment_id], [np.zeros(SHAPE, bool)])
    by_hand, _ = drawn(volume, WHOLE)
    assert only(drawing, volume) is None and only(by_hand, volume) is None


def test_by_its_name_a_result_is_taken_only_where_no_other_segment_claims_it():
    volume = add_volume()
    drawing, _ = drawn(volume, ONE, "structure")
    before, segment_id = drawn(volume, ONE, "structure")
    result(volume, [segment_id], names=["structure"])
    assert only(drawing, volume) is None and np.array_equal(only(before, volume), WHOLE)
    remove_node(before)
    assert np.array_equal(only(drawing, volume), WHOLE)
    drawing.GetSegmentation().GetNthSegment(0).SetName("liver")
    assert only(drawing, volume) is None
    after_the_library = result(volume, masks=[WHOLE & (np.arange(SHAPE[1]) < 4)[:, None]])
    assert only(drawing, volume).any()
    write_segment(after_the_library, first(after_the_library), ONE, volume)
    assert np.array_equal(only(drawing, volume), ONE)


def test_what_lies_outside_of_the_volume_is_left_out():
    volume, larger = add_volume(), add_volume(shape=(SHAPE[0] + 3, *SHAPE[1:]), name="larger")
    drawing, segment_id = drawn(volume, ONE)
    node = result(volume, [segment_id])
    write_segment(node, first(node), np.ones((SHAPE[0] + 3, *SHAPE[1:]), bool), larger)
    (box,) = accepted_results(drawing, volume)
    assert box.mask.shape == SHAPE and box.start == (0, 0, 0)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2
