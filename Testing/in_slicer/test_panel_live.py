"""Update while drawing: the result follows the strokes, and nothing that the user decided is undone by it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from support.panel_bed import choose, click, turn_events, wait_until
from support.panel_stories import DRAWN, RunState, Story, click_bar, is_preview, story, write_segment

__all__ = ["story"]

HALF = slice(12, 23)  # rows of the upper half of the organ


def drawn_and_segmented(story: Story) -> Any:
    """A first result by a click; the drawing."""
    _volume, drawing = story.load_and_draw()
    wait_until(lambda: story.worker.device)
    story.segment()
    return drawing


def follow(story: Story, runs: int = 1) -> None:
    """Wait until so many further runs have begun, and all have ended."""
    wait_until(lambda: len(story.seen) >= runs and story.session.run is None)


def pause(seconds: float = 0.5) -> None:
    """Let the user wait, to see that nothing happens."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end)


def test_the_result_follows_a_stroke(story: Story) -> None:
    ui = story.ui
    drawing = drawn_and_segmented(story)
    assert ui.updateCheckBox.isVisible() and ui.updateCheckBox.checked and not ui.updateHint.isVisible()
    preview, steps = story.preview, ui.undoButton.text
    click_bar(story, 3)
    story.stroke(DRAWN, HALF, erase=True)
    before = story.found(drawing)
    follow(story, 2)
    assert story.preview is preview and is_preview(preview)  # the same node, with other voxels
    assert np.array_equal(story.found()[DRAWN], before[DRAWN])
    assert not story.found()[DRAWN, HALF].any()
    assert np.array_equal(story.found(drawing), before)  # the drawing is the user's
    assert story.report.volume_ml == pytest.approx(story.found().sum() * 24 / 1000)
    assert f"{story.report.volume_ml:.1f} ml" == ui.volumeValue.text
    assert "axial" in ui.sliceLabel.text  # still the slice that was looked at
    assert ui.undoButton.text == steps and story.panel.messages == []


def test_without_a_result_nothing_starts_by_itself(story: Story) -> None:
    story.load_and_draw()
    story.stroke(DRAWN, HALF, erase=True)
    pause()
    assert story.seen == [] and story.preview is None


def test_a_stroke_without_a_change_starts_nothing(story: Story) -> None:
    drawing = drawn_and_segmented(story)
    drawing.GetSegmentation().GetNthSegment(0).SetColor(1.0, 0.0, 0.0)
    story.stroke(DRAWN)
    pause()
    assert len(story.seen) == 1


def test_many_strokes_are_one_run(story: Story) -> None:
    drawn_and_segmented(story)
    for row in range(12, 20):
        story.stroke(DRAWN, slice(row, row + 1), erase=True)
        turn_events(1)
    follow(story, 2)
    pause()
    assert len(story.seen) == 2 and not story.found()[DRAWN, 12:20].any()


def test_a_stroke_during_a_run_starts_another_one_after_it(story: Story) -> None:
    drawn_and_segmented(story)
    story.order("wait")
    story.stroke(DRAWN, HALF, erase=True)
    wait_until(lambda: story.session.state() is RunState.UPDATING)
    assert story.ui.segmentButton.text == "Segment" and not story.ui.progressBar.isVisible()
    story.stroke(DRAWN, HALF)  # and back
    story.stroke(DRAWN, slice(23, 34), erase=True)
    wait_until(lambda: not story.session.drawn or story.session.drawn[0].area_mm2 < 1200)
    pause(0.3)
    assert len(story.seen) == 2
    story.order("")
    follow(story, 3)
    assert story.found()[DRAWN, HALF].any() and not story.found()[DRAWN, 23:].any()


