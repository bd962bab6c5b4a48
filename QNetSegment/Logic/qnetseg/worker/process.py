"""How a worker process is run, and what is said of one that failed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ..errors import WorkerError
from .failures import WorkerFailure

TAIL_BYTES = 16 << 10
KILL_GRACE = 1.0  # seconds between terminate and kill


class Tail:
    """The last TAIL_BYTES of a log."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._bytes += chunk
        del self._bytes[:-TAIL_BYTES]

    @property
    def text(self) -> str:
        return bytes(self._bytes).decode("utf-8", errors="replace")


def start_failure(program: str, why: str) -> WorkerError:
    """The worker's command could not be run."""
    return WorkerError(
        f'The worker process "{program}" could not be started: {why}.', "Check the Python that runs it."
    )


def crash(code: int, tail: str) -> WorkerFailure:
    """The worker ended by itself; `code` is its exit code, or the negative number of a signal."""
    reason = _reason(code)
    advice = "Start again; if it happens again, report it together with the details."
    if reason == "signal SIGKILL":
        advice = "It was killed, often because memory ran out: close other programs and start again."
    return WorkerFailure(f"The worker process ended unexpectedly ({reason}).", advice, tail)


def too_slow(tail: str) -> WorkerFailure:
    """The worker did not answer in time."""
    return WorkerFailure("The worker process took longer than it was given.", "Allow more time.", tail)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def python_paths(inherited: str | None) -> dict[str, str]:
    """Variables with which the worker finds this very qnetseg and nothing in the working folder.

    `inherited`: the PYTHONPATH that it would have without them.
    """
    package_root = str(Path(__file__).resolve().parents[2])
    named = [part for part in (inherited or "").split(os.pathsep) if part]  # empty: the working folder
    return {"PYTHONPATH": os.pathsep.join([package_root, *named]), "PYTHONSAFEPATH": "1"}


def running(module: str) -> list[str]:
    """Python's arguments to run a module as -m does, but with nothing from the working folder.

    Python 3.10 knows neither -P nor PYTHONSAFEPATH.
    """
    return [
        "-c",
        "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
        f"runpy.run_module('{module}', run_name='__main__', alter_sys=True)",
    ]
