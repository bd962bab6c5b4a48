"""Many studies from one example: of the scene, or of a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import slicer

from qnetseg.volume import Volume, read_labelmap, read_volume, write_volume
from support.dicom_bed import save
from support.panel_bed import add_volume, click, turn_events, type_text, wait_until
from support.panel_stories import Story, matrix_of, patient, segment_names, story
from support.seg_bed import slices

__all__ = ["story"]


def table(story: Story) -> list[tuple[str, str, str]]:
    """Name, state and detail of every study on screen."""
    shown = story.ui.batchTable
    if not shown.isVisible():
        return []
    rows = range(shown.rowCount)
    return [tuple(shown.item(row, column).text() for column in range(3)) for row in rows]  # type: ignore[misc]


def states(story: Story) -> list[str]:
    return [state for _name, state, _detail in table(story)]


def run(story: Story) -> None:
    """Start the batch and wait for its end."""
    click(story.ui.batchButton)
    wait_until(lambda: story.session.batch is None)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder with two patients, a corrupt study between them, and a text."""
    folder = tmp_path / "studies ü"
    folder.mkdir()
    for number, name in enumerate(("anna", "berta")):
        image, _masks = patient(shift=number, seed=10 + number)
        write_volume(folder / f"{name}.nii.gz", Volume(image, matrix_of(left_handed=number == 1), name))
    whole = (folder / "anna.nii.gz").read_bytes()
    (folder / "aurora.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("nothing to segment")
    return folder


def choose_folder(story: Story, folder: Path) -> None:
    click(story.ui.batchSection)
    story.panel.answers.append(str(folder))
    click(story.ui.batchFolderButton)
    assert story.ui.batchFolderRadio.checked and story.ui.batchFolderEdit.text == str(folder)
    wait_until(lambda: table(story))


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".seg." in path.name)


def test_a_folder_with_a_corrupt_study(story: Story, studies: Path) -> None:
    ui = story.ui
    story.load_and_draw()
    choose_folder(story, studies)
    assert [row[:2] for row in table(story)] == [
        ("anna", "waiting"),
        ("aurora", "waiting"),
        ("berta", "waiting"),
    ]
    run(story)
    assert states(story) == ["done", "failed", "done"]
    assert "aurora.nii.gz" in table(story)[1][2] and "liver" in table(story)[0][2]
    assert ui.batchMessage.text == "2 of 3 studies segmented, 1 failed."
    names = ["anna.seg.json", "anna.seg.nrrd", "berta.seg.json", "berta.seg.nrrd"]
    assert results(studies) == names
    for number, name in enumerate(("anna", "berta")):
        found = read_labelmap(studies / f"{name}.seg.nrrd")
        query = read_volume(studies / f"{name}.nii.gz")
        assert [segment.name for segment in found.segments] == ["liver"]
        assert found.array.shape == query.shape and np.allclose(found.ijk_to_ras, query.ijk_to_ras, atol=1e-4)
        organ = query.array > 200
        organ &= query.array < 420
        assert 2 * (organ & (found.array == 1)).sum() / (organ.sum() + (found.array == 1).sum()) > 0.7, number
        report = json.loads((studies / f"{name}.seg.json").read_text(encoding="utf-8"))
        assert report["segments"][0]["structure"] == "liver"
    assert story.preview is None and ui.segmentButton.enabled


def test_what_is_finished_is_kept(story: Story, studies: Path) -> None:
    ui = story.ui
    story.load_and_draw()
    choose_folder(story, studies)
    run(story)
    written = {name: (studies / name).stat().st_mtime_ns for name in results(studies)}
    (studies / "aurora.nii.gz").unlink()
    run(story)
    assert states(story) == ["finished earlier"] * 2
    assert "2 finished earlier" in ui.batchMessage.text
    assert written == {name: (studies / name).stat().st_mtime_ns for name in results(studies)}
    click(ui.batchRedoCheckBox)
    run(story)
    assert states(story) == ["done"] * 2
    assert all(written[name] != (studies / name).stat().st_mtime_ns for name in results(studies))


