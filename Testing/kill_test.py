"""Kills segmentations a hundred times, and looks at what is left: `make kill-test`.

A client of the worker, the worker, both or their process group get SIGKILL, SIGTERM, SIGHUP, SIGQUIT or
SIGINT, at any time from the start to the end and at every change of a name. Then the next start sweeps, and:

- no file of the patient is left in the temporary folder, and no hidden file beside the results;
- every result is there, whole, of the run before or of this one, and no older than those after it;
- runs that nobody disturbs find the same voxels as before, to the last.

It is the real worker with a real, though small and untrained, network. Most processes are forked from this
one, which has loaded torch, so that a hundred take two minutes; some are the command line, which has no
worker, started as users start it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "QNetSegment" / "Logic"), str(ROOT / "Testing"), str(ROOT / "Training")]

from qnetseg.cores import let_waiting_threads_sleep  # noqa: E402

let_waiting_threads_sleep()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from qnetseg import atomic, segment  # noqa: E402, F401 - loaded once, for all processes
from qnetseg.boxes import Box  # noqa: E402
from qnetseg.cli import compute, main  # noqa: E402
from qnetseg.model.propagation import PropagationConfig, PropagationNet  # noqa: E402
from qnetseg.segment import Query, Segmentation  # noqa: E402
from qnetseg.volume import (  # noqa: E402
    LabelMap,
    SupportSet,
    Volume,
    read_labelmap,
    read_volume,
    write_labelmap,
    write_volume,
)
from qnetseg.worker import WorkerClient, exchange, process, server  # noqa: E402
from qnetseg_lab.weights.writing import save_model  # noqa: E402

SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT")
VICTIMS = ("client", "worker", "both", "group")
PATIENCE = 30.0  # seconds that a loaded machine may need until everything has ended
STARTED = 0.1  # share of the runs that are started as users start them


@contextmanager
def leaving() -> Iterator[None]:
    """A forked process ends with the block, whatever happens: what follows is its parent's work."""
    try:
        yield
    finally:
        os._exit(1)


class ForkedWorker:
    """In the place of `subprocess.Popen`: the worker of a client that was forked from this process."""

    def __init__(self, _command: list[str], *, env: dict[str, str], **_: object) -> None:
        theirs, self.stdin = _pipe()
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            with leaving():
                self._serve(theirs, out, err, env)
        for stream in (theirs, out, err):
            stream.close()
        Path(os.environ["KILLS_WORKER"]).write_text(str(self.pid))

    def _serve(self, theirs: IO, out: IO, err: IO, env: dict[str, str]) -> None:
        """Be the worker."""
        for name in SIGNALS[1:]:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        for number, stream in enumerate((theirs, out, err)):
            os.dup2(stream.fileno(), number)
        for stream in (theirs, out, err, self.stdin, self.stdout, self.stderr):
            stream.close()
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(env)
        server.main()

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _pipe() -> tuple:
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)


@dataclass
class Bed:
    """A patient, a drawing, a network, and the results of a first run."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("tmp", "results"):
            (self.folder / name).mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder / "tmp")
        os.environ["KILLS_WORKER"] = str(self.folder / "worker.pid")
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        if (child := os.fork()) == 0:  # not here: processes that are forked lack the threads it starts
            with leaving():
                self._write_inputs()
        os.waitpid(child, 0)

    def _write_inputs(self) -> None:
        array = np.random.default_rng(0).random((8, 48, 40), dtype=np.float32)
        array[2:6, 16:32, 12:28] += 2
        drawn = np.zeros(array.shape, np.int32)
        drawn[4, 16:32, 12:28] = 1
        drawn[4, 4:12, 4:12] = 2
        write_volume(self.folder / "scan.mha", Volume(array, np.diag([-1.0, -1.0, 3.0, 1.0])))
        write_labelmap(self.folder / "drawing.mha", LabelMap(drawn, np.diag([-1.0, -1.0, 3.0, 1.0]), ()))
        torch.manual_seed(0)
        save_model(self.folder / "model.safetensors", PropagationNet(PropagationConfig((8,) * 5)), {})

    @property
    def results(self) -> list[Path]:
        return [self.folder / "results" / name for name in ("out.seg.nrrd", "confidence.nrrd", "report.json")]

    @property
    def arguments(self) -> list[str]:
        out, confidence, report = map(str, self.results)
        inputs = [str(self.folder / "scan.mha"), "--mask", str(self.folder / "drawing.mha")]
        wanted = ["--output", out, "--confidence", confidence, "--report", report]
        model = ["--model", str(self.folder / "model.safetensors"), "--device", "cpu", "--threads", "1"]
        return ["segment", *inputs, *wanted, *model]

    def started(self, forked: bool = True, dies_at: int | None = None) -> int:
        """Process number of a new client; dies_at: which change of a name it does not survive."""
        Path(os.environ["KILLS_WORKER"]).unlink(missing_ok=True)
        if (client := os.fork()) == 0:
            with leaving():
                self._segment(forked, dies_at)
        return client

    def _segment(self, forked: bool, dies_at: int | None) -> None:
        """Be the client."""
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        if not forked:  # the command line
            environment = os.environ | {"PYTHONPATH": str(ROOT / "QNetSegment" / "Logic")}
            os.execve(sys.executable, [sys.executable, "-m", "qnetseg", *self.arguments], environment)
        process.subprocess.Popen = ForkedWorker  # type: ignore[misc, assignment]
        if dies_at is not None:
            _die_at(dies_at)
        with WorkerClient() as client:
            compute.engine = partial(through, client, self.folder / "scan.mha")  # type: ignore[assignment]
            code = main(self.arguments)
        os._exit(code)

    def run(self, forked: bool = True) -> float:
        """A run that nobody disturbs; its seconds."""
        began = time.monotonic()
        code = _ended(self.started(forked))
        assert code == 0, f"an undisturbed run ended with {code}"
        return time.monotonic() - began


def through(
    client: WorkerClient, path: Path, model: str, device: str, options: dict[str, Any]
) -> Callable[..., Segmentation]:
    """In the place of `compute.engine`: the command is a client of a worker."""
    scan = client.open(path)

    def find(support: SupportSet, query: Query, background: Box | None, _: object) -> Segmentation:
        settings = {"model": model, "device": device, "options": options, "confidence_of": "volume"}
        found = client.segment(support, scan, background=background, **settings)
        assert found.confidence is not None
        return Segmentation(found.mask.placed(query.shape).view(np.uint8), found.confidence, found.report)

    return find


def _die_at(step: int) -> None:
    """This process gets SIGKILL at one of the calls that change what a name leads to."""
    calls = iter(range(1_000_000))
    for name in ("replace", "link", "unlink"):

        def call(*arguments: object, real: object = getattr(os, name), **named: object) -> object:
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)  # type: ignore[operator]

        setattr(os, name, call)


def _ended(number: int) -> int:
    """Exit code of a child, which has to end in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    raise AssertionError(f"process {number} did not end")


