"""Names that look like markup are shown as they are, and every choice can be translated."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import qt
import slicer
from slicer_session import session

from support.panel_bed import Panel, choose, click, type_text, wait_until
from support.panel_stories import Story, story

__all__ = ["story"]

FORM = Path(__file__).resolve().parents[2] / "QNetSegment" / "Resources" / "UI" / "QNetSegment.ui"
NAME = "A&B <b>bold</b>"


def widgets(kind: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.parse(FORM).getroot().iter("widget") if one.get("class") == kind]


def test_no_label_of_the_form_takes_a_name_for_markup() -> None:
    for label in widgets("QLabel"):
        formats = [one.findtext("enum") for one in label.findall("property[@name='textFormat']")]
        assert formats == ["Qt::PlainText"], label.get("name")


def test_no_choice_of_the_form_is_bound_by_its_text() -> None:
    """Slicer would fill such a box with the parameter's raw values, in no language."""
    for combo in widgets("QComboBox"):
        bound = [one for one in combo.findall("property") if one.get("name") == "SlicerParameterName"]
        assert combo.findall("item") == bound == [], combo.get("name")


def test_names_with_markup_are_shown_as_they_are(story: Story) -> None:
    ui = story.ui
    story.load(NAME)
    assert ui.alignViewsButton.text == "Show A&&B <b>bold</b> for drawing"
    story.masks[NAME] = story.masks["liver"]
    story.draw(NAME)
    assert f"After the drawing: {NAME}." in ui.hintLabel.text
    item = ui.drawnTable.item(0, 0)
    assert item.text() == NAME and item.toolTip() == "<p>A&amp;B &lt;b&gt;bold&lt;/b&gt;</p>"
    story.segment()
    assert story.preview.GetName() == f"{NAME} to review" and ui.messageLabel.textFormat == qt.Qt.PlainText
    click(ui.librarySection)
    for _twice in range(2):
        type_text(ui.supportNameEdit, NAME)
        click(ui.saveSupportButton)
        wait_until(lambda: ui.libraryMessage.text == f"Saved: {NAME}.")
    assert "Replace “A&amp;B &lt;b&gt;bold&lt;/b&gt;” in the library?" in story.panel.messages[-1].text
    assert ui.libraryMessage.text == f"Saved: {NAME}."


def test_setup_shows_errors_as_they_are(story: Story) -> None:
    click(story.ui.advancedSection)
    click(story.ui.showSetupButton)
    rows = story.ui.requirementsBox.findChildren(qt.QLabel)
    assert rows and {label.textFormat for label in rows if len(label.text) > 1} == {qt.Qt.PlainText}


def test_choices_are_translated_and_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session().app, "translator", lambda _context, text: text.upper())
    panel = Panel()
    ui, chosen = panel.ui, panel.widget.panel.session.parameters
    click(ui.advancedSection)
    for combo, parameter, text in (
        (ui.planeCombo, "plane", "SAGITTAL"),
        (ui.deviceCombo, "device", "CPU"),
        (ui.precisionCombo, "precision", "BF16"),
        (ui.methodCombo, "method", "SLICE BY SLICE, AS IN THE PAPER"),
    ):
        choose(combo, text)
        assert getattr(chosen, parameter) in (text.lower(), "q-net")
    chosen.plane = "coronal"
    assert ui.planeCombo.currentText == "CORONAL"
    panel.close()
    assert slicer.app.translator is not None
