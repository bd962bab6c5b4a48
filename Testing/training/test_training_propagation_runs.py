"""Runs of the propagation network: they end in the same bits, say how they were made, and can be timed."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import torch

from golden import dataset as tiny
from qnetseg.cli import main
from qnetseg.errors import DatasetError, RecipeError, WeightsError
from qnetseg.model import PropagationNet, load_propagation
from qnetseg.model.storage import read_safetensors
from qnetseg.segment.confidence import FEATURES
from qnetseg_lab.training import PropagationRecipe, Trainer, checkpoint, supervoxels
from qnetseg_lab.training import propagation_throughput as bench_propagation
from qnetseg_lab.training import throughput as bench
from qnetseg_lab.training.propagation_learner import PropagationLearner
from qnetseg_lab.training.synthesis import load_tissues
from qnetseg_lab.weights.writing import save_model
from support import propagation_bed
from support.propagation_bed import RECIPE, make, undisturbed
from support.torchrun import torchrun

CPU = torch.device("cpu")
SHALLOW = dataclasses.replace(RECIPE.windows, depth=8, moved=0.0)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    with undisturbed(monkeypatch):
        yield


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three small volumes with labels, whose supervoxels are cubes and computed at once."""
    root = tmp_path / "data"
    root.mkdir()
    tiny.write_chaos(root, cases=2)
    monkeypatch.setenv("QNETSEG_DATA", str(root))
    calls = []

    def cubes(image, spacing, sizes):
        calls.append(image.shape)
        return [sum(n // 16 * 9**a for a, n in enumerate(np.indices(image.shape))) for _ in sizes]

    monkeypatch.setattr(supervoxels, "divisions", cubes)
    return calls


def states(folder):
    state = checkpoint.load(folder / checkpoint.NEWEST)
    return state, (folder / "scalars.csv").read_text(), read_safetensors(folder / "model.safetensors")


def test_a_stopped_run_resumes_to_the_same_bits(data, tmp_path):
    recipe = dataclasses.replace(RECIPE, volumes=("chaos",))
    make(tmp_path / "whole", recipe).run()
    lines = []
    make(tmp_path / "parts", recipe).run(stop_after=2)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    make(tmp_path / "parts", dataclasses.replace(recipe, name="renamed"), lines.append).run()
    assert lines[0] == "Resuming after step 2 of 4."
    (one, scalars, (tensors, metadata)), (two, lines, (others, account)) = (
        states(tmp_path / name) for name in ("whole", "parts")
    )
    assert lines == scalars
    for part in ("network", "extra"):
        assert one[part].keys() == two[part].keys()
        assert all(torch.equal(value, two[part][key]) for key, value in one[part].items())
    for key, own in one["optimiser"]["state"].items():
        assert all(torch.equal(own[name], two["optimiser"]["state"][key][name]) for name in own)
    assert all(torch.equal(value, others[key]) for key, value in tensors.items())
    assert {"network", "optimiser", "extra", "step", "recipe", "ancestors", "setting"} == one.keys()
    assert metadata["method"] == account["method"] == "propagation"


def test_a_run_tells_its_losses_and_how_the_weights_were_made(data, tmp_path):
    lines, recipe = [], dataclasses.replace(RECIPE, steps=1, volumes=("chaos",))
    make(tmp_path, recipe, lines.append).run()
    assert lines[0] == "Computing the supervoxels of 2 volumes." and len(data) == 2
    assert lines[1].startswith("step 1/1  loss ") and "  overlap " in lines[1] and "  presence " in lines[1]
    with open(tmp_path / "scalars.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["step", "rate", "total", "overlap", "voxels", "presence"]
    model = load_propagation(tmp_path / "model.safetensors")
    assert model.provenance["data"] == ["synthetic volumes", "chaos: all cases"]
    assert model.provenance["licence"] == "research use only"
    assert model.provenance["recipe"]["windows"]["depth"] == 24
    assert model.network.config.widths == recipe.model.widths
    assert len(model.network.config.confidence) == 2 * len(FEATURES)
    Trainer(recipe, tmp_path, CPU, lines.append)
    assert len(data) == 2 and len(list((tmp_path / "supervoxels").iterdir())) == 2  # computed once


@pytest.mark.parametrize(
    ("volumes", "licence"),
    [((), "CC BY 4.0"), (("open",), "CC BY 4.0"), (("open", "cmr"), "research use only")],
)
def test_the_licence_follows_the_volumes(volumes, licence):
    recipe = dataclasses.replace(RECIPE, volumes=volumes)
    assert PropagationLearner(PropagationNet(recipe.model), recipe, [], CPU).licence == licence


def test_a_run_goes_on_from_weights(tmp_path):
    torch.manual_seed(9)
    start = tmp_path / "start.safetensors"
    network = PropagationNet(RECIPE.model)
    save_model(start, network, {"recipe": {"name": "first"}}, "fp32")
    run = make(tmp_path / "run", dataclasses.replace(RECIPE, start=str(start)))
    state = run.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert run.provenance()["ancestors"] == [{"name": "first"}]


def test_a_folder_with_another_run_is_refused(tmp_path):
    make(tmp_path).run(stop_after=1)
    for change in ({"seed": 4}, {"windows": SHALLOW}):
        with pytest.raises(RecipeError, match="another recipe"):
            make(tmp_path, dataclasses.replace(RECIPE, **change))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    make(tmp_path).run(stop_after=1)
    path = tmp_path / checkpoint.NEWEST
    state = checkpoint.load(path)
    state["network"]["more"] = state["network"].pop("outline.bias")
    checkpoint.save(state, path)
    with pytest.raises(WeightsError, match="does not fit the recipe's network"):
        make(tmp_path)


def test_volumes_that_are_missing_or_do_not_fit_are_refused(data, tmp_path):
    with pytest.raises(DatasetError, match="acrinflt001"):
        load_tissues(["open"], tmp_path, CPU)
    with pytest.raises(DatasetError, match="no data set 'lungs'"):
        load_tissues(["lungs"], tmp_path, CPU)
    load_tissues(["chaos"], tmp_path, CPU)
    np.savez(next(tmp_path.glob("*.npz")), size0=np.zeros((2, 2, 2)))
    with pytest.raises(DatasetError, match=r"has labels of the shape \(2, 2, 2\)"):
        load_tissues(["chaos"], tmp_path, CPU)


def test_two_processes_learn_what_one_learns(tmp_path):
    make(tmp_path / "one").run()
    torchrun(propagation_bed.__file__, tmp_path / "two")
    (one, scalars, _), (two, others, _) = (states(tmp_path / name) for name in ("one", "two"))
    assert two["step"] == 4 and two["setting"]["processes"] == 2
    for part in ("network", "extra"):
        for key, value in one[part].items():
            torch.testing.assert_close(two[part][key], value, rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(scalars.split()[1:], others.split()[1:], strict=True):
        assert [*map(float, ours.split(","))] == pytest.approx([*map(float, theirs.split(","))], rel=1e-3)


def test_the_benchmark_tells_windows_from_the_network(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "MATRIX", {"cpu": 64})
    lines = []
    content = bench_propagation.propagation_training(
        dataclasses.replace(RECIPE, windows=SHALLOW), CPU, steps=1, report=lines.append
    )
    assert content["windows_seconds_per_step"] > 0 and content["network_seconds_per_step"] > 0
    assert content["network_share"] == pytest.approx(
        content["network_seconds_per_step"] / content["seconds_per_step"]
    )
    assert content["gflop_per_step"] > 0 and any("share" in line for line in lines)


def test_the_command_times_a_recipe_of_the_network(monkeypatch, tmp_path):
    def timed(recipe, device, steps, report):
        assert isinstance(recipe, PropagationRecipe) and steps == 3
        return {"bench": "training-propagation", "precision": "bf16"}

    monkeypatch.setattr(bench_propagation, "propagation_training", timed)
    arguments = ["bench", "training", "--recipe", "propagation", "--steps", "3", "--device", "cpu"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    assert (tmp_path / "bench-training-cpu-propagation-bf16.json").is_file()
