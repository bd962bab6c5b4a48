"""The training loop: schedules, modes, scalars, and a killed run that ends in the same bits."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json

import pytest
import torch
from safetensors import SafetensorError

from golden import dataset as tiny
from qnetseg.errors import DatasetError, OutputError, RecipeError, TrainingError, WeightsError
from qnetseg.model import QNetConfig, load_model
from qnetseg.model.threshold import FixedThreshold
from qnetseg_lab.baselines import EpisodeLoss
from qnetseg_lab.training import Recipe, Trainer, checkpoint, episode_learner, learner, trainer
from qnetseg_lab.training.episode_learner import set_mode
from qnetseg_lab.training.learner import build_optimiser, learning_rate
from qnetseg_lab.training.recipe import DataRecipe, EpisodeRecipe, OptimiserRecipe
from qnetseg_lab.training.trainer import Progress

CPU = torch.device("cpu")
RECIPE = Recipe(
    name="tiny",
    steps=4,
    seed=3,
    precision="fp32",  # on every processor
    batch_norm="train",
    model=QNetConfig(depth=50, feature_channels=8, threshold_hidden=4),
    data=(DataRecipe("chaos"),),
    episodes=EpisodeRecipe(pairs=1, structures=2, min_pixels=20),
    optimiser=OptimiserRecipe(name="sgd", rate=1e-3, clip=1.0),
)


class Killed(BaseException):
    """A run's sudden end, which no handler of ordinary errors sees."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    tiny.write_chaos(root, cases=2)
    return root


@pytest.fixture(autouse=True)
def environment(data, monkeypatch):
    monkeypatch.setenv("QNETSEG_DATA", str(data))
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of four steps in one go: its folder, its state and what it reported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QNETSEG_DATA", str(data))
        patch.setattr(trainer, "LOG_EVERY", 1)
        folder, lines = tmp_path_factory.mktemp("run"), []
        run = Trainer(RECIPE, folder, CPU, lines.append)
        run.run()
    return folder, checkpoint.load(folder / checkpoint.NEWEST), lines