def test_a_dicom_segmentation_is_saved_where_that_is_asked_for(story: Story, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    image, _masks = patient(seed=3)
    for one, pixels in zip(slices(shape=image.shape), np.rint(image).astype("<i2"), strict=True):
        one.PixelData = pixels.tobytes()
        save(one, tmp_path / "all" / "series" / f"{one.InstanceNumber:02d}.dcm")
    ui = story.ui
    story.load_and_draw()
    choose_folder(story, tmp_path / "all")
    assert ui.batchDicomCheckBox.enabled and not ui.batchDicomCheckBox.checked
    click(ui.batchDicomCheckBox)
    run(story)
    assert states(story) == ["done"] and "series.seg.dcm" in results(tmp_path / "all")


def test_without_the_package_no_dicom_segmentation_is_offered(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("qnetseg.extras.version", lambda name: "0.1")
    ui = request.getfixturevalue("story").ui  # opened only now
    assert not ui.batchDicomCheckBox.enabled and "highdicom" in ui.batchDicomCheckBox.toolTip


def test_cancel_and_go_on(story: Story, studies: Path) -> None:
    ui = story.ui
    story.load_and_draw()
    choose_folder(story, studies)
    (studies / "aurora.nii.gz").unlink()
    story.order("wait")
    click(ui.batchButton)
    assert ui.batchButton.text == "Cancel batch" and not ui.segmentButton.enabled
    assert ui.hintLabel.text == "A batch is running." and not ui.batchInputs.isEnabled()
    wait_until(lambda: "Study 1 of 2" in ui.progressLabel.text and ui.progressBar.value > 0)
    assert states(story)[0] == "running"
    click(ui.batchButton)
    wait_until(lambda: story.session.batch is None)
    assert states(story) == ["cancelled", "cancelled"] and results(studies) == []
    assert ui.batchButton.text == "Start batch" and ui.segmentButton.enabled
    story.order("")
    run(story)
    assert states(story) == ["done", "done"]


def test_the_results_go_into_another_folder(story: Story, studies: Path, tmp_path: Path) -> None:
    ui = story.ui
    story.load_and_draw()
    choose_folder(story, studies)
    output = tmp_path / "results"
    type_text(ui.batchOutputEdit, str(output))
    run(story)
    assert results(studies) == [] and len(results(output)) == 4
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    type_text(ui.batchOutputEdit, str(blocked / "results"))
    click(ui.batchButton)
    assert story.session.batch is None and "Nothing can be written" in ui.batchMessage.text
    assert ui.batchButton.text == "Start batch" and ui.segmentButton.enabled
    story.panel.answers.append(str(output))
    click(ui.batchOutputButton)
    assert ui.batchOutputEdit.text == str(output)
    run(story)
    assert states(story) == ["finished earlier", "failed", "finished earlier"]


def test_the_volumes_of_the_scene(story: Story) -> None:
    ui = story.ui
    click(ui.batchSection)
    story.load_and_draw()
    for number, name in enumerate(("second", "third", "empty")):
        image = np.zeros_like(patient()[0]) if name == "empty" else patient(shift=number, seed=number)[0]
        add_volume(image, name, matrix_of())
    wait_until(lambda: len(table(story)) == 3)
    assert [name for name, _state, _detail in table(story)] == ["second", "third", "empty"]
    run(story)
    assert states(story) == ["done", "done", "failed"]
    for name in ("second", "third"):
        node = slicer.util.getNode(f"{name} segmentation")
        volume = slicer.util.getNode(name)
        assert segment_names(node) == ["liver"] and story.found(node, volume=volume).any()
    turn_events()
    wait_until(lambda: not story.panel.widget.panel.batch._later._timer.isActive())
    assert states(story) == ["done", "done", "failed"]  # they stay to be read
    add_volume(patient()[0], "fourth", matrix_of())
    wait_until(lambda: len(table(story)) == 4)
    assert states(story) == ["waiting"] * 4


def test_a_batch_from_the_library_needs_no_drawing(story: Story, studies: Path) -> None:
    ui = story.ui
    story.load_and_draw()
    click(ui.librarySection)
    type_text(ui.supportNameEdit, "liver")
    click(ui.saveSupportButton)
    wait_until(lambda: ui.libraryMessage.text.startswith("Saved"))
    slicer.mrmlScene.Clear(0)
    turn_events()
    story.session.parameters.supportSets = ["liver"]
    story.session.parameters.useLibrary = True
    choose_folder(story, studies)
    run(story)
    assert states(story) == ["done", "failed", "done"]


@pytest.mark.parametrize("source", ["nothing drawn", "no study", "no folder"])
def test_a_batch_that_cannot_start_says_why(story: Story, source: str, tmp_path: Path) -> None:
    ui = story.ui
    click(ui.batchSection)
    words = "no study"
    if source == "nothing drawn":
        story.load()
        add_volume(patient()[0], "second", matrix_of())
        words = "no example"
    elif source == "no study":
        story.load_and_draw()
    else:
        story.load_and_draw()
        click(ui.batchFolderRadio)
        type_text(ui.batchFolderEdit, str(tmp_path / "absent"))
        wait_until(lambda: ui.batchMessage.isVisible())
        assert "absent" in ui.batchMessage.text and "cannot be read" in ui.batchMessage.text
        words = "absent"
    click(ui.batchButton)
    assert story.session.batch is None and ui.batchMessage.isVisible()
    assert words in ui.batchMessage.text.lower()


def test_the_scene_closes_during_a_batch(story: Story, studies: Path) -> None:
    story.load_and_draw()
    choose_folder(story, studies)
    story.order("wait")
    click(story.ui.batchButton)
    wait_until(lambda: "Study 1" in story.ui.progressLabel.text and story.worker.busy)
    slicer.mrmlScene.Clear(0)
    wait_until(lambda: story.session.batch is None)
    assert results(studies) == []
    story.order("")
    story.load_and_draw()
    story.segment()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_process_is_killed_during_a_batch(story: Story, studies: Path) -> None:
    story.load_and_draw()
    choose_folder(story, studies)
    (studies / "aurora.nii.gz").unlink()
    story.order("wait")
    click(story.ui.batchButton)
    wait_until(lambda: story.ui.progressBar.value > 0)
    story.order("")
    story.kill()
    wait_until(lambda: story.session.batch is None)
    assert states(story)[1] == "done" and states(story)[0] in ("failed", "done")
