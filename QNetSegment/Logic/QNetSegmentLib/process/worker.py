"""The engine's process as the application sees it: one warm worker that holds volumes, one task at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from qnetseg.errors import QNetSegmentError, WorkerError
from qnetseg.worker import exchange, protocol, requests
from qnetseg.worker.failures import NotOpen, typed
from qnetseg.worker.process import split_command, too_slow
from qnetseg.worker.source import Source

from ..signals import Signal
from ..timers import Later
from .connection import Connection
from .python import chosen_command, worker_command, worker_environment
from .task import Held, Task, cancelled, emit

if TYPE_CHECKING:
    from qnetseg.boxes import Box
    from qnetseg.volume import Drawing, SupportSet

POLL_MS = 50
END_MS, KILL_MS = 800, 200  # what `shutdown` waits: the worker's own 0.5 s and some, then for the kill


class Worker:
    """Runs segmentations in a worker process without ever blocking the application.

    A volume is opened when a task first needs it, held for the next ones, and opened again where it is gone.
    The process starts on demand, stays warm, and ends `idle_s` seconds after the last task, which frees the
    GPU. While there is work or a process, the application keeps the worker, and shuts it down when it quits.

    Signals, emitted from the event loop (or from `wait` and `shutdown`), never inside of another call:
        ready(Ready): the process was started and has a working torch.
        progress(token, Progress)
        finished(token, answer), failed(token, error): exactly one of them ends every task. A start that
            fails without a task is failed("", error).
        log(text): a line of the process's log.
        stopped(): a process that was ready is gone, for whatever reason.

    `command` runs the worker, by default the one that the user has set, or else Slicer's own Python;
    `environment` adds variables to this process's. `grace_s` is what a cancelled or idle worker gets to stop
    before it is terminated, and `start_timeout_s` what it gets to start: torch on a cold disk is slow.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        idle_s: float = 600.0,
        grace_s: float = 5.0,
        start_timeout_s: float = 180.0,
    ) -> None:
        self.ready, self.progress, self.finished = Signal(), Signal(), Signal()
        self.failed, self.log, self.stopped = Signal(), Signal(), Signal()
        self._command, self._environment = command, environment
        self._idle_s, self._grace_s, self._start_timeout_s = idle_s, grace_s, start_timeout_s
        self._ids = map(str, itertools.count(1))
        self._connection: Connection | None = None
        self._leaving: list[Connection] = []  # those that still end
        self._task: Task | None = None
        self._start_wanted = False
        self._held = Held()  # of the present connection
        self._unanswered = ""  # id of an open request that was cancelled and goes on
        self._gone: list[Connection] = []
        self._soon = Later(self._advance)
        self._kept = False  # by the application, which shuts it down when it quits
        self._forget = Later(self._let_go)
        self._start_limit = Later(self._start_too_slow)
        self._cancel_limit = Later(self._cancel_ignored)
        self._idle_limit = Later(self._idle_over)

    @property
    def busy(self) -> bool:
        """Whether a task was submitted and has not ended."""
        return self._task is not None

    @property
    def pid(self) -> int | None:
        """Process id, None when there is no process."""
        return self._connection.pid if self._connection else None

    @property
    def device(self) -> str | None:
        """What the device "auto" means, e.g. "cuda"; None while no process is ready."""
        return self._greeting.device if self._greeting else None

    @property
    def _greeting(self) -> protocol.Ready | None:
        return self._connection.greeting if self._connection else None

    @property
    def folder(self) -> Path | None:
        """The exchange folder, None when there is no process."""
        return self._connection.folder if self._connection else None

    def start(self) -> None:
        """Warm up: `ready` follows (also from a process that is ready already), or failed("", error)."""
        self._keep(True)
        self._start_wanted = True
        self._soon.start(0)

    def open(self, source: Source) -> str:
        """Let the worker read a volume; its answer is an `Opened` of the protocol. See `segment`."""
        return self._submit([source])

    def segment(
        self, example: SupportSet | Drawing, query: Source, drawn_on: Source | None = None, **how: Any
    ) -> str:
        """Segment a volume after an example; the token that its signals carry. Its answer is a `Found`.

        drawn_on: the volume of the example, None for the query or where it is not at hand. how: the named
        arguments of `requests.segment`. Raises WorkerError while another task runs.
        """

        def make(folder: Path, number: str, volumes: Sequence[str]) -> protocol.Request:
            return requests.segment(folder, number, volumes[0], example, volumes[-1], **how)

        return self._submit([query, drawn_on or query], make, requests.read_found)

    def pack(self, drawing: Drawing, drawn_on: Source, result: Box | None = None) -> str:
        """Let the worker join a drawing with its patient, see `with_patient`; it answers a `SupportSet`."""

        def make(folder: Path, number: str, volumes: Sequence[str]) -> protocol.Request:
            return requests.pack(folder, number, drawing, volumes[0], result)

        return self._submit([drawn_on], make, requests.read_support)

    def release(self, source: Source) -> None:
        """The volume is not needed any more. Harmless when it is not open."""
        self._close(self._held.released(source))

    def _submit(self, sources: Sequence[Source], make: Any = None, read: Any = requests.read_opened) -> str:
        if self._task is not None:
            raise WorkerError(_("A segmentation is running already."), _("Wait until it ends, or cancel it."))
        self._keep(True)
        self._idle_limit.stop()
        self._task = Task(next(self._ids), sources, make, read)
        self._soon.start(0)
        return self._task.token

    def cancel(self, token: str) -> None:
        """Stop the task: failed(token, Cancelled) follows, by force after `grace_s`. Harmless afterwards.

        What is being opened is not waited for: reading a file cannot be broken off.
        """
        task = self._task
        if task is None or task.token != token or task.cancelled:
            return
        task.cancelled = True
        if task.sent is None or self._connection is None:
            self._soon.start(0)
            return
        self._connection.send(protocol.Cancel(task.sent.id))
        self._cancel_limit.start(self._grace_s)
        if task.opening is not None:
            self._unanswered = task.sent.id
            self._soon.start(0)

    def wait(self, token: str, timeout_s: float | None = None) -> bool:
        """Block until the task has ended, for scripts; its signals are emitted meanwhile, no others of Qt.

        The token "" waits for the end of `start`. False when `timeout_s` seconds were not enough; the task
        then goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._start_wanted if not token else (self._task is not None and self._task.token == token):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self._turn()
        return True

    def shutdown(self) -> None:
        """End the process within a second, whatever it does, and remove its folder; idempotent.

        A running task is cancelled. The next `submit` would start a new process.
        """
        for alarm in (self._soon, self._start_limit, self._cancel_limit, self._idle_limit):
            alarm.stop()
        self._start_wanted = False
        if self._task is not None:
            self._end_task(self.failed, cancelled())
        self._drop(self._grace_s)
        leaving = list(self._leaving)
        deadline = time.monotonic() + END_MS / 1000
        for connection in leaving:
            connection.wait_for_end(int((deadline - time.monotonic()) * 1000))
        for connection in leaving:
            connection.kill()
            connection.wait_for_end(KILL_MS)
            exchange.remove_folder(connection.folder)

    def _let_go(self) -> None:
        """From the event loop, when no process emits: release what has ended, and the worker itself."""
        self._gone.clear()
        if not (self._task or self._start_wanted or self._connection or self._leaving):
            self._keep(False)

    def _keep(self, keep: bool) -> None:
        if keep != self._kept:
            self._kept = keep
            quitting = slicer.app.aboutToQuit
            (quitting.connect if keep else quitting.disconnect)(self.shutdown)

    def _advance(self) -> None:
        """Do what can be done now for the task, or for a wanted start."""
        task = self._task
        if task and task.cancelled and (task.sent is None or task.opening is not None):
            self._end_task(self.failed, cancelled())
            task = None
        connection = self._connection
        if self._greeting and connection and not connection.folder.is_dir():
            self._drop(0.0)  # programs that clean up take the folders of idle ones
        if self._start_wanted and self._greeting:
            self._start_wanted = False
            emit(self.ready, self._greeting)
        if not task and not self._start_wanted:
            return
        if self._connection is None:
            self._open()
        elif self._greeting and task and task is self._task and task.sent is None:
            self._send_next(task, self._connection)

    def _open(self) -> None:
        if not self._start_limit.pending:
            self._start_limit.start(self._start_timeout_s)
        if self._leaving:  # two processes would share the GPU's memory; the end of this one calls us again
            return
        try:
            environment = worker_environment() if self._environment is None else self._environment
            chosen = split_command(text) if (text := chosen_command()) else worker_command()
            connection = Connection(self._command or chosen, environment, next(self._ids))
        except QNetSegmentError as error:
            self._start_failed(error)
            return
        connection.received.connect(self._received)
        connection.broke.connect(self._broke)
        connection.ended.connect(self._ended)
        connection.log.connect(lambda _source, line: emit(self.log, line))
        self._connection = connection
        connection.start()

    def _send_next(self, task: Task, connection: Connection) -> None:
        """The next volume that is not open; when all are, the request itself."""
        number = next(self._ids)
        try:
            task.sent = task.next_request(connection.folder, number, self._held, connection.shared)
            if task.sent is not None:
                connection.send(task.sent)
        except Exception as error:
            self._end_task(self.failed, typed(error))
            return
        if task.sent is None:
            self._end_task(self.finished, self._held.used(task.sources[0]))

    def _close(self, volumes: Sequence[str]) -> None:
        for volume in volumes:
            if self._connection is not None:
                self._connection.send(protocol.Close(next(self._ids), volume))

    def _received(self, connection: Connection, event: protocol.Event) -> None:
        if connection is not self._connection:
            return
        if isinstance(event, protocol.Ready) and event.id == connection.hello_id:
            self._greeted(event)
            return
        task = self._task
        if event.id == self._unanswered:
            self._unanswered = ""
            self._cancel_limit.stop()
        if task is None or task.sent is None or event.id not in (task.sent.id, None):
            if isinstance(event, protocol.Opened):  # late news of a task that has ended
                self._close([event.id])
            return
        if isinstance(event, protocol.Progress):
            if not task.cancelled:
                emit(self.progress, task.token, event)
        elif task.cancelled:
            self._end_task(self.failed, cancelled())
        else:
            self._answered(task, connection, event)

    def _greeted(self, event: protocol.Ready) -> None:
        self._start_limit.stop()
        self._start_wanted = False
        self._idle_limit.start(self._idle_s)  # which spares a busy worker
        emit(self.ready, event)
        self._advance()

    def _answered(self, task: Task, connection: Connection, event: protocol.Event) -> None:
        try:
            if task.opening is not None:
                opened = requests.read_opened(connection.folder, task.sent, event)
                self._close(self._held.added(task.opening, opened, task.sources))
                self._send_next(task, connection)
                return
            answer = task.read(connection.folder, task.sent, event)
        except NotOpen as error:
            if task.reopened:
                self._end_task(self.failed, error)
                return
            self._held.clear()
            task.reopened = True
            self._send_next(task, connection)
        except Exception as error:
            self._end_task(self.failed, typed(error))
        else:
            self._end_task(self.finished, answer)

    def _end_task(self, signal: Signal, payload: object) -> None:
        """The one place where tasks end."""
        task, self._task = self._task, None
        assert task is not None
        if not self._unanswered:
            self._cancel_limit.stop()
        if self._connection is None:
            if not self._start_wanted:
                self._start_limit.stop()
        else:
            exchange.clear_folder(self._connection.folder)
            if self._greeting is not None:
                self._idle_limit.start(self._idle_s)
        self._forget.start(0)
        emit(signal, task.token, payload)

    def _start_failed(self, error: QNetSegmentError) -> None:
        self._start_limit.stop()
        self._start_wanted = False
        self._drop(0.0)
        self._forget.start(0)
        if self._task is None:
            emit(self.failed, "", error)
        else:
            self._end_task(self.failed, cancelled() if self._task.cancelled else error)

    def _start_too_slow(self) -> None:
        self._start_failed(too_slow(self._connection.tail if self._connection else ""))

    def _cancel_ignored(self) -> None:
        task = self._task
        if self._unanswered or (task is not None and task.cancelled):
            self._drop(0.0)
            if task is not None and task.cancelled:
                self._end_task(self.failed, cancelled())
            elif task is not None:
                task.sent = None  # it goes to the next process, which `_ended` starts

    def _idle_over(self) -> None:
        if self._task is None:
            self._drop(self._grace_s)

    def _drop(self, patience: float) -> None:
        """Let the process go; `_ended` follows. It is no longer ours from now on."""
        connection, self._connection = self._connection, None
        self._held.clear()
        self._unanswered = ""
        self._idle_limit.stop()
        if connection is not None:
            self._leaving.append(connection)
            connection.end(patience)

    def _broke(self, connection: Connection, error: QNetSegmentError) -> None:
        if connection is not self._connection:
            return
        if self._greeting is None:
            self._start_failed(error)
            return
        self._drop(0.0)
        if self._task is not None and self._task.sent is not None:
            self._end_task(self.failed, cancelled() if self._task.cancelled else error)
        # A task that was not sent yet goes to the next process, which `_ended` starts.

    def _ended(self, connection: Connection) -> None:
        self._leaving = [other for other in self._leaving if other is not connection]
        self._gone.append(connection)
        self._forget.start(0)
        if connection.greeting is not None:
            emit(self.stopped)
        if self._task is not None or self._start_wanted:
            self._soon.start(0)

    def _turn(self) -> None:
        """What the event loop would do, for `wait`."""
        self._soon.stop()
        self._advance()
        if connections := [*filter(None, [self._connection]), *self._leaving]:
            connections[0].wait(POLL_MS)
        for alarm in (self._start_limit, self._cancel_limit):
            alarm.check()
