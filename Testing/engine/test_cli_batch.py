"""`qnetseg batch`: damaged studies, kills and signals, resuming, the table; the engine is that of tests."""

from __future__ import annotations

import csv
import json
import os
import signal
from dataclasses import replace

import pytest

from qnetseg.batch import require_own_table
from qnetseg.cli import main
from qnetseg.errors import OutputError
from qnetseg.volume import SupportSet, read_labelmap, read_volume, support_from_mask, write_labelmap
from support.batch_engine import noted
from support.batch_studies import DAMAGE, Studies, wait_until
from support.cli_bed import drawing_array, scan_array, write_image
from support.dicom_series import write_series
from support.worker_bed import PATIENCE

posix_only = pytest.mark.skipif(os.name != "posix", reason="process groups and signals of POSIX")


@pytest.fixture
def studies(tmp_path):
    return Studies(tmp_path, 4)


def table_in(folder):
    with (folder / "batch.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@posix_only
def test_forty_studies_three_of_them_damaged_killed_twice_and_resumed(tmp_path):
    studies = Studies(tmp_path, 40)
    studies.damage()
    studies.kill_after(6, studies.start("--jobs", 2, SLOW="0.3"))
    first = studies.reports()
    studies.kill_after(len(first) + 6, studies.start("--jobs", 2, SLOW="0.3"))
    second = studies.reports()
    code, out, err = studies.finish("--jobs", 2)
    assert code == 3, err
    last = studies.reports()
    assert first.items() <= second.items() <= last.items(), "a finished study was written again"
    assert set(last) == studies.good
    found = [*noted(studies.runs, "found")]
    assert len(second) < len(last) and len(found) <= 2 * 37 + 2 * 2 * 2  # structures; those under way twice
    rows = table_in(studies.output)
    failed = {row["study"]: row["note"] for row in rows if row["state"] == "failed"}
    assert sorted(failed) == sorted(DAMAGE.values()) and "constant" in failed[DAMAGE["constant"]]
    assert {row["study"] for row in rows if row["state"] == "kept"} == set(second)
    assert {row["study"] for row in rows if row["state"] == "done"} == set(last) - set(second)
    assert len(rows) == 2 * 37 + 3 and "40 studies" in out
    assert not [path for path in studies.output.iterdir() if path.name.startswith(".")]
    assert len([line for line in err.splitlines() if " of 40: " in line]) == 40


@posix_only
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_batch_that_is_stopped_says_how_to_go_on(studies, name):
    process = studies.start("--jobs", 2, SLOW="1.5")
    wait_until(lambda: len(studies.reports()) >= 1)
    os.killpg(process.pid, getattr(signal, name))  # as a terminal does: to all processes
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[name], err
    assert "the same command goes on with the rest" in err and "Traceback" not in err
    assert "cancelled" in {row["state"] for row in table_in(studies.output)}
    code, out, err = studies.finish()
    assert code == 0 and "kept" in out and set(studies.reports()) == {"00", "01", "02", "03"}


@posix_only
@pytest.mark.parametrize("always", ["", "1"], ids=["once", "always"])
def test_a_process_that_is_killed_in_the_middle_costs_at_most_its_study(studies, always):
    code, _, err = studies.finish("--jobs", 2, ENGINE="deadly_engine", DEADLY="02", ALWAYS=always)
    assert code == (3 if always else 0), err
    assert set(studies.reports()) == ({"00", "01", "03"} if always else {"00", "01", "02", "03"})
    if always:
        failed = next(row for row in table_in(studies.output) if row["state"] == "failed")
        assert failed["study"] == "02" and "ended twice" in failed["note"]


def test_results_table_and_resuming(studies, capsys):
    code, out, _ = studies.finish()
    assert code == 0 and len(noted(studies.runs, "begin")) == 8
    labels, volume = read_labelmap(studies.output / "01.seg.nrrd"), read_volume(studies.folder / "01.nii.gz")
    assert labels.array.shape == volume.shape
    assert [info.name for info in labels.segments] == ["label 1", "label 2"]
    rows = json.loads((studies.output / "batch.json").read_text())["rows"]
    assert len(rows) == 8 and rows[0]["study"] == "00" and rows[0]["outcome"] == "found"
    assert rows[0]["plane"] == "axial" and rows[0]["least_sure_slices"] == [0]
    assert out.splitlines()[0].split() == ["study", "structure", "outcome", "ml", "look", "at", "slices", "s"]
    assert studies.finish()[0] == 0 and len(noted(studies.runs, "begin")) == 8
    assert studies.finish("--threads", 1)[0] == 0 and len(noted(studies.runs, "begin")) == 8
    assert studies.finish("--precision", "fp32")[0] == 0 and len(noted(studies.runs, "begin")) == 16
    assert studies.finish("--precision", "fp32", "--redo")[0] == 0
    assert len(noted(studies.runs, "begin")) == 24


def test_the_table_as_json_on_stdout(studies):
    code, out, _ = studies.finish("--json")
    assert code == 0 and len(json.loads(out)["rows"]) == 8


def test_examples_of_one_name_go_together_and_others_are_further_structures(studies, tmp_path):
    from qnetseg.cli.examples import read_examples

    other = write_image(tmp_path / "second.nii.gz", scan_array(55))
    saved = tmp_path / "liver.npz"
    support_from_mask(read_volume(other), drawing_array() == 1, name="liver").save(saved)
    structures = read_examples([studies.image, studies.mask, saved, other, studies.mask, other, saved])
    named = [[(one.support.name, one.volume and one.volume.name) for one in group] for group in structures]
    both = ["patient.nii.gz", "second.nii.gz"]
    assert named == [
        [("label 1", both[0]), ("label 1", both[1])],
        [("label 2", both[0]), ("label 2", both[1])],
        [("liver", None), ("liver", both[1])],
    ]
    assert isinstance(structures[0][0].support, SupportSet)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--support", "alone.nii.gz"], "No mask is named"),
        (["--jobs", "0"], "--jobs must be a number from 1"),
        (["--cluster", "nonsense"], "is not a cluster"),
        (["--cluster", "local:none"], "how many workers"),
    ],
)
def test_what_cannot_be_used_says_why(studies, monkeypatch, capsys, more, sentence):
    monkeypatch.setenv("QNETSEG_RESOURCES", str(studies.bed.resources))
    assert main(studies.arguments(*more)) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_without_studies_and_files_in_the_way(studies, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("QNETSEG_RESOURCES", str(studies.bed.resources))
    (tmp_path / "empty").mkdir()
    assert main(["batch", str(tmp_path / "empty"), *studies.arguments()[2:]]) == 2
    assert "no study" in capsys.readouterr().err
    studies.output.mkdir()
    (studies.output / "batch.csv").write_text("name,age\n")
    assert main(studies.arguments()) == 2
    assert "in the way" in capsys.readouterr().err
    assert (studies.output / "batch.csv").read_text() == "name,age\n"
    (studies.output / "batch.csv").unlink()
    (studies.output / "batch.json").write_text("[]")
    with pytest.raises(OutputError):
        require_own_table(studies.output)


def test_dicom_series_are_studies_and_odd_names_are_only_names(studies):
    write_series(studies.folder / "series of a patient", shape=(6, 24, 20))
    (studies.folder / "00.nii.gz").rename(studies.folder / "=SUM(A1).nii.gz")
    code, out, err = studies.finish("--jobs", 2)
    assert code == 0, err
    assert (studies.output / "series of a patient.seg.nrrd").is_file() and "=SUM(A1)" in out
    assert {row["study"] for row in table_in(studies.output)} >= {"series of a patient", "'=SUM(A1)"}


def test_a_result_that_was_edited_is_kept_and_said_to_be(studies):
    assert studies.finish()[0] == 0
    path = studies.output / "02.seg.nrrd"
    labels = read_labelmap(path)
    corrected = labels.array.copy()
    corrected[:, :4] = 0
    write_labelmap(path, replace(labels, array=corrected))
    edited = path.read_bytes()
    code, _, err = studies.finish()
    assert code == 0 and path.read_bytes() == edited and "finished earlier, edited since" in err
    notes = {row["study"]: row["note"] for row in table_in(studies.output)}
    assert notes["02"].startswith("Edited since") and not notes["01"].startswith("Edited since")
    code, _, err = studies.finish("--precision", "fp32")
    assert code == 3 and path.read_bytes() == edited and "was edited after an earlier batch" in err
