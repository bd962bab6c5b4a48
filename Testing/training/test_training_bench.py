"""The training benchmark runs and reports ratios; nothing here depends on how fast the machine is."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from qnetseg.cli import main
from qnetseg.model import QNetConfig
from qnetseg_lab.training import Recipe, learner
from qnetseg_lab.training import throughput as bench
from qnetseg_lab.training.recipe import DataRecipe, EpisodeRecipe

CPU = torch.device("cpu")
RECIPE = Recipe(
    name="tiny",
    batch_norm="frozen",
    model=QNetConfig(depth=50, feature_channels=8, threshold_hidden=4),
    data=(DataRecipe("chaos"),),
    episodes=EpisodeRecipe(pairs=2, structures=3),
)


def test_bench_reports_ratios_of_one_run_and_the_floor(monkeypatch):
    monkeypatch.setattr(bench, "MATRIX", {"cpu": 64})
    lines = []
    content = bench.training(RECIPE, CPU, steps=1, report=lines.append, size=64)
    assert json.loads(json.dumps(content)) == content
    assert content["ratio"] == pytest.approx(
        content["episodes_per_second"] / content["reference_episodes_per_second"]
    )
    assert content["episodes_per_second"] == pytest.approx(6 / content["seconds_per_step"])
    floor = 6 * content["gflop_per_episode"] / content["matrix_gflops"]
    assert content["floor_seconds_per_step"] == pytest.approx(floor)
    assert content["fraction_of_floor"] == pytest.approx(floor / content["seconds_per_step"])
    # A ResNet-50 with this dilation is about 95 GFLOP for 256 x 256 pixels; backward is about twice that.
    assert content["gflop_per_episode"] * 6 == pytest.approx(4 * 95 / 16 * 3, rel=0.2)
    assert content["encoder_fraction"] > 0 and content["peak_gib"] > 0.1
    assert any("ratio" in line for line in lines)


def test_a_method_that_encodes_with_the_support_can_be_timed(monkeypatch):
    monkeypatch.setattr(bench, "MATRIX", {"cpu": 64})
    model = QNetConfig(depth=50, downsample_layer=2, feature_channels=8)
    episodes = EpisodeRecipe(pairs=1, structures=1)
    recipe = dataclasses.replace(RECIPE, method="senet", model=model, episodes=episodes)
    content = bench.training(recipe, CPU, steps=1, report=lambda line: None, size=32)
    assert content["ratio"] > 0 and content["encoder_fraction"] > 0


def test_the_other_side_is_the_released_code_s_arithmetic():
    paper = bench.paper_recipe(dataclasses.replace(RECIPE, precision="bf16"))
    assert (paper.precision, paper.batch_norm, paper.optimiser.name) == ("fp32", "train", "sgd")
    assert (paper.episodes.pairs, paper.episodes.structures, paper.model) == (1, 1, RECIPE.model)


@pytest.mark.parametrize(("computes", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_processor_without_bf16_computes_in_fp32(monkeypatch, computes, expected):
    monkeypatch.setattr(learner, "computes_bf16", lambda device: computes)
    recipe = dataclasses.replace(RECIPE, precision="bf16")
    assert learner.computed_precision(recipe, CPU) == expected
    with learner.mixed_precision(recipe, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if computes else torch.float32)
    with learner.mixed_precision(dataclasses.replace(RECIPE, precision="fp32"), CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_the_command_writes_a_result_file(monkeypatch, tmp_path, capsys):
    seen = []

    def training(recipe, device, steps, report):
        report("ratio 12.0")
        seen.append((recipe.name, recipe.episodes.crop, device, steps))
        return {"bench": "training", "precision": recipe.precision, "ratio": 12.0}

    monkeypatch.setattr(bench, "training", training)
    arguments = ["bench", "training", "--recipe", "default-h100", "--steps", "3", "--device", "cpu"]
    changed = ["--set", "precision=fp32", "--set", "episodes.crop=192"]
    assert main([*arguments, *changed, "--output", str(tmp_path / "results")]) == 0
    assert seen == [("default-h100", 192, CPU, 3)] and "ratio 12.0" in capsys.readouterr().out
    content = json.loads((tmp_path / "results" / "bench-training-cpu-default-h100-fp32.json").read_text())
    assert content["ratio"] == 12.0 and content["machine"]["cores"] and content["device"] == "cpu"
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ratio"] == 12.0
    assert main(["bench", "training", "--recipe", "nothing"]) == 2