def _wait_until_gone(number: int) -> None:
    """A worker that has lost its client ends by itself."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.005)
    raise AssertionError(f"worker {number} did not end")


def _worker_of(forked: bool) -> int | None:
    if forked:
        with suppress(OSError, ValueError):  # there is none yet
            return int(Path(os.environ["KILLS_WORKER"]).read_text())
    return None


def strike(client: int, worker: int | None, victim: str, name: str) -> None:
    """Send the signal; the worker is in its client's process group."""
    number = getattr(signal, name)
    send = os.killpg if victim == "group" else os.kill
    for one in (client if victim != "worker" else None, worker if victim in ("worker", "both") else None):
        if one is not None:
            with suppress(ProcessLookupError):
                send(one, number)


def look(bed: Bed, reference: list) -> list[str]:
    """What is wrong after the next start; reference: content of the results by an undisturbed run."""
    exchange.remove_folder(exchange.make_folder())  # as every start does
    atomic.sweep(bed.folder / "results")
    wrong = [f"left: {path.name}" for path in (bed.folder / "tmp").iterdir()]
    names = {path.name for path in (bed.folder / "results").iterdir()}
    wrong += [f"odd name: {name}" for name in names - {path.name for path in bed.results}]
    ages = []
    for path, (content, old) in zip(bed.results, reference, strict=True):
        if not path.exists():
            wrong.append(f"no {path.name}")
            continue
        found = path.read_bytes()
        ages.append(0 if found == old else 1)
        if found != old and not same(path, content):
            wrong.append(f"neither old nor new: {path.name}")
    if ages != sorted(ages, reverse=True):
        wrong.append(f"a result is older than one after it: {ages}")
    return wrong


def content_of(path: Path) -> object:
    """Voxels of an image; of a report what does not change from run to run."""
    if path.suffix == ".json":
        report = json.loads(path.read_text(encoding="utf-8"))
        for entry in report["segments"]:
            del entry["seconds"]
        return report
    return (read_labelmap if path.name.endswith(".seg.nrrd") else read_volume)(path).array


def same(path: Path, content: object) -> bool:
    """Whether a result has this content."""
    found = content_of(path)
    return np.array_equal(found, content) if isinstance(content, np.ndarray) else found == content


def make_old(bed: Bed) -> list[bytes]:
    """Put something older in the place of the results."""
    old = []
    for path in bed.results:
        old.append(f"older {path.name}".encode())
        path.write_bytes(old[-1])
    return old


def trial(
    bed: Bed, dice: random.Random, seconds: float, contents: list, step: int | None
) -> tuple[str, list]:
    """One run and its end; what was done, and what is wrong."""
    old = make_old(bed)
    if step is not None:
        done = f"killed at change {step} of a name"
        _ended(bed.started(dies_at=step))
        worker = _worker_of(True)
    else:
        forked = dice.random() >= STARTED
        victim, name = dice.choice(VICTIMS), dice.choice(SIGNALS)
        client = bed.started(forked)
        time.sleep(dice.uniform(0.0, 1.1) * (seconds if forked else 5 * seconds))
        worker = _worker_of(forked)
        strike(client, worker, victim, name)
        done = f"{name} to {victim}"
        _ended(client)
        worker = worker or _worker_of(forked)
    if worker is not None:
        _wait_until_gone(worker)
    return done, look(bed, list(zip(contents, old, strict=True)))


def run_all(count: int, seed: int) -> int:
    """All trials; how many went wrong."""
    dice, tally, failures = random.Random(seed), Counter(), 0
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        bed = Bed(Path(folder))
        seconds = min(bed.run(), bed.run())
        contents = [content_of(path) for path in bed.results]
        steps = iter(range(1000))
        for number in range(count):
            step = next(steps) if number % 3 == 0 else None
            done, wrong = trial(bed, dice, seconds, contents, step)
            if not wrong and number % 20 == 19:
                bed.run()
                wrong = [
                    f"other content after all: {path.name}"
                    for path, content in zip(bed.results, contents, strict=True)
                    if not same(path, content)
                ]
            tally[done.split(" at change")[0]] += 1
            if wrong:
                failures += 1
                print(f"{number}: {done}: {'; '.join(wrong)}", flush=True)
    for done, times in sorted(tally.items()):
        print(f"{times:4d}  {done}")
    print(f"{count} runs ended, {failures} of them badly")
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sys.exit(1 if run_all(chosen.count, chosen.seed) else 0)