def test_it_is_switched_off_by_the_user(story: Story) -> None:
    drawn_and_segmented(story)
    click(story.ui.updateCheckBox)
    assert story.session.parameters.updateWhileDrawing is False
    story.stroke(DRAWN, HALF, erase=True)
    pause()
    assert len(story.seen) == 1
    click(story.ui.updateCheckBox)
    story.stroke(DRAWN, slice(12, 20))
    follow(story, 2)
    assert story.session.parameters.updateWhileDrawing is True


def test_a_slow_run_switches_it_off_for_this_session(story: Story) -> None:
    ui = story.ui
    drawn_and_segmented(story)
    story.order("wait")
    story.stroke(DRAWN, HALF, erase=True)
    wait_until(lambda: story.session.state() is RunState.UPDATING)
    wait_until(lambda: story.session.state() is RunState.RUNNING)  # it lasts: shown, and can be cancelled
    assert ui.segmentButton.text == "Cancel" and ui.progressBar.isVisible()
    story.order("")
    story.end()
    assert not story.found()[DRAWN, HALF].any()  # its result counts
    assert not ui.updateCheckBox.checked and "Switched off: the last run took " in ui.updateHint.text
    assert ui.updateHint.isVisible() and story.panel.messages == []
    assert story.session.parameters.updateWhileDrawing is True  # the saved choice is as before
    runs = len(story.seen)
    story.stroke(DRAWN, HALF)
    pause()
    assert len(story.seen) == runs
    click(ui.updateCheckBox)  # the user insists
    assert not ui.updateHint.isVisible()
    story.stroke(DRAWN, slice(12, 14), erase=True)
    follow(story, runs + 1)


def test_the_first_run_of_a_process_does_not_switch_it_off(story: Story) -> None:
    story.load_and_draw()
    story.start_and_hold()
    pause(2.2)
    story.order("")
    story.end()
    assert story.ui.updateCheckBox.checked
    story.stroke(DRAWN, HALF, erase=True)
    follow(story, 2)


def test_an_error_is_a_sentence_and_the_next_stroke_works(story: Story) -> None:
    drawn_and_segmented(story)
    before = story.found()
    story.order("fail")
    story.stroke(DRAWN, HALF, erase=True)
    follow(story, 2)
    wait_until(lambda: story.message)
    assert story.panel.messages == [] and np.array_equal(story.found(), before)
    pause()
    assert len(story.seen) == 2  # not again and again
    story.order("")
    story.stroke(DRAWN, slice(12, 14))
    follow(story, 3)
    assert story.message == "" and not np.array_equal(story.found(), before)


def test_the_last_slice_is_erased(story: Story) -> None:
    drawn_and_segmented(story)
    story.stroke(DRAWN, erase=True)
    wait_until(lambda: not story.session.drawn)
    pause()
    assert len(story.seen) == 1 and story.message == "" and story.preview is not None


# What the user decided


@pytest.mark.parametrize("what", ["accept", "discard"])
def test_after_the_decision_nothing_follows(story: Story, what: str) -> None:
    drawing = drawn_and_segmented(story)
    preview, voxels = story.preview, story.found()
    click(story.ui.acceptButton if what == "accept" else story.ui.discardButton)
    story.stroke(DRAWN, HALF, erase=True)
    wait_until(lambda: story.session.drawn[0].area_mm2 < 1200)
    pause()
    assert len(story.seen) == 1 and story.preview is None
    assert bool(slicer.mrmlScene.IsNodePresent(preview)) == (what == "accept")
    if what == "accept":
        assert np.array_equal(story.found(preview), voxels) and not story.found(drawing)[:, HALF].any()


@pytest.mark.parametrize("what", ["accept", "discard", "undo"])
def test_a_decision_during_an_update_stands(story: Story, what: str) -> None:
    ui = story.ui
    drawn_and_segmented(story)
    preview, voxels = story.preview, story.found()
    story.order("wait")
    story.stroke(DRAWN, HALF, erase=True)
    wait_until(lambda: story.session.state() is RunState.UPDATING)
    click({"accept": ui.acceptButton, "discard": ui.discardButton, "undo": ui.undoButton}[what])
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    story.order("")
    story.end()
    pause()
    assert (
        story.preview is None and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count
    )
    if what == "accept":
        assert preview.GetName() == "MR segmentation" and np.array_equal(story.found(preview), voxels)
    if what == "discard":
        click(ui.undoButton)
        assert np.array_equal(story.found(), voxels)


