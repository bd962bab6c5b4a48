"""The support library: what was drawn on one patient is kept and used for others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qt
from PySide6.QtTest import QTest

from support.panel_bed import click, click_item, turn_events, type_text, wait_until
from support.panel_stories import Story, one_slice, story, write_segment

__all__ = ["story"]


def open_section(story: Story) -> None:
    click(story.ui.librarySection)


def entries(story: Story) -> list[str]:
    widget = story.ui.libraryList
    return [widget.item(row).text() for row in range(widget.count)] if widget.isVisible() else []


def check(story: Story, row: int, checked: bool = True) -> None:
    """Tick an entry: with the keyboard, as its box is the style's."""
    widget = story.ui.libraryList
    click_item(widget, row)
    if (widget.item(row).checkState() == qt.Qt.Checked) != checked:
        QTest.keyClick(widget, qt.Qt.Key_Space)
    turn_events()
    assert (widget.item(row).checkState() == qt.Qt.Checked) == checked


def save(story: Story, name: str) -> None:
    type_text(story.ui.supportNameEdit, name)
    click(story.ui.saveSupportButton)
    wait_until(lambda: story.ui.libraryMessage.text != "Saving…")  # the worker joins drawing and image


def test_a_drawing_is_saved_and_used_for_another_patient(story: Story) -> None:
    ui = story.ui
    open_section(story)
    assert entries(story) == [] and not ui.saveSupportButton.enabled
    story.load_and_draw()
    assert not ui.saveSupportButton.enabled  # it has no name yet
    save(story, "liver MR ü")
    assert ui.libraryMessage.text == "Saved: liver MR ü." and ui.libraryMessage.isVisible()
    assert entries(story) == ["liver MR ü: liver, axial, 1 slice"]
    assert "drawn slices only" in ui.libraryList.item(0).toolTip()  # this worker's engine is that of tests
    story.load("another patient", shift=3, seed=8)
    assert not ui.segmentButton.enabled or story.session.drawn
    check(story, 0)
    assert ui.useLibraryCheckBox.checked and ui.segmentButton.enabled
    story.segment()
    assert story.dice() > 0.8 and story.preview.GetName() == "another patient to review"
    assert not any(part.drawn for part in story.report.slices)
    check(story, 0, checked=False)
    assert not ui.useLibraryCheckBox.checked and story.session.parameters.supportSets == []


def test_a_name_that_is_taken_is_asked_for(story: Story) -> None:
    open_section(story)
    _volume, drawing = story.load_and_draw()
    save(story, "liver")
    path = story.folder / "supports" / "liver.npz"
    before = path.read_bytes()
    segment_id = drawing.GetSegmentation().GetNthSegmentID(0)
    write_segment(drawing, segment_id, one_slice(story.masks["liver"], 4), story.session.support_node)
    turn_events()
    story.panel.answers.append(False)
    save(story, "liver")
    assert "Replace “liver” in the library?" in story.panel.messages[-1].text
    assert path.read_bytes() == before
    save(story, "Liver")  # some file systems do not tell them apart
    assert "Replace" in story.panel.messages[-1].text and len(story.panel.messages) == 2
    assert path.read_bytes() != before and len(entries(story)) == 1


def test_two_structures_are_two_entries(story: Story) -> None:
    open_section(story)
    story.load_and_draw("liver", "spleen")
    save(story, "abdomen")
    assert [text.split(":")[0] for text in entries(story)] == ["abdomen liver", "abdomen spleen"]
    story.load("another patient", seed=3)
    for row in range(2):
        check(story, row)
    story.segment()
    assert story.dice() > 0.8 and story.dice("spleen", number=1) > 0.7


def test_the_list_keeps_its_selection(story: Story) -> None:
    ui = story.ui
    open_section(story)
    story.load_and_draw()
    save(story, "liver")
    click_item(ui.libraryList, 0)
    assert ui.removeSupportButton.enabled
    save(story, "another")  # stands before it in the list
    assert ui.libraryList.currentItem().text().startswith("liver:") and ui.removeSupportButton.enabled
    story.panel.frame.exit()
    story.panel.frame.enter()
    assert ui.libraryList.currentItem().text().startswith("liver:")
    click(ui.removeSupportButton)
    assert len(entries(story)) == 1 and not ui.removeSupportButton.enabled


