"""The inference benchmark runs and reports ratios; nothing here depends on how fast the machine is."""

from __future__ import annotations

import json
from importlib.util import find_spec

import torch

from qnetseg.evaluation import bench, report
from qnetseg.model import QNet, QNetConfig, save_model


def test_bench_reports_ratios_of_one_run_and_peak_memory(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    save_model(weights, QNet(QNetConfig()), {})
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
    assert f"{content['ratio']:.1f}" in report.write_index(tmp_path / "r").read_text(encoding="utf-8")


def test_bench_of_a_correction_stands_beside_grow_cut(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    save_model(weights, QNet(QNetConfig(depth=50)), {})
    lines, file = [], tmp_path / "r" / "b.json"
    content = bench.correction(weights, slices=6, size=64, device="cpu", output=file, report=lines.append)
    assert content["correction_ratio"] == content["correction_seconds"] / content["first_seconds"]
    assert (content["growcut_seconds"] is None) == (find_spec("slicer_core") is None)
    assert any(line.startswith("grow-cut") for line in lines)
    page = report.write_index(tmp_path / "r").read_text(encoding="utf-8")
    assert f"| {content['first_seconds']:.1f} | {content['correction_seconds']:.1f} |" in page
