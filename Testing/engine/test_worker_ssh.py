"""A worker over a real ssh on the loopback: results, and every way in which it can fail."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time

import numpy as np
import pytest

from qnetseg.segment import Job
from qnetseg.volume import read_labelmap, read_volume
from qnetseg.worker.client import WorkerClient
from qnetseg.worker.failures import ProtocolError, WorkerFailure
from qnetseg.worker.protocol import FOLDER_PREFIX
from support.cli_bed import Bed
from support.random_models import random_models
from support.ssh_bed import running_sshd
from support.worker_bed import FAKE, PATIENCE, sample

__all__ = ["random_models", "running_sshd"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="an sshd of POSIX")
QNETSEG = [sys.executable, "-m", "qnetseg", "worker"]
OLDER = """
from qnetseg.worker import protocol
protocol.VERSION = 5
from qnetseg.worker.server import main
main()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of our own; neither side leaves an exchange folder in it."""
    folder = tmp_path / "exchange"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield tmp_path
    deadline = time.monotonic() + PATIENCE
    while (left := list(folder.glob(f"{FOLDER_PREFIX}*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


@pytest.mark.parametrize("far", [True, False], ids=["another disk", "the same disk"])
def test_a_result_over_ssh_is_the_local_one(sshd, temporary, far):
    support, volume = sample()
    with WorkerClient(sshd.worker(FAKE, far)) as client, WorkerClient(FAKE) as near:
        found, expected = (
            one.segment(support, one.open(volume), device="cpu", confidence_of="volume")
            for one in (client, near)
        )
        assert client._process.shared is not far
    assert np.array_equal(found.mask.placed(volume.shape), expected.mask.placed(volume.shape))
    assert np.array_equal(found.confidence, expected.confidence)


def test_the_command_line_over_ssh(sshd, temporary, random_models):
    bed = Bed(temporary)
    how = ("--model", random_models["volume"], "--device", "cpu", "--threads", "1", "--confidence")
    files = [(bed.results / f"{name}.seg.nrrd", bed.results / f"{name}.nrrd") for name in ("here", "there")]
    assert bed.segment(*how, files[0][1], output=files[0][0]) == 0
    over_ssh = shlex.join(sshd.worker(QNETSEG))
    assert bed.segment(*how, files[1][1], "--worker", over_ssh, output=files[1][0]) == 0
    here, there = ((read_labelmap(mask).array, read_volume(sure).array) for mask, sure in files)
    assert np.array_equal(here[0], there[0]) and np.array_equal(here[1], there[1])


def lost(client, end):
    """What a client says when the connection ends while the worker is busy."""
    support, volume = sample()
    query = client.open(volume)
    with pytest.raises(WorkerFailure, match="connection to the worker was lost") as caught:
        client.segment(support, query, options={"do": "hang"}, device="cpu", job=Job(lambda *_: end()))
    assert client.segment(support, client.open(volume), device="cpu").mask.count, "the next call works"
    return caught.value


def test_ssh_is_killed(sshd, temporary):
    with WorkerClient(sshd.worker(FAKE)) as client:
        assert "SIGKILL" in lost(client, lambda: os.kill(client.pid, signal.SIGKILL)).message


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="finds the server's processes as Linux lists them"
)
def test_the_other_machine_goes_away(sshd, temporary):
    def cut():
        for pid in children(sshd.popen.pid):
            os.kill(pid, signal.SIGKILL)

    with WorkerClient(sshd.worker(FAKE)) as client:
        error = lost(client, cut)
    said = "closed|reset|Broken pipe"  # by ssh, as it was reading, or writing, when the other end went away
    assert re.search(f"exit code 255: .*({said})", error.message), error.message


def children(pid):
    """Processes that a process has started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as stat:
                if int(stat.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
        except OSError:
            pass
    return found


FAILURES = {
    "no host": (lambda sshd: sshd.command("true", port=1), WorkerFailure, "Connection refused"),
    "no key": (lambda sshd: sshd.command("true", key="stranger"), WorkerFailure, "Permission denied"),
    "no program": (lambda sshd: sshd.command("absent-qnetseg worker"), WorkerFailure, "not found"),
    "a name": (
        lambda sshd: ["ssh", "-F", "none", "-o", "BatchMode=yes", "no-such-host.invalid", "x"],
        WorkerFailure,
        "resolve",
    ),
    "a banner": (
        lambda sshd: sshd.command("echo Welcome to gpu-box; cat"),
        ProtocolError,
        '"Welcome to gpu-box"',
    ),
    "another version": (
        lambda sshd: sshd.worker([sys.executable, "-c", OLDER], far=False),
        ProtocolError,
        "version 6 of the worker protocol, not 5",
    ),
    "not ours": (
        lambda sshd: sshd.worker([sys.executable, "-m", "absent_module"], False),
        WorkerFailure,
        "absent_module",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_worker_that_does_not_start_is_a_sentence(sshd, temporary, case):
    command, kind, words = FAILURES[case]
    with pytest.raises(kind) as caught:
        WorkerClient(command(sshd), grace=0.2).start()
    assert words in caught.value.message and caught.value.advice and "\n" not in str(caught.value)
