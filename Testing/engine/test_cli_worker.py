"""`qnetseg segment --worker`: the same results from a process that another command starts."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qnetseg.volume import read_labelmap, read_volume, support_from_mask
from support.cli_bed import Bed, drawing_array, scan_array, write_image
from support.random_models import random_models
from support.worker_bed import FAKE

__all__ = ["random_models"]

WORKER = [sys.executable, "-m", "qnetseg", "worker"]
FAR = [sys.executable, str(Path(__file__).parents[1] / "support" / "far_worker.py")]


@pytest.fixture
def bed(tmp_path, monkeypatch):
    (tmp_path / "exchange").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "exchange"))
    yield Bed(tmp_path)
    assert list((tmp_path / "exchange").iterdir()) == []


def results(bed, name, *more):
    """Labels, confidence and the segments' reports without their seconds."""
    output, confidence, report = (bed.results / f"{name}{end}" for end in (".seg.nrrd", ".nrrd", ".json"))
    how = ("--device", "cpu", "--threads", "1", "--report", report, "--confidence", confidence)
    assert bed.segment(*how, *more, output=output) == 0
    segments = json.loads(report.read_text(encoding="utf-8"))["segments"]
    for segment in segments:
        assert segment.pop("seconds") >= 0
    return read_labelmap(output), read_volume(confidence).array, segments


@pytest.mark.parametrize("far", [True, False], ids=["another disk", "the same disk"])
@pytest.mark.parametrize("case", ["two labels", "another patient", "saved drawing", "not here"])
def test_the_results_are_those_of_this_process(bed, random_models, case, far):
    how = ["--model", random_models["volume"]]
    if case == "another patient":
        how = ["--model", random_models["q-net"], "--method", "q-net", "--support"]
        how.append(write_image(bed.folder / "other.nii.gz", scan_array(1)))
    if case == "saved drawing":
        scan = read_volume(bed.query)
        bed.mask = bed.folder / "saved.npz"
        support_from_mask(scan, drawing_array() == 1, name="box").save(bed.mask)
    if case == "not here":
        how += ["--not-here", 0]
    command = shlex.join([*(FAR if far else []), *WORKER])
    here, there = results(bed, "here", *how), results(bed, "there", *how, "--worker", command)
    assert np.array_equal(here[0].array, there[0].array) and here[0].array.any()
    assert np.array_equal(here[1], there[1])
    assert here[2] == there[2]


def test_nothing_is_written_when_the_worker_is_not_there(bed, capsys):
    for command, words in (
        ("absent-program worker", "could not be started"),
        ("", "command is empty"),
        (shlex.join([sys.executable, "-c", "print('Welcome!')"]), "Welcome!"),
        (shlex.join([sys.executable, "-c", "import sys; sys.exit('ssh: no route to host')"]), "exit code 1"),
    ):
        assert bed.segment("--worker", command) in (1, 2)
        told = capsys.readouterr()
        assert words in told.err and told.err.count("\n") == 1 and told.out == ""
    assert list(bed.results.iterdir()) == []


def test_the_weights_are_those_of_the_other_machine(bed, monkeypatch):
    """Models are not looked for here, and no torch is needed."""
    bed.model.unlink()
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    assert bed.segment("--worker", shlex.join([*FAR, *FAKE])) == 0
    assert read_labelmap(bed.output).array.any()


def test_the_worker_is_for_programs():
    done = subprocess.run([*WORKER, "--help"], capture_output=True, text=True, check=True)
    assert "opens no port" in done.stdout
    ended = subprocess.run(WORKER, input=b"garbage\n", capture_output=True, check=True)
    assert b"ProtocolError" in ended.stdout


def test_a_result_is_placed_on_the_grid_also_without_confidence(bed, random_models):
    how = ("--model", random_models["volume"], "--device", "cpu", "--threads", "1")
    command = shlex.join([*FAR, *WORKER])
    assert bed.segment(*how) == 0
    here = read_labelmap(bed.output)
    assert bed.segment(*how, "--worker", command, output=bed.results / "there.seg.nrrd") == 0
    assert np.array_equal(read_labelmap(bed.results / "there.seg.nrrd").array, here.array)
