"""A run that is killed with SIGKILL, at any moment and many times, ends in the bits of one that was not."""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import sys

import pytest
import torch

from golden import dataset as tiny
from qnetseg.model.storage import read_safetensors
from qnetseg_lab.training import checkpoint
from support import train_bed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and a fork server")

RECIPE = dataclasses.replace(train_bed.RECIPE, steps=60)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    tiny.write_chaos(root, cases=2)
    return root


@pytest.fixture(scope="module")
def lives():
    """Starts a run in a process that has torch already, and returns the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.train_bed"])

    def start(data, folder, half_written=0):
        begun = context.Event()
        arguments = data, folder, RECIPE, begun, half_written
        process = context.Process(target=train_bed.train, args=arguments)
        process.start()
        assert begun.wait(600)
        return process

    return start


def _weights(folder):
    state = checkpoint.load(folder / checkpoint.NEWEST)
    _, metadata = read_safetensors(folder / "model.safetensors")
    assert metadata["sha256"]  # of tensors and provenance; the order of the file's header is not fixed
    return state, (folder / "scalars.csv").read_text(), metadata


def test_kills_at_any_moment_change_no_bit(data, lives, tmp_path):
    lives(data, tmp_path / "whole").join()
    expected, scalars, model = _weights(tmp_path / "whole")
    moments, folder = random.Random(0), tmp_path / "killed"
    folder.mkdir()
    for half_written in (2, 5, RECIPE.steps):  # in the middle of a checkpoint, at last of the last one
        process = lives(data, folder, half_written)
        process.join()
        assert process.exitcode == -9
        assert (folder / "checkpoint.safetensors.part").read_bytes() == b"half a checkpoint"
        process = lives(data, folder)
        process.join(moments.uniform(0, 0.03))  # and anywhere else
        process.kill()
        process.join()
    lives(data, folder).join()
    state, lines, weights = _weights(folder)
    assert lines == scalars and weights == model
    assert {file.name for file in folder.iterdir() if "tfevents" not in file.name} == {
        "checkpoint.previous.safetensors",
        "checkpoint.safetensors",
        "model.safetensors",
        "scalars.csv",
        "training.lock",
    }
    assert state["step"] == 60
    for key, value in expected["network"].items():
        assert torch.equal(state["network"][key], value)
    for key, own in expected["optimiser"]["state"].items():
        assert all(torch.equal(state["optimiser"]["state"][key][name], value) for name, value in own.items())
