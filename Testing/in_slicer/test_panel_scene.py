"""Nodes that go while a segmentation runs, scenes that close and open, and results of odd volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer

from support.panel_bed import add_drawing, add_volume, choose, click, turn_events, wait_until
from support.panel_stories import (
    SHAPE,
    Story,
    click_bar,
    is_preview,
    matrix_of,
    one_slice,
    patient,
    segment_names,
    story,
    unchanged_scene,
)
from support.scene_bed import linear, put_under, warped

__all__ = ["story"]


def remove(node: object) -> None:
    slicer.mrmlScene.RemoveNode(node)
    turn_events()


def assert_works(story: Story) -> None:
    """From nothing to a result in the scene as it is now."""
    story.order("")
    story.load_and_draw(name="another")
    story.segment()
    assert story.dice() > 0.8 and story.message == ""


# Nodes removed


def test_the_volume_is_removed_during_the_run(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    story.start_and_hold()
    segmentations = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    remove(volume)
    story.end()
    assert story.message.startswith("'MR' was removed from the scene.")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == segmentations
    assert story.preview is None and not story.ui.segmentButton.enabled
    assert story.ui.hintLabel.text == "Choose the volume to segment."
    assert_works(story)


def test_no_neighbour_takes_the_place_of_a_removed_node(story: Story) -> None:
    """Neither the accepted result that of the drawing, nor another patient that of the volume."""
    ui = story.ui
    volume, drawing = story.load_and_draw()
    add_volume(patient()[0], "another patient", matrix_of())
    story.segment()
    click(ui.acceptButton)
    remove(drawing)
    assert story.session.parameters.drawing is None and ui.drawingSelector.currentNode() is None
    assert ui.segmentEditor.segmentationNode() is None
    assert story.session.drawn == [] and "New drawing" in ui.drawHint.text
    remove(volume)
    assert story.session.parameters.queryVolume is None and ui.querySelector.currentNode() is None
    assert ui.hintLabel.text == "Choose the volume to segment."


@pytest.mark.parametrize("name", ["queryVolume", "supportVolume", "drawing", "preview", "output"])
def test_every_choice_of_a_node_ends_with_it(story: Story, name: str) -> None:
    volume, _drawing = story.load_and_draw()
    chosen = story.session.parameters
    nodes = [slicer.mrmlScene.CopyNode(volume if name.endswith("Volume") else _drawing) for _ in range(3)]
    setattr(chosen, name, nodes[1])
    turn_events()
    assert getattr(chosen, name) is nodes[1]
    remove(nodes[1])
    assert getattr(chosen, name) is None
    others = set(nodes) - {nodes[1]}
    assert not any(getattr(chosen, one) in others for one in ("queryVolume", "drawing", "output"))


def test_a_drawing_whose_volume_was_removed_is_not_taken_for_one_on_another(story: Story) -> None:
    volume, drawing = story.load_and_draw(name="first")
    story.load("second", shift=3)
    assert story.session.support_node is volume and story.ui.segmentButton.enabled
    remove(volume)
    assert story.session.support_node.GetName() == "second" and story.session.drawn == []
    assert not story.ui.segmentButton.enabled and "New drawing" in story.ui.drawHint.text
    assert slicer.mrmlScene.IsNodePresent(drawing)  # for the user, who may choose it again


def test_the_drawing_is_removed_during_the_run(story: Story) -> None:
    _volume, drawing = story.load_and_draw()
    story.start_and_hold()
    remove(drawing)
    story.order("")
    story.end()
    assert story.dice() > 0.8 and story.message == ""  # what was drawn was known to the run
    assert not story.ui.drawnTable.isVisible() and not story.ui.segmentButton.enabled
    assert "New drawing" in story.ui.drawHint.text
    story.draw()
    story.segment()


def test_the_volume_that_was_drawn_on_is_removed_during_the_run(story: Story) -> None:
    story.load("first", shift=3)
    first = story.session.parameters.queryVolume
    story.load("second")
    choose(story.ui.supportSelector, "first")
    story.masks = patient(shift=3)[1]
    story.draw(volume=first)
    story.masks = patient()[1]
    story.start_and_hold()
    remove(first)
    story.order("")
    story.end()
    assert story.dice() > 0.8
    assert story.session.support_node is story.session.parameters.queryVolume
    assert_works(story)


def test_the_result_under_review_is_removed_during_the_next_run(story: Story) -> None:
    story.load_and_draw()
    first = story.segment()
    story.start_and_hold()
    remove(first)
    assert not story.ui.reviewBox.isVisible()
    story.order("")
    story.end()
    assert story.dice() > 0.8 and story.ui.reviewBox.isVisible()
    click(story.ui.undoButton)
    assert story.preview is None


def test_undo_after_the_drawing_was_removed_is_one_sentence(story: Story) -> None:
    _volume, drawing = story.load_and_draw()
    story.ui.drawnTable.selectRow(0)
    click(story.ui.removeSliceButton)
    remove(drawing)
    with unchanged_scene():
        click(story.ui.undoButton)
    assert story.message and not story.ui.undoButton.enabled
    story.draw()
    story.segment()


def test_undo_after_the_accepted_result_was_removed(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    existing = add_drawing(volume, {}, "atlas")
    story.segment()
    choose(story.ui.outputSelector, "atlas")
    click(story.ui.acceptButton)
    remove(existing)
    click(story.ui.undoButton)
    assert is_preview(story.preview) and segment_names(story.preview) == ["liver"]


def test_accept_after_the_volume_was_removed(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    preview = story.segment()
    remove(volume)
    assert story.preview is preview and story.ui.reviewBox.isVisible()
    click(story.ui.nextUncertainButton) if story.ui.nextUncertainButton.enabled else None
    click(story.ui.acceptButton)
    assert not is_preview(preview) and slicer.mrmlScene.IsNodePresent(preview)


def test_a_result_that_the_user_draws_in_is_kept_by_the_next_run(story: Story) -> None:
    story.load_and_draw()
    first = story.segment()
    choose(story.ui.drawingSelector, first.GetName())
    wait_until(lambda: len(story.session.drawn) > 1)
    story.segment()
    assert slicer.mrmlScene.IsNodePresent(first) and story.preview is not first


def test_a_deleted_segment_of_the_result_is_noticed(story: Story) -> None:
    ui = story.ui
    story.load_and_draw("liver", "spleen")
    preview = story.segment()
    assert ui.structureCombo.isVisible()
    segmentation = preview.GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetNthSegmentID(0))
    turn_events()
    assert not ui.structureCombo.isVisible() and story.report.structure == "spleen"
    segmentation.RemoveSegment(segmentation.GetNthSegmentID(0))
    turn_events()
    assert not ui.chartLabel.isVisible() and not ui.nextUncertainButton.enabled
    click(ui.discardButton)
    assert story.preview is None


# Scenes


def test_the_scene_is_closed_during_a_run(story: Story) -> None:
    story.load_and_draw()
    story.start_and_hold()
    slicer.mrmlScene.Clear(0)
    story.end()
    assert story.message.startswith("The scene was closed.") and story.preview is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not story.ui.segmentButton.enabled and not story.ui.undoButton.enabled
    assert_works(story)


def test_the_scene_is_closed_while_nothing_runs(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    story.segment()
    slicer.mrmlScene.Clear(0)
    turn_events()
    assert not ui.reviewBox.isVisible() and not ui.undoButton.enabled and not ui.drawnTable.isVisible()
    assert ui.hintLabel.text == "Choose the volume to segment." and ui.querySelector.currentNode() is None
    assert_works(story)


def test_the_scene_is_closed_while_another_module_is_shown(story: Story) -> None:
    story.load_and_draw()
    story.start_and_hold()
    story.panel.frame.exit()
    assert not story.ui.segmentEditor.activeEffect()
    slicer.mrmlScene.Clear(0)
    story.end()
    story.panel.frame.enter()
    assert_works(story)


@pytest.mark.parametrize("closed", [True, False])
def test_a_saved_scene_is_opened_again(story: Story, tmp_path: Path, closed: bool) -> None:
    ui = story.ui
    story.load_and_draw()
    story.segment()
    chosen = story.session.parameters
    click(ui.advancedSection)
    choose(ui.planeCombo, "axial")
    choose(ui.precisionCombo, "fp32")
    choose(ui.methodCombo, "slice by slice, as in the paper")
    choose(ui.refinementCombo, "in one step")
    ui.fineSpinBox.setValue(30)
    click(ui.cleanUpCheckBox)
    click(ui.calibrateCheckBox)
    ui.uncertainSpinBox.setValue(90)
    ui.opacitySlider.setValue(70)
    chosen.batchOutput = "/somewhere else"
    voxels, text, name = story.found(), ui.sliceLabel.text, story.preview.GetName()
    volume = ui.volumeValue.text
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path, None)
    if closed:
        slicer.mrmlScene.Clear(0)
        turn_events()
        assert not ui.reviewBox.isVisible()
    else:
        click(ui.discardButton)  # the scene that is open is another one
    assert slicer.mrmlScene.ReadFromMRB(path, True)
    wait_until(lambda: len(story.session.drawn) == 1)
    chosen = story.session.parameters
    assert chosen.queryVolume.GetName() == "MR" and chosen.drawing.GetName() == "MR drawing"
    assert (chosen.plane, chosen.precision, chosen.cleanUp) == ("axial", "fp32", False)
    assert (chosen.uncertainBelow, chosen.previewOpacity, chosen.batchOutput) == (90, 70, "/somewhere else")
    assert ui.querySelector.currentNode().GetName() == "MR" and ui.planeCombo.currentText == "axial"
    assert ui.opacitySlider.value == 70 and not (ui.cleanUpCheckBox.checked or ui.calibrateCheckBox.checked)
    assert ui.methodCombo.currentText.startswith("slice by slice")
    assert story.session.options() == {
        "method": "q-net",
        "precision": "fp32",
        "clean_up": False,
        "calibrate": False,
        "refinement": {"mode": "closed_form", "steps": 1},
        "alpha": 0.3,
    }
    assert is_preview(story.preview) and story.preview.GetName() == name
    assert np.array_equal(story.found(), voxels)
    assert (ui.sliceLabel.text, ui.volumeValue.text) == (text, volume) and "slices to check" in text
    click(ui.nextUncertainButton)
    click(ui.useSliceButton)
    story.end()
    assert story.message == "" and sum(part.drawn for part in story.report.slices) == 2


# More than one


def test_two_structures(story: Story) -> None:
    ui = story.ui
    volume, drawing = story.load_and_draw("liver", "spleen")
    assert [ui.drawnTable.item(row, 0).text() for row in range(2)] == ["liver", "spleen"]
    story.start_and_hold()
    assert "liver (1 of 2): slice 3" in ui.progressLabel.text
    story.order("")
    story.end()
    assert segment_names(story.preview) == ["liver", "spleen"]
    assert story.dice() > 0.8 and story.dice("spleen", number=1) > 0.8
    assert not (story.found() & story.found(number=1)).any()
    colors = [
        [node.GetSegmentation().GetNthSegment(number).GetColor() for number in range(2)]
        for node in (drawing, story.preview)
    ]
    assert np.allclose(colors[0], colors[1])
    voxel_ml = float(np.prod(volume.GetSpacing())) / 1000
    for number, name in enumerate(("liver", "spleen")):
        choose(ui.structureCombo, name)
        assert story.report.structure == name
        assert ui.volumeValue.text == f"{story.found(number=number).sum() * voxel_ml:.1f} ml"
    click(ui.acceptButton)
    assert not ui.structureCombo.isVisible()


def test_another_patient(story: Story) -> None:
    ui = story.ui
    story.load("first", shift=4)
    first_masks, first = story.masks, story.session.parameters.queryVolume
    story.load("second", seed=5)
    second_masks = story.masks
    choose(ui.supportSelector, "first")
    assert "first" in ui.alignViewsButton.text
    story.masks = first_masks
    story.draw(volume=first)
    story.masks = second_masks
    story.segment()
    assert story.dice() > 0.8 and story.preview.GetName() == "second to review"
    drawing = story.session.parameters.drawing
    click_bar(story, next(part.index for part in story.report.slices if part.occupied))
    click(ui.correctSliceButton)  # the first patient's drawing cannot take it: a new one on the second begins
    own = story.session.parameters.drawing
    assert own is not drawing and story.session.support_node.GetName() == "second"
    wait_until(lambda: len(story.session.drawn) == 1)
    assert segment_names(own) == ["liver"]


# Odd volumes


@pytest.mark.parametrize("where", ["left-handed", "oblique", "linear", "nonlinear"])
def test_the_result_lies_where_the_volume_lies(story: Story, where: str) -> None:
    matrix = matrix_of(left_handed=where != "oblique", oblique=0.3 if where != "left-handed" else 0.0)
    volume = story.load(matrix=matrix)
    parent = {"linear": linear, "nonlinear": warped}.get(where, lambda: None)()
    put_under(volume, parent)
    turn_events()
    click(story.ui.alignViewsButton)
    drawing = story.draw()
    assert drawing.GetParentTransformNode() is parent
    assert np.array_equal(story.found(drawing), one_slice(story.masks["liver"]) > 0)
    story.segment()
    assert story.preview.GetParentTransformNode() is parent and story.dice() > 0.8
    assert story.message == ""
    for part in story.report.slices:  # the drawn slice is where it was drawn, whatever the axes
        if part.drawn:
            assert part.score >= 0 and story.report.plane == "axial"
    click(story.ui.acceptButton)
    assert story.message.startswith("Kept")


def test_the_transform_changes_no_voxel(story: Story) -> None:
    volume, drawing = story.load_and_draw(matrix=matrix_of(oblique=0.2))
    story.segment()
    at_rest = story.found()
    parent = linear()
    put_under(volume, parent)
    put_under(drawing, parent)
    wait_until(lambda: len(story.session.drawn) == 1)
    story.segment()
    assert np.array_equal(story.found(), at_rest)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros(SHAPE, np.float32), "constant"),
        (np.full(SHAPE, np.nan, np.float32), "NaN"),
    ],
)
def test_a_volume_that_cannot_be_segmented(story: Story, image: np.ndarray, words: str) -> None:
    story.masks = patient()[1]
    volume = add_volume(image, "odd", matrix_of())
    choose(story.ui.querySelector, "odd")
    story.draw(volume=volume)
    with unchanged_scene():
        click(story.ui.segmentButton)
        wait_until(lambda: story.session.run is None)  # the worker looks at the voxels
    assert words.lower() in story.message.lower()
    assert story.ui.segmentButton.text == "Segment"
    remove(story.session.parameters.drawing)
    assert_works(story)
