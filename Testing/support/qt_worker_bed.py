"""What tests of the worker over QProcess share: Qt on stand-ins, an event loop, what a worker said."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STANDINS = Path(__file__).resolve().parents[1] / "standins"
if str(STANDINS) not in sys.path:  # in a process that pytest did not start
    sys.path.insert(0, str(STANDINS))

from slicer_session import session  # noqa: E402

BED = session()

import qt  # noqa: E402

from qnetseg.worker.protocol import FOLDER_PREFIX  # noqa: E402
from qnetseg.worker.source import Source  # noqa: E402
from QNetSegmentLib.process import python  # noqa: E402
from QNetSegmentLib.process.worker import Worker  # noqa: E402
from support.worker_bed import PATIENCE, sample  # noqa: E402

SUPPORT, VOLUME = sample()
SOURCE = Source.of(VOLUME)

__all__ = [
    "SOURCE",
    "SUPPORT",
    "VOLUME",
    "Heard",
    "Worker",
    "is_gone",
    "python",
    "run_events",
    "submit",
    "temporary_folder",
    "wait_until",
    "watched_folder",
]


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Run the event loop until the condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    loop, timer = qt.QEventLoop(), qt.QTimer()
    timer.timeout.connect(lambda: (condition() or time.monotonic() > deadline) and loop.quit())
    timer.start(5)
    if not condition():
        loop.exec()
    timer.stop()
    assert condition(), "the condition was not met in time"


@contextlib.contextmanager
def watched_folder(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """A temporary folder of our own, with a blank and an umlaut; no exchange folder may stay in it."""
    folder = tmp_path / "a folder with ü"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.glob(f"{FOLDER_PREFIX}*")) == []


@pytest.fixture(name="temporary")
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`watched_folder` for a test file that imports it; under another name, so that no argument hides it."""
    with watched_folder(tmp_path, monkeypatch) as folder:
        yield folder


def run_events(turns: int = 20) -> None:
    """Let the event loop do what is due, to see that nothing more comes."""
    for _ in range(turns):
        qt.QCoreApplication.processEvents()


class Heard:
    """Records every signal of a worker as (name, arguments)."""

    NAMES = ("ready", "progress", "finished", "failed", "log", "stopped")

    def __init__(self, worker: Any) -> None:
        self.all: list[tuple[str, tuple[Any, ...]]] = []
        for name in self.NAMES:
            getattr(worker, name).connect(lambda *arguments, name=name: self.all.append((name, arguments)))

    def __getitem__(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for heard, arguments in self.all if heard == name]

    def ends(self, token: str) -> list[Any]:
        """Results and errors of a job; a sound worker has sent one."""
        return [
            arguments[1]
            for name, arguments in self.all
            if name in ("finished", "failed") and arguments[0] == token
        ]

    def end(self, token: str) -> Any:
        """The end of a job, waited for; it is the only one also after a while."""
        wait_until(lambda: self.ends(token))
        run_events()
        (end,) = self.ends(token)
        return end


def submit(worker: Any, do: str = "answer", **arguments: Any) -> str:
    """Submit the sample to a worker of support/fake_worker.py."""
    options = {"do": do, **arguments.pop("options", {})}
    how = {"confidence_of": "volume", **arguments}
    return worker.segment(SUPPORT, SOURCE, options=options, device="cpu", **how)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
