"""Checkpoints: the same to the bit, checked, with one before them; and one run in a folder at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import torch

from qnetseg.errors import TrainingError, WeightsError
from qnetseg_lab.training import Trainer, checkpoint
from qnetseg_lab.training.checkpoint import NEWEST, PREVIOUS, Checkpoints
from qnetseg_lab.training.lock import FolderLock
from support import train_bed
from support.worker_bed import LAB, LOGIC


def state(step):
    wide = torch.arange(120.0).reshape(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    return {
        "network": {"layer.weight": wide + step, "count": torch.tensor(7)},
        "optimiser": {
            "state": {0: {"momentum_buffer": wide * 2, "none": None}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "nesterov": False, "params": [0]}],
        },
        "step": step,
        "empty": [{}, (), []],
    }


def same(one, other):
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.stride() == other.stride()
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(map(same, one, other)) and len(one) == len(other)
    return one == other and type(one) is type(other)


def test_a_state_comes_back_as_it_was(tmp_path):
    checkpoints, lines = Checkpoints(tmp_path), []
    assert checkpoints.read(lines.append) is None
    for step in (1, 2, 3):
        checkpoints.write(state(step))
    assert same(Checkpoints(tmp_path).read(lines.append), state(3))
    assert same(checkpoint.load(tmp_path / PREVIOUS), state(2))
    assert lines == [] and {file.name for file in tmp_path.iterdir()} == {NEWEST, PREVIOUS}


def test_the_one_before_is_used_and_kept_where_the_newest_is_damaged_or_gone(tmp_path):
    checkpoints, newest = Checkpoints(tmp_path), tmp_path / NEWEST
    checkpoints.write(state(1))
    checkpoints.write(state(2))
    content = newest.read_bytes()
    for damaged in (content[:-10], content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], b"", None):
        newest.unlink(missing_ok=True)
        if damaged is not None:
            newest.write_bytes(damaged)
        lines, again = [], Checkpoints(tmp_path)
        assert again.read(lines.append)["step"] == 1
        (line,) = lines
        assert NEWEST in line and line.endswith("The checkpoint before it is used.")
    newest.write_bytes(b"")
    again = Checkpoints(tmp_path)
    again.read(lambda line: None)
    again.write(state(3))  # never puts the damaged one in the place of the last good one
    assert [checkpoint.load(tmp_path / name)["step"] for name in (NEWEST, PREVIOUS)] == [3, 1]
    for name in (NEWEST, PREVIOUS):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match="damaged"):
        Checkpoints(tmp_path).read(print)


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / NEWEST
    for other in ([1], 5, None):
        checkpoint.save(other, path)
        with pytest.raises(WeightsError):
            checkpoint.load(path)
    checkpoint.save(state(1), path)
    good = path.read_bytes()
    unnoticed = []
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            if not same(checkpoint.load(path), state(1)):
                unnoticed.append(place)
        except WeightsError:
            pass
    assert unnoticed == []


def test_a_pickle_of_an_older_version_is_not_opened(tmp_path, monkeypatch):
    torch.save({"step": 1}, tmp_path / "checkpoint.pt")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(WeightsError, match="a pickle of an older version"):
        Checkpoints(tmp_path).read(print)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"step": 1},
        {"recipe": "x"},
        {"recipe": "{}", "step": -1},
        {"recipe": "{}", "step": 1e9},
    ],
)
def test_a_checkpoint_of_other_content_is_refused(tmp_path, content):
    checkpoint.save(content, tmp_path / NEWEST)
    with pytest.raises(WeightsError):
        Trainer(train_bed.RECIPE, tmp_path, torch.device("cpu"), print)


HOLD = """
import sys, pathlib
from qnetseg_lab.training.lock import FolderLock
lock = FolderLock(pathlib.Path(sys.argv[1]), print)
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other_process(tmp_path):
    """A process that holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(LOGIC), str(LAB)])},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_two_trainings_in_one_folder_are_refused_and_a_dead_one_is_forgotten(tmp_path, other_process):
    with pytest.raises(
        TrainingError, match=rf"Another training runs in .* \(process {other_process.pid} on "
    ):
        Trainer(train_bed.RECIPE, tmp_path, torch.device("cpu"), print)
    other_process.kill()
    other_process.wait()
    lock = FolderLock(tmp_path, pytest.fail)
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()


def test_where_the_file_system_knows_no_locks_a_run_goes_on_and_says_so(tmp_path, monkeypatch):
    def unsupported(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("qnetseg_lab.training.lock._lock", unsupported)
    lines = []
    FolderLock(tmp_path, lines.append).acquire()
    assert lines == [f"Two runs in {tmp_path} would not be noticed: No locks available."]
