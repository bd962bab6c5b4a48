"""Many cases in parallel processes, with every finished one kept on disk."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError, OutputError, WorkerError

Unit = tuple[str, ...]
Work = Callable[[Unit], dict[str, Any]]
Report = Callable[[str], None]


class State:
    """Finished units in a `.part.jsonl` file: a line that describes the run, then a line for each unit.

    Attributes:
        path: the file; None keeps nothing.
        done: unit -> what its work gave.
    """

    def __init__(self, path: Path | None, run: dict[str, Any]) -> None:
        """Read what an earlier, identical run has left; what another run has left is dropped."""
        self.path, self._run = path, json.loads(json.dumps(run))
        self.done: dict[Unit, dict[str, Any]] = {}
        if path is not None and path.is_file():
            lines = list(_whole_lines(path))
            if lines and lines[0] == self._run:
                self.done = {tuple(line["unit"]): line["result"] for line in lines[1:]}
        if path is not None and not self.done:
            self._write("w", self._run)

    def add(self, unit: Unit, result: dict[str, Any]) -> None:
        """Keep what a unit gave. Raises `OutputError`."""
        if self.path is not None:
            self._write("a", {"unit": list(unit), "result": result})
        self.done[unit] = result

    def finish(self) -> None:
        """The result file is written: the parts can go."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _write(self, mode: str, content: dict[str, Any]) -> None:
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A line that was cut off when the machine went down must not swallow the next one.
            torn = mode == "a" and not self.path.read_bytes().endswith(b"\n")
            with open(self.path, mode, encoding="utf-8") as file:
                file.write("\n" * torn + json.dumps(content) + "\n")
        except OSError as error:
            raise OutputError(
                f"The file {self.path} cannot be written ({error.strerror}).",
                "Choose another folder or free some space.",
            ) from error


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def sweep(
    units: Sequence[Unit], work: Work, state: State, jobs: int = 1, report: Report = lambda line: None
) -> list[dict[str, Any]]:
    """Do the work of every unit that is not done yet, each result kept as soon as it is there.

    Args:
        units: names of the pieces of work.
        work: picklable; called with a unit, gives a JSON-able result.
        state: what is done.
        jobs: processes; with 1 the work is done in this one.
        report: receives a line for each finished unit.

    Returns:
        The results in the order of the units.

    Raises:
        Cancelled: the user pressed Ctrl+C.
        WorkerError: a process was killed.
    """
    if jobs < 1:
        raise InputError("The number of processes must be at least 1.", "Use --jobs 1 or more.")
    left = [unit for unit in units if unit not in state.done]
    if len(left) < len(units):
        report(f"{len(units) - len(left)} of {len(units)} are there from before")
    kept = f"the finished cases are kept in {state.path}" if state.path else "nothing was kept"
    try:
        for unit, result in _results(left, work, min(jobs, max(len(left), 1))):
            state.add(unit, result)
            report(f"{' -> '.join(unit)} done, {len(state.done)} of {len(units)}")
    except KeyboardInterrupt:
        raise Cancelled(f"Cancelled; {kept}.", "The same command goes on from there.") from None
    except BrokenProcessPool as error:
        raise WorkerError(
            f"A process of the evaluation was killed, perhaps for its memory; {kept}.",
            "Call the same command again with fewer --jobs.",
        ) from error
    return [state.done[unit] for unit in units]


def _results(left: Sequence[Unit], work: Work, jobs: int) -> Iterator[tuple[Unit, dict[str, Any]]]:
    if jobs == 1:
        for unit in left:
            yield unit, work(unit)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_use_threads, initargs=(threads,))
    try:
        waiting: dict[Future[dict[str, Any]], Unit] = {pool.submit(work, unit): unit for unit in left}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _use_threads(count: int) -> None:
    """Share the cores among the processes; called before the work brings in torch, which then looks here."""
    os.environ["OMP_NUM_THREADS"] = str(count)
