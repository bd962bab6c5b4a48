"""Several processes: the losses and weights of one, also after one of them was killed."""

from __future__ import annotations

import csv
import sys

import pytest
import torch
import torch.distributed as dist

from golden import dataset as tiny
from qnetseg.errors import DeviceError, OutputError, RecipeError
from qnetseg_lab.training import checkpoint, distributed, episode_learner, trainer
from qnetseg_lab.training.distributed import EpisodeModule, Processes, joined
from support import train_bed
from support.torchrun import torchrun

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    tiny.write_chaos(root, cases=2)
    return root


@pytest.fixture
def restored(data, monkeypatch):
    """Undoes what `train_bed.make` changes in this process."""
    monkeypatch.setenv("QNETSEG_DATA", str(data))
    monkeypatch.setattr(episode_learner, "build_method", episode_learner.build_method)
    monkeypatch.setattr(trainer, "LOG_EVERY", trainer.LOG_EVERY)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _losses(folder):
    with open(folder / "scalars.csv", encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_two_processes_one_of_them_killed_learn_what_one_learns(data, restored, tmp_path):
    train_bed.make(data, tmp_path / "one").run()
    torchrun(train_bed.__file__, data, tmp_path / "two", restarts=1)
    one, two = (checkpoint.load(tmp_path / name / checkpoint.NEWEST) for name in ("one", "two"))
    assert two["step"] == 6 and two["setting"]["processes"] == 2
    for key, value in one["network"].items():
        torch.testing.assert_close(two["network"][key], value, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(_losses(tmp_path / "two"), _losses(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert (tmp_path / "two" / "model.safetensors").is_file()


def test_processes_take_even_shares():
    what = "pairs", "pairs in [episodes]"
    assert [Processes(rank, 4).share(8, *what) for rank in (0, 3)] == [slice(0, 2), slice(6, 8)]
    with pytest.raises(RecipeError, match="3 pairs a step cannot be shared evenly by 2 processes") as caught:
        Processes(1, 2).share(3, *what)
    assert caught.value.advice == "Choose pairs in [episodes] as a multiple of the processes."


def test_the_shares_of_a_step_are_the_whole_step(data, restored, tmp_path):
    run = train_bed.make(data, tmp_path)
    whole = run.learner.episodes(5)
    parts = []
    for rank in (0, 1):
        run.learner.share = Processes(rank, 2).share(4, "pairs", "pairs")
        parts.append(run.learner.episodes(5))
    for together, *pieces in zip(whole, *parts, strict=True):
        torch.testing.assert_close(torch.cat(pieces), together)


def test_batch_statistics_are_shared_on_cuda_only():
    network = train_bed.TinyMethod(None)
    with pytest.raises(RecipeError, match="batch normalisation"):
        Processes(0, 2).wrap(network, CPU, "train")
    assert isinstance(Processes().wrap(network, CPU, "train"), EpisodeModule)


def test_one_process_of_a_group_of_one_needs_no_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (device, warning):
        assert (device, warning, Processes.current()) == (CPU, "", Processes())
    assert float(Processes().sum(torch.tensor(2.0))) == 2


def test_torchrun_s_processes_join_and_leave(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    left = []
    monkeypatch.setattr(distributed, "_join", left.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append("left"))
    with joined("cpu") as (device, _):
        assert device == CPU
    assert left == ["gloo", "left"]
    monkeypatch.setattr(distributed.devices, "choose_device", lambda name: (torch.device("mps"), ""))
    with pytest.raises(DeviceError, match="device mps"), joined("mps"):
        pass


def test_a_process_without_a_gpu_of_its_own_says_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="Process 2 of this machine has no GPU of its own: there are 1"):
        joined("auto").__enter__()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed.devices, "choose_device", lambda name: (torch.device("cuda"), ""))
    monkeypatch.setattr(distributed, "_join", chosen.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with joined("auto") as (device, _):
        assert device == torch.device("cuda", 1)
    assert chosen == [1, "nccl"]


def test_machines_without_a_common_folder_are_noticed(monkeypatch):
    monkeypatch.setattr(dist, "broadcast", lambda first, src: first.fill_(7))
    monkeypatch.setattr(dist, "all_reduce", lambda values: None)
    Processes(1, 2).require_same(7, CPU)
    with pytest.raises(OutputError, match="see different checkpoints"):
        Processes(1, 2).require_same(0, CPU)