def _scalars(folder):
    with open(folder / "scalars.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_run_resumes_to_the_same_bits(finished, tmp_path):
    def die_at_step_3(line):
        if line.startswith("step 3/"):
            raise Killed

    with pytest.raises(Killed):
        Trainer(RECIPE, tmp_path, CPU, die_at_step_3, checkpoint_seconds=-1).run()  # after every step
    assert [row["step"] for row in _scalars(tmp_path)] == ["1", "2", "3"]
    assert not (tmp_path / "model.safetensors").exists()
    lines = []
    resumed = Trainer(dataclasses.replace(RECIPE, name="renamed"), tmp_path, CPU, lines.append)
    assert lines == ["Resuming after step 2 of 4."]
    resumed.run()
    folder, state, _ = finished
    result = checkpoint.load(tmp_path / checkpoint.NEWEST)
    assert result["step"] == state["step"] == 4
    assert result["network"].keys() == state["network"].keys()
    assert all(torch.equal(value, state["network"][key]) for key, value in result["network"].items())
    for key, own in result["optimiser"]["state"].items():
        assert torch.equal(own["momentum_buffer"], state["optimiser"]["state"][key]["momentum_buffer"])
    assert _scalars(tmp_path) == _scalars(folder)  # the lost third step is not there twice


def test_a_run_leaves_scalars_weights_and_a_readable_account(finished):
    folder, state, lines = finished
    rows = _scalars(folder)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == ["step", "rate", "total", "segmentation", "alignment"]
    for row in rows:
        parts = float(row["segmentation"]) + float(row["alignment"])
        assert float(row["total"]) == pytest.approx(parts, rel=1e-4)
        assert float(row["rate"]) == 1e-3
    assert lines[0] == "The encoder starts from random weights."
    assert lines[1].startswith(f"step 1/4  loss {float(rows[0]['total']):.4f}")
    model = load_model(folder / "model.safetensors")
    assert model.provenance["steps"] == 4
    assert model.provenance["recipe"]["episodes"]["structures"] == 2
    assert (model.provenance["seed"], model.provenance["data"]) == (3, ["chaos: all cases"])
    assert {"revision", "torch", "device", "precision", "threads", "processes"} <= model.provenance.keys()
    trained = model.network.threshold.out.bias
    assert torch.equal(trained, state["network"]["threshold.out.bias"])
    assert {file.name for file in folder.iterdir() if "tfevents" not in file.name} == {
        "checkpoint.safetensors",
        "model.safetensors",
        "scalars.csv",
        "training.lock",
    }


def test_a_finished_run_and_a_stop_do_no_more_than_asked(finished, tmp_path):
    folder, state, _ = finished
    (tmp_path / checkpoint.NEWEST).write_bytes((folder / checkpoint.NEWEST).read_bytes())
    again = Trainer(RECIPE, tmp_path, CPU, lambda line: None)
    assert again.run(stop_after=2) is again.network
    assert again.step == 4
    assert all(torch.equal(value, state["network"][key]) for key, value in again.network.state_dict().items())


def test_a_checkpoint_of_another_recipe_is_refused(finished):
    folder, *_ = finished
    for change in ({"seed": 4}, {"optimiser": OptimiserRecipe()}):
        with pytest.raises(RecipeError, match="another recipe"):
            Trainer(dataclasses.replace(RECIPE, **change), folder, CPU, lambda line: None)


def test_a_damaged_checkpoint_is_refused(finished, tmp_path):
    folder, *_ = finished
    path = tmp_path / checkpoint.NEWEST
    path.write_bytes((folder / checkpoint.NEWEST).read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="is damaged"):
        Trainer(RECIPE, tmp_path, CPU, lambda line: None)


@pytest.fixture
def light(monkeypatch, tmp_path):
    """A trainer whose network is a stand-in, for what does not depend on the network."""

    class Stub(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.layer, self.norm = torch.nn.Linear(2, 1), torch.nn.BatchNorm2d(2)

    monkeypatch.setattr(episode_learner, "build_method", lambda name, config: Stub(config))
    return lambda **changes: Trainer(dataclasses.replace(RECIPE, **changes), tmp_path, CPU, lambda line: None)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_disk_leaves_the_checkpoint_before_it(light, monkeypatch, error):
    run = light()
    run._write_checkpoint()
    before = (run.folder / checkpoint.NEWEST).read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    run.step = 1
    with pytest.raises(OutputError, match="cannot be written"):
        run._write_checkpoint()
    assert {file.name for file in run.folder.iterdir()} == {checkpoint.NEWEST, "training.lock"}
    assert (run.folder / checkpoint.NEWEST).read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(light, monkeypatch):
    run = light()
    run._write_checkpoint()
    before = (run.folder / checkpoint.NEWEST).read_bytes()
    values = iter([1.0, float("nan"), 1.0, 1.0])

    def learn(step):
        return EpisodeLoss(*[torch.tensor(next(values))] * 3)

    monkeypatch.setattr(trainer, "LOG_EVERY", 10)
    monkeypatch.setattr(run.learner, "learn", learn)
    with pytest.raises(TrainingError, match="no longer a finite number at step 2; the checkpoint"):
        run.run()
    assert (run.folder / checkpoint.NEWEST).read_bytes() == before
    with torch.no_grad():
        run.network.layer.bias.fill_(float("inf"))
    with pytest.raises(TrainingError, match="at step 4"):
        run._write_checkpoint()


def test_a_folder_that_cannot_be_written_is_refused(light, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        Trainer(RECIPE, tmp_path / "file" / "run", CPU, lambda line: None)
    run = light()
    (tmp_path / "scalars.csv").mkdir()
    with pytest.raises(OutputError, match=r"scalars\.csv' could not be written"):
        run.run()


def test_a_device_without_bf16_says_that_it_computes_in_fp32(light, monkeypatch):
    lines, folder = [], light().folder
    monkeypatch.setattr(learner, "computes_bf16", lambda device: False)
    run = Trainer(dataclasses.replace(RECIPE, precision="bf16"), folder / "low", CPU, lines.append)
    assert "The device cpu does not compute in bf16: fp32 instead." in lines
    assert run.provenance()["precision"] == "fp32"


def test_a_run_goes_on_when_recipes_learn_new_entries(light, monkeypatch):
    run = light()
    run._write_checkpoint()
    path = run.folder / checkpoint.NEWEST
    state = checkpoint.load(path)
    recipe = json.loads(state["recipe"])
    del recipe["method"], recipe["episodes"]["supervoxels"], recipe["data"][0]["share"]
    state["recipe"] = json.dumps(recipe)
    checkpoint.save(state | {"setting": {"torch": "1.0", "threads": None}}, path)
    lines = []
    Trainer(RECIPE, run.folder, CPU, lines.append)
    assert lines[0] == "Resuming after step 0 of 4."
    assert lines[1].startswith("The weights will not be exactly those of a run without the stop: torch 1.0")
    recipe["episodes"]["gone"] = 1
    checkpoint.save(state | {"recipe": json.dumps(recipe)}, path)
    with pytest.raises(RecipeError, match="another recipe"):
        light()


def test_frozen_batch_normalisation_keeps_its_statistics(light):
    for mode, training in (("train", True), ("frozen", False)):
        run = light(batch_norm=mode)
        set_mode(run.network, mode)
        assert run.network.training
        assert run.network.norm.training == training
        assert run.network.norm.weight.requires_grad


def test_missing_data_are_refused(light, monkeypatch, tmp_path):
    with pytest.raises(DatasetError, match="no data set 'lungs'"):
        light(data=(DataRecipe("lungs"),))
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="not found"):
        light()


def test_the_released_schedule_decays_every_thousand_steps():
    recipe = OptimiserRecipe()
    rates = [learning_rate(recipe, step, 30000) for step in (0, 999, 1000, 1999, 29999)]
    assert rates == pytest.approx([1e-3, 1e-3, 0.98e-3, 0.98e-3, 1e-3 * 0.98**29])


def test_the_cosine_schedule_warms_up_and_ends_at_zero():
    recipe = OptimiserRecipe(rate=2.0, schedule="cosine", warmup=10)
    rates = [learning_rate(recipe, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(2.0 * 0.5 * 0.996, rel=1e-3)
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_optimisers_hold_what_can_be_trained():
    network = torch.nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    sgd = build_optimiser(network, OptimiserRecipe())
    assert isinstance(sgd, torch.optim.SGD)
    group = sgd.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-3, 0.9, 5e-4)
    assert group["params"] == [network.weight]
    adamw = build_optimiser(network, OptimiserRecipe(name="adamw", rate=1e-4, decay=0.01))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.param_groups[0]["lr"], adamw.param_groups[0]["weight_decay"]) == (1e-4, 0.01)


def test_the_expected_time_is_the_mean_pace(monkeypatch):
    now = iter([100.0, 130.0])
    monkeypatch.setattr(trainer.time, "monotonic", lambda: next(now))
    assert Progress(first=10, total=40).eta(20) == pytest.approx(60.0)


def test_adamw_moves_a_fixed_threshold_by_the_scale_of_scores():
    network = torch.nn.ModuleDict(
        {"threshold": FixedThreshold(QNetConfig(threshold="fixed")), "layer": torch.nn.Linear(2, 1)}
    )
    optimiser = build_optimiser(network, OptimiserRecipe(name="adamw", rate=1e-4, decay=0.5))
    ours, fixed = optimiser.param_groups
    assert [len(group["params"]) for group in (ours, fixed)] == [2, 1]
    assert (fixed["factor"], fixed["weight_decay"]) == (20.0, 0.0) and "factor" not in ours
