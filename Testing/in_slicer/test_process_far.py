"""A worker over QProcess that shares no disk with Slicer, as on another machine."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import slicer

from qnetseg import errors
from qnetseg.volume import Drawing, Volume, read_volume, write_volume
from qnetseg.worker.failures import WorkerFailure
from qnetseg.worker.source import Source
from QNetSegmentLib.process import connection as connection_module
from support.qt_worker_bed import (
    SOURCE,
    SUPPORT,
    VOLUME,
    Heard,
    Worker,
    is_gone,
    python,
    submit,
    temporary_folder,
    wait_until,
)
from support.worker_bed import FAKE

__all__ = ["temporary_folder"]

FAR = [sys.executable, str(Path(__file__).parents[1] / "support" / "far_worker.py")]
SLOW = [*FAR, "--bytes-per-second", "200000"]


@pytest.fixture
def worker(temporary):
    worker = Worker([*FAR, *FAKE], grace_s=5.0)
    yield worker
    worker.shutdown()
    wait_until(lambda: not list(temporary.glob("qnetseg-worker-*")))


def noise(mebibytes):
    shape = (mebibytes * 16, 256, 128)
    array = np.random.default_rng(0).integers(0, 4000, shape).astype(np.int16)
    return Source.of(Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), "noise"))


def test_results_are_those_of_a_worker_beside_us(worker, temporary):
    heard = Heard(worker)
    found = heard.end(submit(worker))
    near = Worker(FAKE)
    expected = Heard(near).end(submit(near))
    near.shutdown()
    assert np.array_equal(found.mask.placed(VOLUME.shape), expected.mask.placed(VOLUME.shape))
    assert np.array_equal(found.confidence, expected.confidence)
    assert {news.stage for _, news in heard["progress"]} == {"sending", "slices"}
    drawing = Drawing.of_mask(VOLUME.array > 2.5, VOLUME.shape, name="box")
    assert heard.end(worker.pack(drawing, SOURCE)).volume_id == SUPPORT.volume_id
    assert list(worker.folder.iterdir()) == []


def test_files_are_read_in_slicer(worker, temporary):
    path = temporary / "scan.nii.gz"
    write_volume(path, VOLUME)
    opened = Heard(worker).end(worker.open(Source.of(path)))
    assert opened.name == "scan" and opened.shape == read_volume(path).shape
    absent = Heard(worker).end(worker.open(Source.of(temporary / "absent.nii.gz")))
    assert isinstance(absent, errors.VolumeError)


def test_a_large_volume_neither_blocks_nor_fills_memory(worker, monkeypatch):
    """It is packed piece by piece, as QProcess gets rid of them."""
    source, waiting = noise(4), []
    send = connection_module.Connection._write

    def write(self, *arguments, **named):
        send(self, *arguments, **named)
        waiting.append(self._process.bytesToWrite())

    monkeypatch.setattr(connection_module.Connection, "_write", write)
    opened = Heard(worker).end(worker.open(source))
    assert opened.shape == source.array.shape
    assert max(waiting) < connection_module.MOST_UNSENT + (400 << 10)
    assert worker.wait(worker.open(noise(2)), 60.0), "also without an event loop"


def test_a_volume_that_is_being_sent_can_be_cancelled(temporary):
    worker = Worker([*SLOW, *FAKE], grace_s=0.2)
    heard = Heard(worker)
    token = worker.open(noise(4))
    wait_until(lambda: heard["progress"])
    begin = time.monotonic()
    worker.cancel(token)
    assert isinstance(heard.end(token), errors.Cancelled) and time.monotonic() - begin < 5.0
    worker.shutdown()
    wait_until(lambda: not list(temporary.glob("qnetseg-worker-*")))


def test_a_connection_that_is_lost_is_a_sentence_and_the_next_call_works(worker):
    heard = Heard(worker)
    token = submit(worker, "hang")
    wait_until(lambda: any(news.stage == "slices" for _, news in heard["progress"]))
    os.kill(worker.pid, signal.SIGKILL)
    end = heard.end(token)
    assert isinstance(end, WorkerFailure) and "connection to the worker was lost" in end.message
    assert heard.end(submit(worker)).mask.count


def test_the_command_of_the_user_runs_the_worker(temporary):
    settings = slicer.app.userSettings()
    try:
        python.choose_command(f"  {shlex.join([*FAR, *FAKE])} ")
        assert settings.value(python.SETTING) == shlex.join([*FAR, *FAKE]) == python.chosen_command()
        worker = Worker()
        heard = Heard(worker)
        assert heard.end(submit(worker)).mask.count and heard["ready"][0][0].shared is False
        pid = worker.pid
        worker.shutdown()
        assert is_gone(pid)
        with pytest.raises(errors.InputError):
            python.choose_command("ssh 'gpu-box")
        settings.setValue(python.SETTING, "ssh 'gpu-box")  # by hand
        odd = Worker()
        assert isinstance(Heard(odd).end(submit(odd)), errors.InputError)
    finally:
        python.choose_command("")
    assert python.chosen_command() == ""
    wait_until(lambda: not list(temporary.glob("qnetseg-worker-*")))
