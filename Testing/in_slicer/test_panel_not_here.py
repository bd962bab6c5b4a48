"""Slices on which the structure is not: marked, listed, taken back, saved, and obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from PySide6.QtTest import QTest

from support.panel_bed import click, turn_events, wait_until
from support.panel_stories import DRAWN, CanonicalGrid, Story, click_bar, jump_to, matrix_of, story

__all__ = ["story"]


def show(story: Story, k: int, volume: Any = None) -> None:
    """The user scrolls to a slice of the volume, which is the drawn plane's."""
    jump_to(CanonicalGrid.of(volume or story.session.support_node).center("axial", k))


def mark(story: Story, k: int) -> None:
    """Scroll to a slice and click the button."""
    show(story, k)
    before = len(story.session.not_here)
    click(story.ui.notHereButton)
    wait_until(lambda: len(story.session.not_here) != before)


def rows(story: Story) -> list[tuple[str, str]]:
    """Position and last column of the table of drawn slices."""
    table = story.ui.drawnTable
    return [(table.item(row, 2).text(), table.item(row, 3).text()) for row in range(table.rowCount)]


def test_the_button_comes_with_the_drawing(story: Story) -> None:
    story.load()
    assert not story.ui.notHereButton.isVisible()
    story.draw()
    assert story.ui.notHereButton.isVisible() and story.ui.notHereButton.text == "Not on this slice (N)"


def test_a_slice_is_marked_and_the_result_ends_there(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    click(ui.updateCheckBox)
    story.segment()
    assert story.found()[9:].any()
    mark(story, 9)
    assert rows(story) == [("S 6.0 mm", "21.1 cm²"), ("S 24.0 mm", "not here")]
    assert ui.undoButton.text == "Undo the mark"
    story.segment()
    assert story.seen[-1]["empty"] == [9] and story.seen[0]["empty"] == []
    assert story.found()[8].any() and not story.found()[9:].any()
    mark(story, 9)  # again: taken back
    assert rows(story) == [("S 6.0 mm", "21.1 cm²")]
    click(ui.undoButton)
    wait_until(lambda: story.session.not_here)


def test_by_the_key(story: Story) -> None:
    story.load_and_draw()
    show(story, 9)
    story.panel.frame.activateWindow()
    turn_events()
    QTest.keyClick(story.panel.frame.window(), qt.Qt.Key_N)
    wait_until(lambda: story.session.not_here)
    assert story.session.not_here[0].index == 9
    story.panel.frame.exit()
    QTest.keyClick(story.panel.frame.window(), qt.Qt.Key_N)  # the key is free in other modules
    turn_events()
    story.panel.frame.enter()
    assert len(story.session.not_here) == 1


def test_the_result_follows_a_mark(story: Story) -> None:
    story.load_and_draw()
    story.segment()
    mark(story, 9)
    wait_until(lambda: len(story.seen) == 2 and story.session.run is None)
    assert not story.found()[9:].any() and story.report.slices[9].drawn


def test_drawing_on_the_slice_takes_the_mark_back(story: Story) -> None:
    _volume, drawing = story.load_and_draw()
    mark(story, 9)
    story.stroke(9)
    wait_until(lambda: len(story.session.drawn) == 2)
    assert story.session.not_here == []
    story.stroke(9, erase=True)
    wait_until(lambda: len(story.session.drawn) == 1)
    assert story.session.not_here == []  # gone for good
    assert drawing.GetSegmentation().GetNthSegment(0).GetName() == "liver"


def test_what_is_drawn_is_not_marked(story: Story) -> None:
    story.load_and_draw()
    show(story, DRAWN)
    click(story.ui.notHereButton)
    assert story.message.startswith("The structure is drawn on this slice.") and story.session.not_here == []


def test_a_view_beside_the_volume(story: Story) -> None:
    story.load_and_draw()
    jump_to((0.0, 0.0, 4000.0))
    click(story.ui.notHereButton)
    assert story.message.startswith("No slice view shows") and story.session.not_here == []


def test_each_structure_has_its_own_marks(story: Story) -> None:
    ui = story.ui
    _volume, drawing = story.load_and_draw("liver", "spleen")
    ids = drawing.GetSegmentation().GetSegmentIDs()
    ui.segmentEditor.setCurrentSegmentID(ids[1])
    mark(story, 8)
    assert [part.structure for part in story.session.not_here] == ["spleen"]
    click(ui.updateCheckBox)
    story.segment()
    assert [one["empty"] for one in story.seen] == [[], [8]]
    added = drawing.GetSegmentation().AddEmptySegment("", "kidney")
    ui.segmentEditor.setCurrentSegmentID(added)
    click(ui.notHereButton)
    assert "no drawn slice yet" in story.message


def test_a_mark_is_shown_and_removed_in_the_table(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    mark(story, 9)
    show(story, 0)
    ui.drawnTable.selectRow(1)
    click(ui.goToSliceButton)
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert np.isclose(node.GetSliceToRAS().GetElement(2, 3), 24.0)
    click(ui.removeSliceButton)
    wait_until(lambda: not story.session.not_here)
    click(ui.undoButton)
    wait_until(lambda: story.session.not_here)
    ui.drawnTable.selectRow(1)
    click(ui.addSliceButton)
    assert ui.segmentEditor.activeEffect().name == "Paint"


def test_a_slice_that_was_found_wrongly(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    story.segment()
    assert not ui.notThisSliceButton.enabled and "bar of the chart" in ui.notThisSliceButton.toolTip
    click_bar(story, 9)
    click(ui.notThisSliceButton)
    story.end()
    assert story.message == "" and not story.found()[9:].any() and len(story.seen) == 2
    wait_until(lambda: story.session.not_here)
    assert rows(story)[1][1] == "not here" and story.report.slices[9].drawn
    click_bar(story, DRAWN)
    click(ui.notThisSliceButton)
    assert "drawn on this slice" in story.message


def test_the_slice_that_is_not_there_is_corrected_after_all(story: Story) -> None:
    story.load_and_draw()
    story.segment()
    click_bar(story, 9)
    click(story.ui.notThisSliceButton)
    story.end()
    click_bar(story, 9)
    click(story.ui.correctSliceButton)
    story.stroke(9)
    wait_until(lambda: len(story.session.drawn) == 2 and not story.session.not_here)


@pytest.mark.parametrize("left_handed", [False, True])
def test_marks_are_saved_with_the_scene(story: Story, tmp_path: Path, left_handed: bool) -> None:
    story.load_and_draw(matrix=matrix_of(left_handed=left_handed))
    mark(story, 9)
    place = story.session.not_here[0].center
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path, None)
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(path, True)
    wait_until(lambda: story.session.not_here)
    assert np.allclose(story.session.not_here[0].center, place, atol=0.01)
    story.segment()
    assert story.seen[-1]["empty"] == [9]


def test_an_oblique_volume_is_marked_on_its_own_slices(story: Story) -> None:
    volume = story.load(matrix=matrix_of(left_handed=True, oblique=0.3))
    click(story.ui.alignViewsButton)
    story.draw()
    mark(story, 9)
    assert [part.index for part in story.session.not_here] == [9]
    assert story.session.support_node is volume