def test_export_and_import(story: Story, tmp_path: Path) -> None:
    ui = story.ui
    open_section(story)
    story.load_and_draw()
    assert not ui.exportSupportButton.enabled and not ui.removeSupportButton.enabled
    save(story, "liver")
    file = tmp_path / "given to others.npz"
    click_item(ui.libraryList, 0)
    story.panel.answers.append("")  # the dialog was closed
    click(ui.exportSupportButton)
    assert not file.exists() and "Exported" not in ui.libraryMessage.text
    click_item(ui.libraryList, 0)
    story.panel.answers.append(str(file))
    click(ui.exportSupportButton)
    assert file.is_file() and ui.libraryMessage.text == f"Exported to {file}."
    story.panel.answers.append(str(file))
    click(ui.importSupportButton)
    assert ui.libraryMessage.text == "Imported: given to others."
    assert [text.split(":")[0] for text in entries(story)] == ["given to others", "liver"]
    story.panel.answers.append(str(file))
    click(ui.importSupportButton)
    assert "already" in story.panel.messages[-1].text and len(entries(story)) == 2  # asked first
    assert ui.libraryMessage.text == "Imported: given to others."
    (tmp_path / "text.npz").write_text("no support set")
    story.panel.answers.append(str(tmp_path / "text.npz"))
    click(ui.importSupportButton)
    assert "text.npz" in ui.libraryMessage.text and len(entries(story)) == 2


def test_delete(story: Story) -> None:
    ui = story.ui
    open_section(story)
    story.load_and_draw()
    save(story, "liver")
    check(story, 0)
    assert story.session.parameters.supportSets == ["liver"]
    click_item(ui.libraryList, 0)
    story.panel.answers.append(False)
    click(ui.removeSupportButton)
    assert len(entries(story)) == 1
    click_item(ui.libraryList, 0)
    click(ui.removeSupportButton)
    assert entries(story) == [] and ui.libraryMessage.text == "Deleted: liver."
    assert list((story.folder / "supports").iterdir()) == []
    assert story.session.parameters.supportSets == [] and story.ui.segmentButton.enabled


def test_an_entry_that_is_gone_or_damaged_is_one_sentence(story: Story) -> None:
    ui = story.ui
    open_section(story)
    story.load_and_draw()
    save(story, "liver")
    check(story, 0)
    path = story.folder / "supports" / "liver.npz"
    content = path.read_bytes()
    path.unlink()  # by another Slicer
    click(ui.segmentButton)
    assert story.session.run is None and "no example named 'liver'" in story.message
    path.write_bytes(content[: len(content) // 2])
    click(ui.segmentButton)
    assert story.session.run is None and "liver.npz" in story.message
    story.panel.frame.exit()
    story.panel.frame.enter()
    assert entries(story) == ["liver (cannot be read)"]
    path.write_bytes(content)
    story.panel.frame.exit()
    story.panel.frame.enter()
    check(story, 0)
    story.segment()
    assert np.any(story.found())


def test_a_damaged_file_in_the_folder_can_be_deleted(story: Story) -> None:
    folder = story.folder / "supports"
    folder.mkdir()
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    story.panel.frame.exit()
    story.panel.frame.enter()
    open_section(story)
    assert entries(story) == ["broken (cannot be read)"]
    item = story.ui.libraryList.item(0)
    assert item.toolTip() and item.checkState() != qt.Qt.Checked
    click_item(story.ui.libraryList, 0)
    click(story.ui.removeSupportButton)
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_sentence(story: Story) -> None:
    (story.folder / "supports").write_text("a file")
    story.panel.frame.exit()
    story.panel.frame.enter()
    open_section(story)
    assert entries(story) == ["supports (cannot be read)"]
    story.load_and_draw()
    save(story, "liver")
    assert "supports" in story.ui.libraryMessage.text and story.ui.libraryMessage.isVisible()


def test_nothing_is_checked(story: Story) -> None:
    ui = story.ui
    open_section(story)
    story.load_and_draw()
    click(ui.useLibraryCheckBox)
    assert not ui.segmentButton.enabled and "Support library" in ui.hintLabel.text
    click(ui.useLibraryCheckBox)
    wait_until(lambda: ui.segmentButton.enabled)
