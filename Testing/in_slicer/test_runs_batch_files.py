"""The files of a batch: studies found, results written whole, finished ones kept, others never replaced."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from slicer_session import session

session()

from qnetseg import models  # noqa: E402
from qnetseg.batch import folder_studies  # noqa: E402
from qnetseg.batch.finished import fingerprint  # noqa: E402
from qnetseg.errors import InputError, OutputError  # noqa: E402
from qnetseg.volume import read_labelmap, read_volume  # noqa: E402
from QNetSegmentLib.runs.batch import Summary  # noqa: E402
from QNetSegmentLib.runs.scene_studies import scene_studies  # noqa: E402
from QNetSegmentLib.sample_data import volume_node  # noqa: E402
from support.batch_bed import (  # noqa: E402
    DONE,
    FAILED,
    KEPT,
    FakeRun,
    batch_of,
    folder_of_scans,  # noqa: F401
    fresh,  # noqa: F401
    one_support,  # noqa: F401
    results_in,
    run,
    states,
)
from support.cli_bed import scan_array, write_image  # noqa: E402
from support.worker_bed import sample  # noqa: E402

# Studies


def test_studies_are_the_images_of_a_folder_in_the_order_of_names(folder):
    for name in ("d.mhd", "e.nii", "F.NII.GZ", "done.seg.nrrd", ".hidden.nii", "table.csv", "b.json"):
        (folder / name).write_bytes(b"x")
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("not DICOM")
    (folder / "series").mkdir()
    (folder / "series" / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    assert [study.name for study in folder_studies(folder)] == ["A", "b", "c", "d", "e", "F", "series"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        folder_studies(tmp_path / "gone")
    assert folder_studies(tmp_path) == []


def test_a_series_of_dicom_files_is_one_study_with_its_result_beside_the_folder(tmp_path, supports):
    series = tmp_path / "study" / "T2 SPIR"
    series.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(4):
        image = sitk.GetImageFromArray((np.arange(120).reshape(1, 10, 12) * 30 + k).astype(np.int16))
        image.SetOrigin((0.0, 0.0, 3.0 * k))
        for tag, value in {
            "0008|0060": "MR",
            "0020|000e": "1.2.3.4",
            "0020|000d": "1.2.3",
            "0020|0032": f"0\\0\\{3.0 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"1.2.3.4.{k}",
            "0020|0013": str(k),
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(series / f"{k}.dcm"))
        writer.Execute(image)
    batch = run(folder_studies(tmp_path / "study"), supports)
    assert states(batch) == [DONE], batch.studies[0].detail
    assert results_in(tmp_path / "study") == ["T2 SPIR.seg.json", "T2 SPIR.seg.nrrd"]


def test_studies_of_one_name_get_results_of_their_own(folder, supports):
    write_image(folder / "b.mha", scan_array(7))
    batch = run(folder_studies(folder), supports)
    assert [study.name for study in batch.studies] == ["A", "b_mha", "b_nii_gz", "c"]
    assert len({study.target for study in batch.studies}) == 4
    assert set(states(batch)) == {DONE} and len(results_in(folder)) == 8


def test_names_that_file_systems_refuse_become_harmless(tmp_path, supports):
    nodes = [
        volume_node(scan_array(), np.eye(4), name) for name in ("T1/T2: a?", "con", "x" * 300, "T1/T2: a?")
    ]
    for node in nodes:
        node.SetName(node.GetName().replace("_1", ""))
    batch = batch_of(scene_studies(nodes), supports, tmp_path)
    names = [study.target.name for study in batch.studies]
    assert names[0] == "T1_T2_ a_.seg.nrrd" and names[1] == "_con.seg.nrrd" and len(names[2]) < 100
    assert names[3] == "T1_T2_ a_ (2).seg.nrrd"


# Files


def test_results_are_segmentations_with_a_report(folder, supports):
    two = [supports[0], sample()[0].__class__(**{**vars(supports[0]), "name": "other"})]
    batch = run(folder_studies(folder), two, model="some-model", options={"clean_up": False}, device="cpu")
    assert states(batch) == [DONE] * 3 and batch.heard[-1] == Summary(3, 0, 0, 0)
    labelmap, query = read_labelmap(folder / "b.seg.nrrd"), read_volume(folder / "b.nii.gz")
    assert [(info.label, info.name) for info in labelmap.segments] == [(1, "box"), (2, "other")]
    assert np.array_equal(labelmap.array == 1, (query.array > 1) & (query.array <= 3))
    assert np.allclose(labelmap.ijk_to_ras, query.ijk_to_ras)
    report = json.loads((folder / "b.seg.json").read_text())
    assert report["query"] == "b.nii.gz" and report["recipe"]["structures"] == ["box", "other"]
    assert [(part["label"], part["structure"]) for part in report["segments"]] == [(1, "box"), (2, "other")]
    assert report["recipe"]["qnetseg"] and str(folder) not in json.dumps(report)
    assert FakeRun.started[0].settings == ("some-model", {"clean_up": False}, "cpu")
    assert "1.5 ml" in batch.studies[0].detail


def test_results_go_into_a_chosen_folder_that_is_made(folder, supports, tmp_path):
    before = sorted(folder.iterdir())
    batch = run(folder_studies(folder), supports, tmp_path / "new" / "results")
    assert states(batch) == [DONE] * 3 and sorted(folder.iterdir()) == before
    assert len(results_in(tmp_path / "new" / "results")) == 6


def test_the_table_lies_in_the_chosen_folder(folder, supports, tmp_path):
    (folder / "b.nii.gz").write_bytes(b"not an image")
    run(folder_studies(folder), supports)
    assert not (folder / "batch.csv").exists()
    run(folder_studies(folder), supports, tmp_path / "results")
    with (tmp_path / "results" / "batch.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["study"], row["state"]) for row in rows] == [("A", "done"), ("b", "failed"), ("c", "done")]
    assert rows[0]["structure"] == "box" and rows[0]["volume_ml"] == "1.5" and rows[0]["outcome"] == "found"
    assert "could not be read" in rows[1]["note"]
    again = run(folder_studies(folder), supports, tmp_path / "results")
    assert states(again) == [KEPT, FAILED, KEPT]
    assert "A,kept,box,found" in (tmp_path / "results" / "batch.csv").read_text()


def no_room_for(monkeypatch, name):
    """The disk is full where a file of this name is put in its place."""
    move = os.replace

    def full(source, target):
        if str(target).endswith(name):
            raise OSError(28, "No space left on device")
        move(source, target)

    monkeypatch.setattr(os, "replace", full)


def test_a_table_that_cannot_be_written_costs_no_result(folder, supports, tmp_path, monkeypatch):
    no_room_for(monkeypatch, "batch.csv")
    batch = run(folder_studies(folder), supports, tmp_path / "results")
    assert states(batch) == [DONE] * 3 and "No space left" in batch.heard[-1].problem
    monkeypatch.undo()
    (tmp_path / "results" / "batch.csv").write_text("somebody's table")
    with pytest.raises(OutputError, match="in the way"):
        batch_of(folder_studies(folder), supports, tmp_path / "results").start()


def test_a_folder_that_cannot_be_written_to_is_told_before_the_start(folder, supports, tmp_path):
    (tmp_path / "file").write_text("in the way")
    batch = batch_of(folder_studies(folder), supports, tmp_path / "file" / "results")
    with pytest.raises(OutputError, match="Nothing can be written"):
        batch.start()
    assert not batch.active and not batch.loop.steps and FakeRun.started == []


def test_a_full_disk_leaves_neither_file_of_a_study_and_the_others_go_on(folder, supports, monkeypatch):
    no_room_for(monkeypatch, "b.seg.nrrd")
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [DONE, FAILED, DONE]
    assert "No space left" in batch.studies[1].detail
    assert results_in(folder) == ["A.seg.json", "A.seg.nrrd", "c.seg.json", "c.seg.nrrd"]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_failed_repetition_keeps_the_earlier_result(folder, supports, monkeypatch):
    run(folder_studies(folder), supports)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    batch = run(folder_studies(folder), supports, redo=True)
    assert states(batch) == [FAILED] * 3
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# Resuming


def test_what_is_finished_is_kept(folder, supports):
    run(folder_studies(folder), supports)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    FakeRun.started.clear()
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [KEPT] * 3 and FakeRun.started == []
    assert batch.heard[-1] == Summary(0, 3, 0, 0) and batch.studies[0].detail == "finished earlier"
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert states(run(folder_studies(folder), supports, redo=True)) == [DONE] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "b.seg.nrrd").unlink(),
        lambda folder: (folder / "b.seg.nrrd").write_bytes((folder / "b.seg.nrrd").read_bytes()[:200]),
        lambda folder: (folder / "b.seg.nrrd").write_bytes(b""),
    ],
    ids=["gone", "cut off", "empty"],
)
def test_only_broken_results_are_run_again(folder, supports, change):
    run(folder_studies(folder), supports)
    change(folder)
    assert states(run(folder_studies(folder), supports)) == [KEPT, DONE, KEPT]
    assert read_labelmap(folder / "b.seg.nrrd").array.any()


def test_another_model_drawing_or_option_is_run_again(folder, supports):
    run(folder_studies(folder), supports)
    assert states(run(folder_studies(folder), supports, model="m2")) == [DONE] * 3
    assert states(run(folder_studies(folder), supports, model="m2", options={"alpha": 1})) == [DONE] * 3
    assert states(run(folder_studies(folder), redrawn_with(supports, 1))) == [DONE] * 3


def redrawn_with(supports, rows):
    """The drawing without its first rows."""
    part = supports[0].slices[0]
    fewer = part.mask.copy()
    fewer[: np.nonzero(fewer)[0][0] + rows] = 0
    return [supports[0].__class__((part.__class__(**{**vars(part), "mask": fewer}),), supports[0].name)]


def test_weights_that_were_trained_anew_under_the_same_name_are_run_again(folder, supports):
    weights = folder / "model.safetensors"
    weights.write_bytes(b"first training")
    assert states(run(folder_studies(folder), supports, model=str(weights))) == [DONE] * 3
    assert states(run(folder_studies(folder), supports, model=str(weights))) == [KEPT] * 3
    weights.write_bytes(b"second training")
    assert states(run(folder_studies(folder), supports, model=str(weights))) == [DONE] * 3


def test_a_default_model_that_was_registered_anew_is_run_again(folder, supports, monkeypatch):
    run(folder_studies(folder), supports)
    catalogue = models.read_catalogue()
    other = [replace(entry, sha256="0" * 64) for entry in catalogue.models]
    monkeypatch.setattr(models, "read_catalogue", lambda: replace(catalogue, models=tuple(other)))
    assert states(run(folder_studies(folder), supports)) == [DONE] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed in the middle of its work")
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "repeated"])
def test_a_batch_that_is_killed_at_a_rename_leaves_nothing_stale(folder, supports, earlier):
    """After each kill the next batch runs the study again, and report and segmentation belong together."""
    study = folder / "b.nii.gz"
    for number in itertools.count(1):
        for path in folder.glob("*.seg.*"):
            path.unlink()
        if earlier:
            run(studies_of(study), supports)
        wanted = redrawn_with(supports, 1)
        survived = killed_at_rename(number, lambda: run(studies_of(study), wanted))  # noqa: B023
        batch = run(studies_of(study), wanted)
        assert states(batch) == [KEPT if survived else DONE], (number, batch.studies[0].detail)
        report = json.loads((folder / "b.seg.json").read_text())
        digest = hashlib.sha256((folder / "b.seg.nrrd").read_bytes()).hexdigest()
        assert report["sha256"] == digest and "next" not in report
        assert report["recipe"]["drawings"] == fingerprint(wanted)
        assert survived or not [path for path in folder.iterdir() if path.name.startswith(".")]
        if survived:
            break
    assert number > 3  # the announcement, the segmentation and the report got their names


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize("name", ["b.seg.nrrd", "b.seg.json"])
def test_a_write_protection_is_told_before_the_work(folder, supports, name):
    run(folder_studies(folder), supports)
    FakeRun.started.clear()
    (folder / name).chmod(0o444)
    before = {path: path.read_bytes() for path in folder.glob("b.seg.*")}
    batch = run(folder_studies(folder), supports, model="another")
    assert states(batch) == [DONE, FAILED, DONE] and len(FakeRun.started) == 2
    assert "write-protected" in batch.studies[1].detail
    assert {path: path.read_bytes() for path in folder.glob("b.seg.*")} == before


def studies_of(path):
    return [study for study in folder_studies(path.parent) if study.source == path]


def killed_at_rename(number, work):
    """Do the work in a copy of this process, which dies at its rename of that number; whether it survived."""
    child = os.fork()
    if child == 0:
        move, count = os.replace, itertools.count(1)
        os.replace = lambda one, other: os._exit(9) if next(count) == number else move(one, other)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def edit(path):
    """Save the segmentation with a voxel less, as after a correction in Slicer."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    array[tuple(np.argwhere(array)[0])] = 0
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    for key in image.GetMetaDataKeys():
        changed.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(changed, str(path))
    return path.read_bytes()


