"""Studies in processes of this machine: one that is killed is replaced, and its study is run again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from typing import Any

from .plan import Plan
from .run_study import Ended, Endings, Runner
from .studies import Study, StudyState

TRIES = 2  # of a study whose process ends in the middle of it: the second time it is the study's fault
PATIENCE = 5.0  # seconds that a process is given to end
KILLED = (
    "The process ended twice in the middle of this study, perhaps because memory ran out. "
    "Use fewer jobs, or crop the volume."
)


def run_in_processes(plan: Plan, studies: Sequence[Study], jobs: int) -> Endings:
    """Run the studies in so many processes; yields the index of each that has ended, and how.

    Closing the generator ends the processes, whose unfinished studies leave no file.
    """
    waiting = deque((index, 1) for index in range(len(studies)))
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_Worker(plan))
                workers[-1].begin(*waiting.popleft(), studies)
            for ready in connection.wait([worker.answers for worker in workers]):
                worker = next(one for one in workers if one.answers is ready)
                ended = worker.ended()
                if ended is not None:
                    yield worker.index, ended
                elif worker.tries < TRIES:
                    waiting.appendleft((worker.index, worker.tries + 1))
                else:
                    yield worker.index, Ended(StudyState.FAILED, KILLED)
                if ended is not None and waiting:
                    worker.begin(*waiting.popleft(), studies)
                else:
                    worker.stop()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that runs one study after the other."""

    def __init__(self, plan: Plan) -> None:
        context = get_context("spawn")  # a fork of a process with threads may hang
        self.answers, theirs = context.Pipe()
        self.index, self.tries = -1, 0
        self._process = context.Process(target=_serve, args=(theirs, plan), daemon=True)
        with deaf_to_the_terminal():
            self._process.start()
        theirs.close()  # or its end would not be heard here

    def begin(self, index: int, tries: int, studies: Sequence[Study]) -> None:
        """Give it a study; tries: how often it was begun, with this time."""
        self.index, self.tries = index, tries
        with suppress(OSError):  # it is gone already, as `ended` will tell
            self.answers.send(studies[index])

    def ended(self) -> Ended | None:
        """How its study ended; None where the process did."""
        try:
            answer: Ended = self.answers.recv()
        except (EOFError, OSError):
            return None
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.answers.close()


@contextmanager
def deaf_to_the_terminal() -> Iterator[None]:
    """Processes and threads started within it do not hear Ctrl-C: who started them decides what to do."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(tasks: Any, plan: Plan) -> None:
    """Run what comes, until the process that sends it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run = Runner(plan)
    with suppress(EOFError, OSError):
        while True:
            tasks.send(run(tasks.recv()))


def _end_with_parent() -> None:
    """A batch that was killed must not go on in secret: called again, it would run the same study."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
