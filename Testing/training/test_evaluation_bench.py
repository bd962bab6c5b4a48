"""The benchmarks run and report ratios; nothing here depends on how fast the machine is."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec

import torch

from qnetseg.model import PropagationConfig, PropagationNet, QNet, QNetConfig
from qnetseg.segment import SegmentOptions
from qnetseg_lab import report
from qnetseg_lab.evaluation import speed as bench
from qnetseg_lab.evaluation import speed_across
from qnetseg_lab.report.benchmarks import correction, inference
from qnetseg_lab.weights.writing import save_model
from support.random_models import random_models

__all__ = ["random_models"]


def test_bench_reports_ratios_of_one_run_and_peak_memory(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    save_model(weights, QNet(QNetConfig(depth=50)), {})
    lines = []
    content = bench.inference(
        weights,
        slices=2,
        reference_slices=1,
        device="cpu",
        output=tmp_path / "r" / "b.json",
        report=lines.append,
    )
    assert content["ratio"] == content["reference_seconds_per_slice"] * 2 / content["warm_seconds"]
    assert 0.2 < content["peak_gib"] < 20
    assert 0 <= content["dice_against_fp32"] <= 1
    assert json.loads((tmp_path / "r" / "b.json").read_text())["slices"] == 2
    assert any("ratio" in line for line in lines)
    assert f"{content['ratio']:.1f}" in report.write_report(tmp_path / "r")[-1].read_text(encoding="utf-8")


def test_bench_of_a_correction_stands_beside_grow_cut_and_other_work(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    save_model(weights, PropagationNet(PropagationConfig((8,) * 5)), {})
    lines, file = [], tmp_path / "r" / "b.json"
    options = SegmentOptions(device="cpu", precision="fp32", threads=1)
    content = bench.correction(weights, slices=6, size=64, options=options, output=file, report=lines.append)
    assert (content["precision"], content["threads"], content["repeats"]) == ("fp32", 1, 3)
    assert content["correction_ratio"] == content["correction_seconds"] / content["first_seconds"]
    for part in ("first", "correction"):
        assert content[f"busy_{part}_ratio"] == content[f"busy_{part}_seconds"] / content[f"{part}_seconds"]
    grown = content["growcut_seconds"]
    assert (grown is None) == (find_spec("slicer_core") is None)
    if grown is not None:
        assert content["growcut_ratio"] == content["first_seconds"] / grown[0]
        assert content["growcut_correction_ratio"] == content["correction_seconds"] / grown[1]
    assert content["other_voxels_again"] == 0 and content["other_voxels_one_thread"] == 0
    assert any(line.startswith("grow-cut") for line in lines)
    assert any(line.startswith("beside other work") for line in lines)
    page = report.write_report(tmp_path / "r")[-1].read_text(encoding="utf-8")
    assert f"| {content['first_seconds']:.2f} | {content['correction_seconds']:.2f} |" in page


def test_bench_of_another_patient_tells_a_readied_example_from_a_new_one(
    tmp_path, random_models, monkeypatch
):
    monkeypatch.setattr(speed_across, "in_fresh_process", lambda function, *given: function(*given))
    with_patient, readied = speed_across.with_patient, []
    segment_volume, patients = speed_across.segment_volume, []

    def ready(support, *given):
        readied.append(support)
        return with_patient(support, *given)

    def segment(support, *given):
        patients.append(support.patient is not None)
        return segment_volume(support, *given)

    monkeypatch.setattr(speed_across, "with_patient", ready)
    monkeypatch.setattr(speed_across, "segment_volume", segment)
    lines, file = [], tmp_path / "r" / "b.json"
    content = speed_across.another_patient(
        *(random_models[name] for name in ("volume", "q-net")),
        slices=6,
        size=64,
        options=SegmentOptions(device="cpu", precision="fp32", threads=1),
        output=file,
        report=lines.append,
    )
    assert len(readied) == 1 and patients == 4 * [False] + 4 * [True]
    assert len({content["weights_sha256"], *content["further_weights"].values()}) == 2
    assert any(line.startswith("each later one") for line in lines)
    page = report.write_report(tmp_path / "r")[-1].read_text(encoding="utf-8")
    assert f"| {content['first_seconds']:.1f} | {content['kept_seconds']:.1f} |" in page


def test_the_quickest_of_three_rounds_counts(monkeypatch):
    clock, made = iter([0, 5, 5, 6, 10, 12, 12, 16, 20, 23, 23, 25]), []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    assert bench._least_seconds(lambda: made.append(0) or [int, int]) == [2, 1]
    assert len(made) == 3


def test_busy_processes_end_with_the_one_that_started_them(monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    with bench._every_core_busy():
        assert [process.poll() for process in started] == [None, None]
        started[0].stdin.close()  # as when the starter is killed
        assert started[0].wait(60) == 0
    assert all(process.returncode is not None for process in started)


CORRECTION = {
    "bench": "correction",
    "slices": 36,
    "size": 256,
    "threads": 0,
    "repeats": 3,
    "cold_seconds": 2.0,
    "first_seconds": 0.5,
    "correction_seconds": 0.25,
    "busy_first_ratio": 2.0,
    "busy_correction_ratio": 1.5,
    "growcut_seconds": [11.0, 4.0],
    "growcut_ratio": 0.05,
    "growcut_correction_ratio": 0.06,
    "peak_gib": 1.5,
    "voxels": 900,
    "other_voxels_again": 0,
    "other_voxels_one_thread": 3,
    "device": "cpu",
    "precision": "fp32",
    "revision": "abc",
    "machine": {"processor": "CPU", "cores": 2, "gpu": None},
    "file": "b.json",
}


def test_the_page_shows_what_was_measured():
    figures = "2.00 | 0.50 | 0.25 | 2.0 | 1.5 | 11.00 | 4.00 | 0.05 | 0.06 | 1.50 | 900 | 0 | 3 | abc"
    page = correction([CORRECTION])
    assert f"| CPU, 2 cores | fp32 | all | 36 | 256 | {figures} | [json](b.json) |" in page
    alone = {**CORRECTION, "threads": 1, **dict.fromkeys(GROWCUT)}
    assert "| fp32 | 1 | 36 | 256 | 2.00 | 0.50 | 0.25 | 2.0 | 1.5 |  |  |  |  | 1.50 |" in correction(
        [alone]
    )


GROWCUT = ("growcut_seconds", "growcut_ratio", "growcut_correction_ratio")


def test_results_of_older_benchmarks_are_left_out_with_a_sentence():
    old = {**CORRECTION, "file": "old.json"}
    del old["other_voxels_one_thread"]
    text = correction([old, CORRECTION])
    assert "Left out, because an older version measured otherwise: [json](old.json)." in text
    assert text.count("| CPU, 2 cores |") == 1
    assert "Not measured yet." in correction([old]) and "older" not in correction([CORRECTION])
    text = inference([{"bench": "inference", "file": "old.json"}])
    assert "Not measured yet." in text and "otherwise: [json](old.json)" in text
