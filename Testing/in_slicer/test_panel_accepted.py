"""A result that the user has accepted goes with its drawing, into the library and into a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnetseg.volume import SupportSet, Volume, write_volume
from support.panel_bed import choose, click, type_text, wait_until
from support.panel_stories import DRAWN, SPACING, Story, matrix_of, patient, story, write_segment

__all__ = ["story"]

PATIENCE = 120.0  # seconds: the engine imports torch where a result comes with a drawing
VOXEL_ML = float(np.prod(SPACING)) / 1000


def save(story: Story, name: str = "liver") -> None:
    """Save the drawing, or each of several."""
    if story.ui.librarySection.collapsed:
        click(story.ui.librarySection)
    type_text(story.ui.supportNameEdit, name)
    click(story.ui.saveSupportButton)
    wait_until(lambda: story.ui.libraryMessage.text != "Saving…", PATIENCE)
    assert story.ui.libraryMessage.text.startswith("Saved: "), story.ui.libraryMessage.text


def patient_in(story: Story, name: str = "liver") -> Any:
    """What an entry of the library holds; None where it holds the drawn slices only."""
    return SupportSet.load(story.folder / "supports" / f"{name}.npz").patient


def saved(story: Story) -> Any:
    save(story)
    return patient_in(story)


def accepted(story: Story) -> Any:
    """Segment and accept; the node of the result."""
    node = story.segment()
    click(story.ui.acceptButton)
    assert story.preview is None
    return node


def correct(story: Story, node: Any, mask: np.ndarray, number: int = 0) -> None:
    """Edit an accepted result, as with Slicer's own Segment Editor."""
    segment_id = node.GetSegmentation().GetNthSegmentID(number)
    write_segment(node, segment_id, mask, story.session.support_node)


def corrected(story: Story, name: str = "liver") -> np.ndarray:
    """The whole structure but for two slices, which the engine would never have left out."""
    mask = story.masks[name].copy()
    mask[[4, 5]] = False
    return mask


def planes_with(held: Any) -> list[bool]:
    return list(held.structure.any(axis=(1, 2)))


def test_the_library_holds_an_accepted_and_corrected_result(story: Story) -> None:
    story.load_and_draw()
    node = accepted(story)
    found = story.found(node)
    held = saved(story)
    assert held.volume_ml == pytest.approx(found.sum() * VOXEL_ML)
    mask = corrected(story)
    correct(story, node, mask)
    story.panel.answers.append(True)  # replace it
    held = saved(story)
    assert held.volume_ml == pytest.approx(mask.sum() * VOXEL_ML)
    assert planes_with(held) == list(mask.any(axis=(1, 2)))
    larger = mask | np.roll(mask, 3, axis=2)
    correct(story, node, larger)
    story.panel.answers.append(True)
    larger[DRAWN] = mask[DRAWN]  # what is drawn goes before what was accepted
    assert saved(story).volume_ml == pytest.approx(larger.sum() * VOXEL_ML)


def test_of_two_structures_each_has_its_own(story: Story) -> None:
    story.load_and_draw("liver", "spleen")
    node = accepted(story)
    correct(story, node, corrected(story, "spleen"), number=1)
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(0))
    save(story, "abdomen")
    assert patient_in(story, "abdomen liver") is None
    spleen = patient_in(story, "abdomen spleen")
    assert spleen.volume_ml == pytest.approx(corrected(story, "spleen").sum() * VOXEL_ML)


def test_a_preview_is_no_accepted_result(story: Story) -> None:
    story.load_and_draw()
    story.segment()
    assert saved(story) is None
    click(story.ui.acceptButton)
    story.panel.answers.append(True)
    assert saved(story) is not None
    click(story.ui.undoButton)  # to be reviewed again
    story.panel.answers.append(True)
    assert saved(story) is None


def test_a_result_of_another_volume_is_none_of_the_drawing(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    story.load("another patient", shift=3, seed=8)
    assert story.session.support_node is volume
    accepted(story)
    assert saved(story) is None


def test_a_run_in_another_patient_takes_the_accepted_result(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    node = accepted(story)
    found, mask = story.found(node), corrected(story)
    story.load("another patient", shift=3, seed=8)
    assert story.session.support_node is volume
    story.segment()
    write_segment(node, node.GetSegmentation().GetNthSegmentID(0), mask, volume)
    story.segment()
    choose(story.ui.querySelector, volume.GetName())
    story.segment()
    before, first, second, own = [one["result"] for one in story.seen]
    assert before is None and first == found.sum() and second == mask.sum() and own is None


def test_a_batch_takes_the_accepted_result_and_runs_again_after_a_correction(
    story: Story, tmp_path: Path
) -> None:
    folder, ui = tmp_path / "studies", story.ui
    folder.mkdir()
    write_volume(folder / "anna.nii.gz", Volume(patient(shift=1, seed=10)[0], matrix_of(), "anna"))
    story.load_and_draw()
    node = accepted(story)
    click(ui.batchSection)
    story.panel.answers.append(str(folder))
    click(ui.batchFolderButton)

    def run() -> tuple[str, list[bool]]:
        wait_until(lambda: ui.batchTable.rowCount == 1)
        click(ui.batchButton)
        wait_until(lambda: story.session.batch is None, PATIENCE)
        report = json.loads((folder / "anna.seg.json").read_text(encoding="utf-8"))
        return ui.batchTable.item(0, 1).text(), report["recipe"]["whole"]

    assert run() == ("done", [True])
    assert run() == ("finished earlier", [True])
    correct(story, node, corrected(story))
    assert run() == ("done", [True])
    assert run() == ("finished earlier", [True])
