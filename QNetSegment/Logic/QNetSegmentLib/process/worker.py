"""The engine's process as the application sees it: one warm worker, one segmentation at a time."""

from __future__ import annotations

import itertools
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from qnetseg.errors import Cancelled, OutputError, QNetSegmentError, WorkerError
from qnetseg.worker import exchange, protocol
from qnetseg.worker.jobs import read_answer, write_request
from qnetseg.worker.process import too_slow

from ..signals import Signal
from .alarm import Alarm, AtQuit
from .connection import Connection
from .job import Job
from .python import worker_command, worker_environment

if TYPE_CHECKING:
    import numpy as np

    from qnetseg.volume import SupportSet, Volume

POLL_MS = 50
END_MS, KILL_MS = 800, 200  # what `shutdown` waits: the worker's own 0.5 s and some, then for the kill


class Worker:
    """Runs segmentations in a worker process without ever blocking the application.

    The process starts on demand, stays warm between segmentations, and ends `idle_s` seconds after the last
    one, which frees the GPU. It is started again after a crash. While there is work or a process, the
    application keeps the worker, and shuts it down when it quits; then it is let go.

    Signals, emitted from the event loop (or from `wait` and `shutdown`), never inside of another call:
        ready(Ready): the process was started and has a working torch.
        progress(token, Progress)
        finished(token, Segmentation), failed(token, error): exactly one of them ends every job. A start that
            fails without a job is failed("", error).
        log(text): a line of the process's log.
        stopped(): a process that was ready is gone, for whatever reason.

    `command` runs the worker and `environment` adds variables to this process's; both default to Slicer's own
    Python. `grace_s` is what a cancelled or idle worker gets to stop before it is terminated, and
    `start_timeout_s` what it gets to start: importing torch from a cold disk is slow.
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
        self._hello_id = ""
        self._greeting: protocol.Ready | None = None  # of the present connection
        self._leaving: list[tuple[Connection, bool]] = []  # those that still end, and whether they were ready
        self._job: Job | None = None
        self._start_wanted = False
        self._shared: tuple[Volume, str] | None = None  # a query whose file lies in the exchange folder
        self._gone: list[Connection] = []
        self._soon = Alarm(self._advance)
        self._at_quit = AtQuit(self.shutdown)
        self._forget = Alarm(self._let_go)
        self._start_limit = Alarm(self._start_too_slow)
        self._cancel_limit = Alarm(self._cancel_ignored)
        self._idle_limit = Alarm(self._idle_over)

    @property
    def busy(self) -> bool:
        """Whether a job was submitted and has not ended."""
        return self._job is not None

    @property
    def pid(self) -> int | None:
        """Process id, None when there is no process."""
        return self._connection.pid if self._connection else None

    @property
    def device(self) -> str | None:
        """What the device "auto" means, e.g. "cuda"; None while no process is ready."""
        return self._greeting.device if self._greeting else None

    @property
    def folder(self) -> Path | None:
        """The exchange folder, None when there is no process."""
        return self._connection.folder if self._connection else None

    def start(self) -> None:
        """Warm up: `ready` follows (also from a process that is ready already), or failed("", error)."""
        self._at_quit.start()
        self._start_wanted = True
        self._soon.start(0)

    def submit(
        self,
        support: SupportSet,
        query: Volume,
        *,
        model: str | os.PathLike[str] | None = None,
        options: Mapping[str, Any] | None = None,
        device: str = "auto",
        last: bool = True,
        background: np.ndarray | None = None,
        drawn_on: Volume | None = None,
    ) -> str:
        """Segment `query` after the example of `support`; the token that its signals carry.

        `model` is a file or a name of the catalogue, None for the default one; a `device` other than "auto"
        goes before the one in `options`, which are those of `SegmentOptions`. With last=False the query's
        file stays for the next job of the same Volume object. `background`, (k, j, i) on the query's grid, is
        not 0 where something else is known to be; `drawn_on` is the volume that was drawn on, where that is
        another patient's. Raises WorkerError while another job runs.
        """
        if self._job is not None:
            raise WorkerError(_("A segmentation is running already."), _("Wait for its end, or cancel it."))
        self._at_quit.start()
        self._idle_limit.stop()
        self._job = Job(next(self._ids), support, query, model, options, device, last, background, drawn_on)
        self._soon.start(0)
        return self._job.token

    def cancel(self, token: str) -> None:
        """Stop the job: failed(token, Cancelled) follows, by force after `grace_s`. Harmless afterwards."""
        job = self._job
        if job is None or job.token != token or job.cancelled:
            return
        job.cancelled = True
        if job.request is None or self._connection is None:
            self._soon.start(0)
        else:
            self._connection.send(protocol.Cancel(token))
            self._cancel_limit.start(self._grace_s)

    def wait(self, token: str, timeout_s: float | None = None) -> bool:
        """Block until the job has ended, for scripts; its signals are emitted meanwhile, no others of Qt.

        The token "" waits for the end of `start`. False when `timeout_s` seconds were not enough; the job
        then goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._start_wanted if not token else (self._job is not None and self._job.token == token):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self._turn()
        return True

    def shutdown(self) -> None:
        """End the process within a second, whatever it does, and remove its folder; idempotent.

        A running job is cancelled. The next `submit` would start a new process.
        """
        for alarm in (self._soon, self._start_limit, self._cancel_limit, self._idle_limit):
            alarm.stop()
        self._start_wanted = False
        if self._job is not None:
            self._end_job(self.failed, _cancelled())
        self._drop(self._grace_s)
        leaving = [connection for connection, _ready in self._leaving]
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
        if not (self._job or self._start_wanted or self._connection or self._leaving):
            self._at_quit.stop()

    def _advance(self) -> None:
        """Do what can be done now for the job, or for a wanted start."""
        job = self._job
        if job and job.cancelled and job.request is None:
            self._end_job(self.failed, _cancelled())
            job = None
        if self._start_wanted and self._greeting and self._usable():
            self._start_wanted = False
            self._emit(self.ready, self._greeting)
        if not job and not self._start_wanted:
            return
        if self._greeting and not self._usable():
            self._drop(0.0)
        if self._connection is None:
            self._open()
        elif self._greeting and job and job is self._job and job.request is None:
            self._send(job, self._connection)

    def _usable(self) -> bool:
        """Whether the exchange folder is still there: programs that clean up take idle ones."""
        return self._connection is not None and self._connection.folder.is_dir()

    def _open(self) -> None:
        if not self._start_limit.pending:
            self._start_limit.start(self._start_timeout_s)
        if self._leaving:  # two processes would share the GPU's memory; the end of this one calls us again
            return
        try:
            connection = Connection(self._command or worker_command(), self._variables())
        except OutputError as error:
            self._start_failed(error)
            return
        connection.started.connect(self._greet)
        connection.received.connect(self._received)
        connection.broke.connect(self._broke)
        connection.ended.connect(self._ended)
        connection.log.connect(lambda _source, line: self._emit(self.log, line))
        self._connection = connection
        connection.start()

    def _variables(self) -> Mapping[str, str]:
        return worker_environment() if self._environment is None else self._environment

    def _greet(self, connection: Connection) -> None:
        self._hello_id = next(self._ids)
        connection.send(protocol.Hello(self._hello_id, protocol.VERSION, str(connection.folder)))

    def _send(self, job: Job, connection: Connection) -> None:
        shared = self._shared[1] if self._shared and self._shared[0] is job.query else None
        if shared is None or not (connection.folder / shared).is_file():
            self._shared = shared = None
            exchange.clear_folder(connection.folder)
        try:
            job.request = write_request(
                connection.folder,
                job.token,
                job.support,
                job.query,
                model=job.model,
                options=job.options,
                device=job.device,
                query_file=shared,
                background=job.background,
                drawn_on=job.drawn_on,
            )
        except Exception as error:
            self._end_job(self.failed, _typed(error))
            return
        self._shared = (job.query, job.request.query)
        connection.send(job.request)

    def _received(self, connection: Connection, event: protocol.Event) -> None:
        if connection is not self._connection:
            return
        if self._greeting is None:
            self._greeted(event)
            return
        job = self._job
        if job is None or job.request is None or event.id not in (job.token, None):
            return  # late news of a job that has ended
        if isinstance(event, protocol.Progress):
            if not job.cancelled:
                self._emit(self.progress, job.token, event)
        elif job.cancelled:
            self._end_job(self.failed, _cancelled())
        else:
            self._answered(job, connection, event)

    def _greeted(self, event: protocol.Event) -> None:
        try:
            if isinstance(event, protocol.Error):
                raise protocol.exception_of(event)
            if not isinstance(event, protocol.Ready) or event.id != self._hello_id:
                raise protocol.ProtocolError("The worker did not answer hello with ready.")
            protocol.require_version(event.version, "worker")
        except QNetSegmentError as error:
            self._start_failed(error)
            return
        self._start_limit.stop()
        self._greeting = event
        self._start_wanted = False
        if self._job is None:
            self._idle_limit.start(self._idle_s)
        self._emit(self.ready, event)
        self._advance()

    def _answered(self, job: Job, connection: Connection, event: protocol.Event) -> None:
        try:
            segmentation = read_answer(connection.folder, event, job.query.shape)
        except Exception as error:
            self._end_job(self.failed, _typed(error))
        else:
            self._end_job(self.finished, segmentation)

    def _end_job(self, signal: Signal, payload: object) -> None:
        """The one place where jobs end."""
        job, self._job = self._job, None
        assert job is not None
        self._cancel_limit.stop()
        if self._connection is None:
            if not self._start_wanted:
                self._start_limit.stop()
        else:
            keep = self._shared is not None and signal is self.finished and not job.last
            self._shared = self._shared if keep else None
            exchange.clear_folder(self._connection.folder, keep=self._shared[1] if self._shared else None)
            if self._greeting is not None:
                self._idle_limit.start(self._idle_s)
        self._forget.start(0)
        self._emit(signal, job.token, payload)

    def _start_failed(self, error: QNetSegmentError) -> None:
        self._start_limit.stop()
        self._start_wanted = False
        self._drop(0.0)
        self._forget.start(0)
        if self._job is None:
            self._emit(self.failed, "", error)
        else:
            self._end_job(self.failed, _cancelled() if self._job.cancelled else error)

    def _start_too_slow(self) -> None:
        self._start_failed(too_slow(self._connection.tail if self._connection else ""))

    def _cancel_ignored(self) -> None:
        if self._job is not None and self._job.cancelled:
            self._drop(0.0)
            self._end_job(self.failed, _cancelled())

    def _idle_over(self) -> None:
        if self._job is None:
            self._drop(self._grace_s)

    def _drop(self, patience: float) -> None:
        """Let the process go; `_ended` follows. It is no longer ours from now on."""
        connection, self._connection = self._connection, None
        greeting, self._greeting = self._greeting, None
        self._shared = None
        self._idle_limit.stop()
        if connection is not None:
            self._leaving.append((connection, greeting is not None))
            connection.end(patience)

    def _broke(self, connection: Connection, error: QNetSegmentError) -> None:
        if connection is not self._connection:
            return
        if self._greeting is None:
            self._start_failed(error)
            return
        self._drop(0.0)
        if self._job is not None and self._job.request is not None:
            self._end_job(self.failed, _cancelled() if self._job.cancelled else error)
        # A job that was not sent yet goes to the next process, which `_ended` starts.

    def _ended(self, connection: Connection) -> None:
        was_ready = any(ready for other, ready in self._leaving if other is connection)
        self._leaving = [entry for entry in self._leaving if entry[0] is not connection]
        self._gone.append(connection)
        self._forget.start(0)
        if was_ready:
            self._emit(self.stopped)
        if self._job is not None or self._start_wanted:
            self._soon.start(0)

    def _turn(self) -> None:
        """What the event loop would do, for `wait`."""
        self._soon.stop()
        self._advance()
        for connection in [self._connection, *(connection for connection, _ready in self._leaving)]:
            if connection is not None:
                connection.wait(POLL_MS)
                break
        for alarm in (self._start_limit, self._cancel_limit):
            alarm.check()

    def _emit(self, signal: Signal, *arguments: object) -> None:
        """A slot that raises is reported like Qt does, and harms neither us nor the other events."""
        try:
            signal.emit(*arguments)
        except Exception:
            traceback.print_exc()


def _cancelled() -> Cancelled:
    return Cancelled(_("The segmentation was cancelled."))


def _typed(error: Exception) -> QNetSegmentError:
    return error if isinstance(error, QNetSegmentError) else protocol.internal_error(error)
