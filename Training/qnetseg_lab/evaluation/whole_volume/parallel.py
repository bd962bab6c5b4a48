"""Many pieces of work in parallel processes, every finished one kept on disk.

A new process imports this file before anything else, and it imports nothing heavy: torch must find the number
of threads when it is loaded.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, TypeVar

from qnetseg.errors import Cancelled, InputError, WorkerError

if TYPE_CHECKING:
    from ..results import RowLog

Unit = dict[str, str]  # names of one piece of work, as rows name it: {"query": ...}
T = TypeVar("T")  # JSON-able
Work = Callable[[Unit], T]
Report = Callable[[str], None]


def work_through(
    units: Sequence[Unit], work: Work[T], log: RowLog[T], jobs: int = 1, report: Report = lambda line: None
) -> list[T]:
    """Do the work of every unit that is not done yet, each result kept as soon as it is there.

    Args:
        units: the pieces of work.
        work: picklable; called with a unit, gives a JSON-able result.
        log: what is done.
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
    left = [unit for unit in units if log.get(unit) is None]
    done = len(units) - len(left)
    if done:
        report(f"{done} of {len(units)} are there from before")
    saved = f"the finished cases are kept in {log.path}" if log.path else "nothing was kept"
    try:
        for count, (unit, result) in enumerate(_results(left, work, min(jobs, max(len(left), 1))), done + 1):
            log.add(unit, result)
            report(f"{' -> '.join(unit.values())} done, {count} of {len(units)}")
    except KeyboardInterrupt:
        raise Cancelled(f"Cancelled; {saved}.", "The same command goes on from there.") from None
    except BrokenProcessPool as error:
        raise WorkerError(
            f"A process of the evaluation was killed, perhaps for its memory; {saved}.",
            "Call the same command again with fewer --jobs.",
        ) from error
    return [kept for unit in units if (kept := log.get(unit)) is not None]


def _results(left: Sequence[Unit], work: Work[T], jobs: int) -> Iterator[tuple[Unit, T]]:
    if jobs == 1:
        for unit in left:
            yield unit, work(unit)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_use_threads, initargs=(threads,))
    try:
        waiting: dict[Future[T], Unit] = {pool.submit(work, unit): unit for unit in left}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _use_threads(count: int) -> None:
    """Share the cores among the processes; called before the work brings in torch, which then looks here."""
    os.environ["OMP_NUM_THREADS"] = str(count)
