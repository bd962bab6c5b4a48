"""Engines of batches for tests, which other processes can import: bright voxels, and a log of each run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

from support import fake_engine as fakes


def bright_engine(plan):
    """Finds what is bright, after $SLOW seconds, and writes study and process into the file $RUNS."""

    def segment(examples, query):
        name = query.grid.name
        note("begin", name)
        time.sleep(float(os.environ.get("SLOW", "0")))
        note("found", name)
        task = SimpleNamespace(support=examples[0].support, query=query, model="fake", device="cpu")
        return fakes.segmentation_of(task, seconds=0.1)

    return segment


def deadly_engine(plan):
    """The process ends at the study $DEADLY, the first time or always; else like `bright_engine`."""
    segment = bright_engine(plan)

    def perhaps(examples, query):
        if query.grid.name == os.environ["DEADLY"]:
            note("begin", query.grid.name)
            if os.environ.get("ALWAYS") or not Path(os.environ["RUNS"] + ".died").exists():
                Path(os.environ["RUNS"] + ".died").touch()
                os.kill(os.getpid(), 9)
        return segment(examples, query)

    return perhaps


def note(what: str, study: str) -> None:
    """A line, whole also where several processes write."""
    number = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(number, f"{what} {study} {os.getpid()}\n".encode())
    os.close(number)


def noted(path: Path, what: str) -> list[str]:
    """Names of the studies in the log, in its order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1] for line in lines if line.split()[0] == what]