def test_a_result_that_somebody_corrected_is_not_lost(folder, supports):
    run(folder_studies(folder), supports)
    corrected = edit(folder / "b.seg.nrrd")
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [KEPT] * 3 and batch.studies[1].detail == "finished earlier, edited since"
    batch = run(folder_studies(folder), supports, model="another")
    assert states(batch) == [DONE, FAILED, DONE] and "edited" in batch.studies[1].detail
    assert (folder / "b.seg.nrrd").read_bytes() == corrected


def test_images_of_one_name_do_not_take_each_others_results(folder, supports, tmp_path):
    other = tmp_path / "another patient"
    other.mkdir()
    write_image(other / "b.nii.gz", scan_array(9))
    run(folder_studies(folder), supports, tmp_path / "results")
    before = (tmp_path / "results" / "b.seg.nrrd").read_bytes()
    for redo in (False, True):
        batch = run(folder_studies(other), supports, tmp_path / "results", redo=redo)
        assert states(batch) == [FAILED] and "another image" in batch.studies[0].detail
    assert (tmp_path / "results" / "b.seg.nrrd").read_bytes() == before


def test_a_renamed_folder_is_still_finished(folder, supports):
    run(folder_studies(folder), supports)
    moved = folder.rename(folder.with_name("moved"))
    assert states(run(folder_studies(moved), supports)) == [KEPT] * 3


def test_files_that_no_batch_wrote_are_never_replaced(folder, supports):
    (folder / "b.seg.nrrd").write_bytes(b"a manual segmentation")
    (folder / "c.seg.json").write_text('{"mine": 1}')
    (folder / "A.json").write_text('{"EchoTime": 0.1}')  # as dcm2niix writes beside its images
    for redo in (False, True):
        batch = run(folder_studies(folder), supports, redo=redo)
        assert states(batch) == [DONE, FAILED, FAILED]
        assert "in the way" in batch.studies[1].detail
    assert (folder / "b.seg.nrrd").read_bytes() == b"a manual segmentation"
    assert (folder / "c.seg.json").read_text() == '{"mine": 1}'
    assert (folder / "A.json").read_text() == '{"EchoTime": 0.1}'