def test_a_click_during_an_update_runs_after_it_and_can_be_undone(story: Story) -> None:
    ui = story.ui
    drawn_and_segmented(story)
    voxels = story.found()
    story.order("wait")
    story.stroke(DRAWN, HALF, erase=True)
    wait_until(lambda: story.session.state() is RunState.UPDATING)
    click_bar(story, 3)
    click(ui.useSliceButton)
    assert story.session.state() is RunState.RUNNING and story.message == ""
    story.order("")
    wait_until(lambda: story.session.run is None and story.report.slices[3].drawn)
    assert sum(part.drawn for part in story.report.slices) == 2
    while story.preview is not None and not np.array_equal(story.found(), voxels):
        click(ui.undoButton)
    assert np.array_equal(story.found(), voxels)


def test_a_result_that_the_user_edited_is_not_lost(story: Story) -> None:
    drawn_and_segmented(story)
    edited = story.found()
    edited[8] = False
    preview = story.preview
    write_segment(preview, preview.GetSegmentation().GetNthSegmentID(0), edited, story.session.support_node)
    story.stroke(DRAWN, HALF, erase=True)
    pause()
    assert len(story.seen) == 1 and np.array_equal(story.found(), edited)
    story.segment()
    click(story.ui.undoButton)
    assert np.array_equal(story.found(), edited)


def test_the_removed_slice_and_its_undo_are_followed(story: Story) -> None:
    ui = story.ui
    drawn_and_segmented(story)
    story.stroke(3, HALF)
    follow(story, 2)
    assert story.report.slices[3].drawn
    ui.drawnTable.selectRow(0)
    click(ui.removeSliceButton)
    follow(story, 3)
    assert not story.report.slices[3].drawn
    click(ui.undoButton)
    follow(story, 4)
    assert story.report.slices[3].drawn


# Where it does not apply


def test_slice_by_slice_follows_nothing(story: Story) -> None:
    drawn_and_segmented(story)
    click(story.ui.advancedSection)
    choose(story.ui.methodCombo, "slice by slice, as in the paper")
    assert not story.ui.updateCheckBox.isVisible()
    story.stroke(DRAWN, HALF, erase=True)
    pause()
    assert len(story.seen) == 1


def test_another_patients_volume_follows_nothing(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    story.segment()
    story.load("second", seed=5)
    choose(story.ui.supportSelector, "MR")
    assert story.session.support_node is volume and not story.ui.updateCheckBox.isVisible()
    story.segment()
    runs = len(story.seen)
    story.stroke(DRAWN, HALF, erase=True)
    pause()
    assert len(story.seen) == runs


def test_a_batch_follows_nothing(story: Story) -> None:
    drawn_and_segmented(story)
    story.session.batch = object()
    try:
        story.stroke(DRAWN, HALF, erase=True)
        pause()
        assert len(story.seen) == 1
    finally:
        story.session.batch = None


def test_the_scene_closes_during_an_update(story: Story) -> None:
    drawn_and_segmented(story)
    story.order("wait")
    story.stroke(DRAWN, HALF, erase=True)
    wait_until(lambda: story.session.state() is RunState.UPDATING)
    slicer.mrmlScene.Clear(0)
    story.order("")
    story.end()
    assert story.preview is None and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_saved_scene_begins_with_a_click(story: Story, tmp_path: Path) -> None:
    drawn_and_segmented(story)
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path, None)
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(path, True)
    wait_until(lambda: len(story.session.drawn) == 1)
    story.stroke(DRAWN, HALF, erase=True)
    pause()
    assert len(story.seen) == 1  # the saved result may be of another model
