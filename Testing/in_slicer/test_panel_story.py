"""Draw, segment, review, correct, run again, accept: the work that the panel is made for."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from support.panel_bed import add_drawing, choose, click, click_item, wait_until
from support.panel_stories import (
    DRAWN,
    Story,
    click_bar,
    is_preview,
    matrix_of,
    one_slice,
    segment_names,
    slice_positions,
    story,
    surface_visible,
    write_segment,
)

# isort: split

from QNetSegmentLib.scene.reports import reports_text, stored_reports

__all__ = ["story"]


def check_below(story: Story, percent: int) -> None:
    """The user says which slices are to be checked."""
    if story.ui.advancedSection.collapsed:
        click(story.ui.advancedSection)
    story.ui.uncertainSpinBox.setValue(percent)


def height_of(volume: Any, k: int) -> float:
    """S in mm of a slice of an upright volume."""
    return float(volume.GetOrigin()[2] + k * volume.GetSpacing()[2])


def test_the_buttons_follow_the_work(story: Story) -> None:
    ui = story.ui
    assert not ui.setupSection.isVisible()
    assert not ui.segmentButton.enabled and ui.hintLabel.text == "Choose the volume to segment."
    assert not ui.newDrawingButton.enabled and not ui.alignViewsButton.enabled
    assert ui.reviewHelp.isVisible() and not ui.reviewBox.isVisible() and not ui.undoButton.enabled
    story.load()
    assert "Draw the structure" in ui.hintLabel.text and "New drawing" in ui.drawHint.text
    click(ui.newDrawingButton)
    assert ui.segmentEditor.activeEffect().name == "Paint"
    assert "Nothing is drawn yet" in ui.drawHint.text and not ui.drawnTable.isVisible()
    assert not ui.segmentButton.enabled
    story.draw()
    assert not ui.drawHint.isVisible() and ui.hintLabel.text == "After the drawing: liver."
    assert ui.segmentButton.enabled
    texts = [ui.drawnTable.item(0, column).text() for column in range(4)]
    assert texts == ["liver", "axial", "S 6.0 mm", "21.1 cm²"]


def test_too_little_is_drawn(story: Story) -> None:
    volume = story.load()
    dot = np.zeros_like(story.masks["liver"])
    dot[DRAWN, 20:22, 20:22] = True
    story.masks["liver"] = dot
    story.draw(volume=volume)
    assert "very little is drawn" in story.ui.drawHint.text
    assert story.ui.segmentButton.enabled  # it is a hint, not a ban


def test_a_run_shows_how_far_it_is(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    assert not ui.progressBar.isVisible() and not ui.progressLabel.isVisible()
    story.start_and_hold()
    assert ui.progressBar.isVisible() and 0 < ui.progressBar.value < 1000
    assert ui.progressLabel.text.startswith("liver: slice 3 of 14") and "s left" in ui.progressLabel.text
    assert ui.deviceLabel.isVisible() and "CPU" in ui.deviceLabel.text
    assert ui.newDrawingButton.isEnabled()  # the user goes on working
    story.order("")
    story.end()
    assert ui.segmentButton.text == "Segment" and ui.segmentButton.enabled
    assert not ui.progressBar.isVisible() and not ui.progressLabel.isVisible() and story.message == ""


def test_the_log_can_be_copied(story: Story) -> None:
    story.load_and_draw()
    story.order("fail")
    story.start()
    story.end()
    click(story.ui.logSection)
    click(story.ui.copyLogButton)
    copied = slicer.app.clipboard().text()
    assert "Python" in copied.splitlines()[0] and "QNetSegment" in copied.splitlines()[0]
    assert "the engine's last words" in copied and story.message in copied


def test_the_result_is_reviewed(story: Story) -> None:
    ui = story.ui
    volume, _drawing = story.load_and_draw()
    preview = story.segment()
    assert is_preview(preview) and segment_names(preview) == ["liver"] and story.dice() > 0.8
    assert ui.reviewBox.isVisible() and not ui.reviewHelp.isVisible()
    voxel_ml = float(np.prod(volume.GetSpacing())) / 1000
    assert ui.volumeValue.text == f"{story.found().sum() * voxel_ml:.1f} ml"
    ui.opacitySlider.setValue(30)
    display = preview.GetDisplayNode()
    assert display.GetOpacity2DFill() == display.GetOpacity2DOutline() == 0.3
    click(ui.show3DCheckBox)
    assert surface_visible(preview)
    click(ui.show3DCheckBox)
    assert not surface_visible(preview)


def test_uncertain_slices_are_shown_the_least_confident_first(story: Story) -> None:
    ui = story.ui
    volume, _drawing = story.load_and_draw()
    story.segment()
    check_below(story, 90)
    scores = {part.index: part.score for part in story.report.slices if part.occupied and not part.drawn}
    order = sorted((index for index in scores if scores[index] < 0.9), key=lambda index: scores[index])
    assert len(order) == 3 and ui.sliceLabel.text == "3 slices to check."
    seen = []
    for index in [*order, order[0]]:  # after the last it begins again
        click(ui.nextUncertainButton)
        assert f" mm: confidence {100 * scores[index]:.0f} %" in ui.sliceLabel.text
        seen.append(slice_positions()[0][2])
    heights = [height_of(volume, index) for index in [*order, order[0]]]
    assert np.allclose(seen, heights)
    check_below(story, 0)
    assert ui.sliceLabel.text.startswith("axial ") and not ui.nextUncertainButton.enabled


def test_a_bar_of_the_chart_leads_to_its_slice(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    story.segment()
    for index, words in ((3, "confidence"), (DRAWN, "as you drew it"), (0, "nothing found")):
        click_bar(story, index)
        height = height_of(volume, index)
        assert f"axial {'S' if height >= 0 else 'I'} {abs(height):.1f} mm: " in story.ui.sliceLabel.text
        assert words in story.ui.sliceLabel.text
        assert all(np.isclose(place[2], height_of(volume, index)) for place in slice_positions())


def test_a_click_to_look_at_the_result_does_not_paint(story: Story) -> None:
    """The brush ends when a run starts and when the review jumps; a run that a stroke starts leaves it."""
    editor, ui = story.ui.segmentEditor, story.ui
    story.load_and_draw()
    wait_until(lambda: story.worker.device)
    assert editor.activeEffect().name == "Paint"
    story.segment()
    assert editor.activeEffect() is None
    check_below(story, 90)
    for look in (lambda: click_bar(story, 3), lambda: click(ui.nextUncertainButton)):
        editor.setActiveEffectByName("Erase")
        look()
        assert editor.activeEffect() is None
    editor.setActiveEffectByName("Paint")
    story.stroke(DRAWN, slice(12, 20), erase=True)
    wait_until(lambda: len(story.seen) == 2 and story.session.run is None)
    assert editor.activeEffect().name == "Paint"
    click_bar(story, 3)
    click(ui.correctSliceButton)
    assert editor.activeEffect().name == "Paint"
    click(ui.useSliceButton)
    assert editor.activeEffect() is None
    story.end()


def test_a_slice_is_corrected_and_used_for_another_run(story: Story) -> None:
    ui = story.ui
    _volume, drawing = story.load_and_draw()
    first = story.segment()
    assert not ui.correctSliceButton.enabled and not ui.useSliceButton.enabled
    click_bar(story, 3)
    found = story.found()[3]
    click(ui.correctSliceButton)
    wait_until(lambda: len(story.session.drawn) == 2)
    drawn = story.found(drawing)
    assert np.array_equal(drawn[3], found) and drawn[DRAWN].any() and drawn.any(axis=(1, 2)).sum() == 2
    assert ui.segmentEditor.activeEffect().name == "Paint"
    assert ui.undoButton.text == "Undo copied slice"
    click(ui.undoButton)
    wait_until(lambda: len(story.session.drawn) == 1)
    assert not story.found(drawing)[3].any()
    click_bar(story, 3)
    click(ui.useSliceButton)
    story.end()
    assert story.preview is not first and slicer.mrmlScene.IsNodePresent(first) == 0
    assert story.report.slices[3].drawn and np.array_equal(story.found()[3], found)
    wait_until(lambda: len(story.session.drawn) == 2)


def test_a_slice_that_the_user_corrected_is_not_overwritten_by_use(story: Story) -> None:
    _volume, drawing = story.load_and_draw()
    story.segment()
    click_bar(story, 3)
    click(story.ui.correctSliceButton)
    corrected = story.found(drawing)
    corrected[3, 14:20, 20:30] = False
    segment_id = drawing.GetSegmentation().GetNthSegmentID(0)
    write_segment(drawing, segment_id, corrected, story.session.support_node)
    wait_until(lambda: len(story.session.drawn) == 2 and story.ui.useSliceButton.enabled)
    click(story.ui.useSliceButton)
    story.end()
    assert np.array_equal(story.found(drawing), corrected)
    assert np.array_equal(story.found()[3], corrected[3])


def test_a_slice_on_which_nothing_was_found_is_drawn_by_hand(story: Story) -> None:
    ui = story.ui
    _volume, drawing = story.load_and_draw()
    story.segment()
    click_bar(story, 0)
    click(ui.useSliceButton)
    assert story.session.run is None and "empty" in story.message
    click(ui.correctSliceButton)
    assert ui.segmentEditor.activeEffect().name == "Paint"
    assert ui.segmentEditor.currentSegmentID() == drawing.GetSegmentation().GetNthSegmentID(0)
    assert len(story.session.drawn) == 1


def test_accept_as_a_new_segmentation(story: Story) -> None:
    ui = story.ui
    volume, drawing = story.load_and_draw()
    preview = story.segment()
    voxels = story.found()
    click(ui.acceptButton)
    assert not is_preview(preview) and preview.GetName() == "MR segmentation"
    assert story.message == "Kept as “MR segmentation”." and not ui.reviewBox.isVisible()
    assert np.array_equal(story.found(preview), voxels) and segment_names(drawing) == ["liver"]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = [hierarchy.GetItemByDataNode(node) for node in (volume, preview)]
    assert len({hierarchy.GetItemParent(item) for item in items}) == 1
    assert ui.undoButton.text == "Undo accepted result"
    click(ui.undoButton)
    assert story.preview is preview and is_preview(preview)
    assert np.array_equal(story.found(), voxels) and preview.GetName() == "MR to review"
    assert ui.reviewBox.isVisible() and story.report.structure == "liver"


def test_accept_into_an_existing_segmentation(story: Story) -> None:
    ui = story.ui
    volume, _drawing = story.load_and_draw()
    existing = add_drawing(volume, {"liver": one_slice(story.masks["spleen"])}, "atlas")
    story.segment()
    voxels, report = story.found(), story.report
    choose(ui.outputSelector, "atlas")
    click(ui.acceptButton)
    assert [found.report for found in stored_reports(existing)] == [report]
    assert segment_names(existing) == ["liver", "liver 2"] and story.preview is None
    assert np.array_equal(story.found(existing, number=1), voxels)
    assert np.array_equal(story.found(existing), one_slice(story.masks["spleen"]) > 0)
    assert story.message == "Added to “atlas”."
    click(ui.undoButton)
    assert segment_names(existing) == ["liver"] and np.array_equal(story.found(), voxels)
    assert reports_text(existing) == "" and story.report == report


def test_discard_and_rerun_are_undone(story: Story) -> None:
    ui = story.ui
    _volume, drawing = story.load_and_draw()
    story.segment()
    first = story.found()
    click_bar(story, 3)
    click(ui.useSliceButton)
    story.end()
    second = story.found()
    assert not np.array_equal(first, second)
    click(ui.discardButton)
    assert (
        story.preview is None and ui.reviewHelp.isVisible() and ui.undoButton.text == "Undo discarded result"
    )
    click(ui.undoButton)
    assert np.array_equal(story.found(), second)
    assert ui.undoButton.text == "Undo the last run"
    click(ui.undoButton)
    assert np.array_equal(story.found(), first) and not story.report.slices[3].drawn
    click(ui.undoButton)  # the copied slice
    wait_until(lambda: len(story.session.drawn) == 1)
    click(ui.undoButton)  # the first run
    assert story.preview is None and not ui.undoButton.enabled and ui.undoButton.text == "Undo"
    assert slicer.mrmlScene.IsNodePresent(drawing)


def test_a_drawn_slice_is_shown_removed_and_brought_back(story: Story) -> None:
    ui = story.ui
    _volume, drawing = story.load_and_draw()
    before = story.found(drawing)
    assert not ui.goToSliceButton.enabled and not ui.removeSliceButton.enabled
    click_item(ui.drawnTable, 0)
    click(ui.goToSliceButton)
    middle = [axis.mean() for axis in np.nonzero(before)][::-1]
    expected = (matrix_of() @ [*middle, 1])[:3]
    assert all(np.allclose(place, expected) for place in slice_positions())
    click(ui.removeSliceButton)
    wait_until(lambda: not story.session.drawn)
    assert not story.found(drawing).any() and not ui.segmentButton.enabled
    assert not ui.goToSliceButton.isVisible() and "Nothing is drawn" in ui.drawHint.text
    click(ui.undoButton)
    wait_until(lambda: story.session.drawn)
    assert np.array_equal(story.found(drawing), before)
    click_item(ui.drawnTable, 0, double=True)


def test_another_slice_is_drawn_with_the_brush_of_the_first(story: Story) -> None:
    ui = story.ui
    volume, drawing = story.load_and_draw("liver", "spleen")
    ui.segmentEditor.setActiveEffectByName("")
    click_item(ui.drawnTable, 0)
    click(ui.addSliceButton)
    assert ui.segmentEditor.activeEffect().name == "Paint"
    assert ui.segmentEditor.currentSegmentID() == drawing.GetSegmentation().GetNthSegmentID(0)
    heights = [height_of(volume, k) for k in range(14) if k != DRAWN]
    assert any(np.isclose(slice_positions()[0][2], heights))


def test_the_plane_of_drawing_is_chosen(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    click(ui.advancedSection)
    choose(ui.planeCombo, "coronal")
    wait_until(lambda: len(story.session.drawn) > 1)
    assert ui.drawnTable.item(0, 1).text() == "coronal"
    choose(ui.planeCombo, "auto")
    wait_until(lambda: len(story.session.drawn) == 1)


def test_a_drawing_stays_on_its_volume(story: Story) -> None:
    """Another volume to segment does not turn the drawing into one on that volume."""
    ui = story.ui
    volume, drawing = story.load_and_draw()
    far = matrix_of()
    far[:3, 3] += 4000
    story.load("far away", matrix=far)
    choose(ui.drawingSelector, drawing.GetName())
    assert ui.supportSelector.currentNode() is volume and story.session.support_node is volume
    choose(ui.supportSelector, "far away")  # the user insists
    wait_until(lambda: not story.session.drawn)
    assert not ui.segmentButton.enabled and "outside of the volume far away" in ui.drawHint.text


def test_the_user_says_on_which_volume_the_drawing_counts(story: Story) -> None:
    ui = story.ui
    _volume, drawing = story.load_and_draw()
    far = matrix_of()
    far[:3, 3] += 4000
    story.load("far away", matrix=far)
    assert ui.supportSelector.currentNode().GetName() == "MR"  # where the drawing was made
    choose(ui.supportSelector, "(the same volume)")
    wait_until(lambda: not story.session.drawn)
    assert story.session.parameters.supportVolume is None and story.session.parameters.drawing is drawing
    assert not ui.segmentButton.enabled
    assert "lies outside of the volume far away" in ui.drawHint.text


def test_the_warm_process_is_used_again_until_it_is_freed(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    story.segment()
    pid = story.worker.pid
    story.segment()
    assert story.worker.pid == pid
    click(ui.advancedSection)
    click(ui.freeMemoryButton)
    assert story.worker.pid is None and "starts again" in story.message
    wait_until(lambda: not ui.deviceLabel.isVisible())
    story.segment()
    assert story.worker.pid != pid
