"""What fits on a narrow panel, what stays hidden, and what the keyboard reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import qt
from PySide6.QtTest import QTest

from qnetseg.errors import InputError
from support.panel_bed import (
    WIDTH,
    add_volume,
    click,
    needed_width,
    turn_events,
    type_text,
    wait_until,
)
from support.panel_stories import Story, matrix_of, patient, story

__all__ = ["story"]

LONG = "T2 fat-suppressed breath-hold liver of a patient, series 00012"
SECTIONS = ("volumes", "draw", "segment", "review", "library", "batch", "advanced")


def open_all(story: Story) -> None:
    for name in SECTIONS:
        button = getattr(story.ui, f"{name}Section")
        if button.collapsed:
            click(button)
    story.ui.logSection.collapsed = False
    story.session.show_setup.emit()
    turn_events()


def visible_widgets(story: Story) -> list[Any]:
    return [widget for widget in story.panel.frame.findChildren(qt.QWidget) if widget.isVisible()]


def cut_texts(story: Story) -> list[str]:
    """Buttons, check boxes and one-line labels that are narrower than their text."""
    cut = []
    for widget in visible_widgets(story):
        one_line = isinstance(widget, qt.QLabel) and not widget.wordWrap and widget.pixmap.isNull()
        if isinstance(widget, (qt.QPushButton, qt.QCheckBox, qt.QRadioButton)) or one_line:
            needed = widget.fontMetrics().horizontalAdvance(widget.text.replace("&", ""))
            if widget.width < needed:
                cut.append(f"{widget.objectName}: {widget.text}")
    return cut


def empty_boxes(story: Story) -> list[str]:
    """Labels that take room on the panel and say nothing."""
    labels = [widget for widget in visible_widgets(story) if isinstance(widget, qt.QLabel)]
    return [
        label.objectName
        for label in labels
        if not label.text and label.pixmap.isNull() and label.objectName and label.height > 0
    ]


def assert_fits(story: Story) -> None:
    story.panel.frame.resize(WIDTH, story.panel.frame.height)
    turn_events()
    assert needed_width(story.panel.frame) <= WIDTH
    assert cut_texts(story) == []
    assert empty_boxes(story) == []


def empty(story: Story) -> None:
    del story


def drawn(story: Story) -> None:
    story.load_and_draw("liver", "spleen", name=LONG)


def running(story: Story) -> None:
    drawn(story)
    story.start_and_hold()


def review(story: Story) -> None:
    drawn(story)
    story.segment()


def accepted(story: Story) -> None:
    review(story)
    click(story.ui.acceptButton)


def failed(story: Story) -> None:
    drawn(story)
    story.session.report(InputError("A sentence on what went wrong" * 9 + ".", "Another one" * 20 + "."))
    story.panel.widget.panel.setup._say("/a/long/path/without/a/blank" * 8)


def batch(story: Story) -> None:
    drawn(story)
    click(story.ui.batchSection)
    add_volume(patient()[0], LONG + " of the second patient", matrix_of())
    wait_until(lambda: story.ui.batchTable.isVisible())
    click(story.ui.batchButton)
    wait_until(lambda: story.session.batch is None)


def library(story: Story) -> None:
    drawn(story)
    click(story.ui.librarySection)
    type_text(story.ui.supportNameEdit, LONG)
    click(story.ui.saveSupportButton)


STATES = [empty, drawn, running, review, accepted, failed, batch, library]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_nothing_is_cut_on_a_narrow_panel(story: Story, state: Callable[[Story], None]) -> None:
    state(story)
    assert_fits(story)
    open_all(story)
    assert_fits(story)
    story.order("")
    wait_until(lambda: story.session.run is None)


@pytest.mark.parametrize("state", [empty, drawn, review], ids=lambda state: state.__name__)
def test_what_is_hidden_stays_hidden_when_sections_are_closed_and_opened(
    story: Story, state: Callable[[Story], None]
) -> None:
    state(story)
    wait_until(lambda: story.worker.device is not None)  # from now on it is shown
    for name in SECTIONS:
        button, body = getattr(story.ui, f"{name}Section"), getattr(story.ui, f"{name}Body")
        if button.collapsed:
            continue
        before = [widget.objectName for widget in body.findChildren(qt.QWidget) if widget.isVisible()]
        click(button)
        assert not body.isVisible()
        click(button)
        assert before == [widget.objectName for widget in body.findChildren(qt.QWidget) if widget.isVisible()]
        assert before, name


def test_what_changes_in_a_closed_section_is_shown_when_it_is_opened(story: Story) -> None:
    ui = story.ui
    click(ui.reviewSection)
    story.load_and_draw()
    story.segment()
    assert not ui.reviewBox.isVisible()
    click(ui.reviewSection)
    assert ui.reviewBox.isVisible() and not ui.reviewHelp.isVisible() and not ui.structureCombo.isVisible()


def reached_by_tab(story: Story, last: str) -> list[str]:
    """Names of the widgets that Tab reaches, from the first to `last`."""
    story.panel.frame.activateWindow()
    story.ui.querySelector.comboBox().setFocus()
    turn_events()
    names: list[str] = []
    while last not in names:
        widget = qt.QApplication.focusWidget()
        while not widget.objectName or widget.objectName.startswith("qt_"):
            widget = widget.parentWidget()
        names.append(widget.objectName)
        assert len(names) < 120, " ".join(names)
        if widget is story.ui.segmentEditor:  # what Tab does in there is not ours
            story.ui.drawnTable.setFocus()
        else:
            QTest.keyClick(qt.QApplication.focusWidget(), qt.Qt.Key_Tab)
        turn_events(1)
    return names


def test_tab_follows_the_order_of_the_work(story: Story) -> None:
    story.load_and_draw("liver", "spleen")
    story.segment()
    work = [
        "querySelector",
        "supportSelector",
        "alignViewsButton",
        "drawingSelector",
        "newDrawingButton",
        "drawnTable",
        "segmentButton",
        "structureCombo",
        "opacitySlider",
        "nextUncertainButton",
        "show3DCheckBox",
        "outputSelector",
        "acceptButton",
        "discardButton",
        "undoButton",
    ]
    reached = reached_by_tab(story, "undoButton")
    assert [name for name in dict.fromkeys(reached) if name in work] == work


@pytest.mark.parametrize("key", [qt.Qt.Key_Return, qt.Qt.Key_Enter, qt.Qt.Key_Space])
def test_the_segment_button_by_keyboard(story: Story, key: Any) -> None:
    story.load_and_draw()
    story.order("wait")
    story.panel.frame.activateWindow()
    story.ui.segmentButton.setFocus()
    QTest.keyClick(story.ui.segmentButton, key)
    assert story.session.run is not None
    wait_until(lambda: "slice 3 of" in story.ui.progressLabel.text)
    assert story.ui.segmentButton.hasFocus()
    QTest.keyClick(story.ui.segmentButton, key)
    story.end()
    assert story.message == "The segmentation was cancelled."


def test_bars_of_many_slices_can_be_told_apart(story: Story) -> None:
    from QNetSegmentLib.panel.strip_chart import Bar

    chart = story.panel.widget.panel.review._chart
    story.load_and_draw()
    story.segment()
    chart.show([Bar(index, 0.5, "#2f9e6e") for index in range(300)], 150)
    width = story.ui.chartLabel.width
    hit = [chart.index_at(x) for x in range(width)]
    assert hit == sorted(hit) and hit[0] == 0 and hit[-1] == 299
    assert len(np.unique(hit)) >= min(300, width) - 1
