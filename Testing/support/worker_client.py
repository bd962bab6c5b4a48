"""A client of the worker process in Python, in the place of Slicer's, which needs Qt.

with WorkerClient() as client:
    scan = client.open("scan.nii.gz")
    found = [client.segment(drawing, scan) for drawing in drawings]
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qnetseg.errors import Cancelled, why
from qnetseg.worker import exchange, protocol, requests
from qnetseg.worker.failures import ProtocolError, WorkerFailure
from qnetseg.worker.process import KILL_GRACE, Tail, crash, python_paths, running, start_failure, too_slow
from qnetseg.worker.source import Source

if TYPE_CHECKING:
    from qnetseg.boxes import Box
    from qnetseg.segment import Job, SegmentOptions
    from qnetseg.segment.result import Found
    from qnetseg.volume import Drawing, SupportSet, Volume

_Request = TypeVar("_Request", bound=protocol.Request)
_Answer = TypeVar("_Answer")

CHUNK = 1 << 16
POLL = 0.05  # seconds between two looks at `cancel`


class WorkerClient:
    """Runs segmentations in a worker process, one at a time, from one thread.

    The process is started on demand, and again after it crashed. Use it as a context manager, or
    call `close`; a worker whose client vanishes ends by itself.

    `command` defaults to this Python with `qnetseg.worker`, `env` to this process's environment.
    `grace` is the time in seconds that a cancelled or closed worker gets before it is terminated,
    `start_timeout` the time to start: importing torch from a cold disk is slow.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        *,
        grace: float = 5.0,
        start_timeout: float = 180.0,
    ) -> None:
        self._command = list(command) if command is not None else default_command()
        self._env = env
        self._grace = grace
        self._start_timeout = start_timeout
        self._process: WorkerProcess | None = None
        self._ids = map(str, itertools.count(1))

    def __enter__(self) -> WorkerClient:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None when there is none."""
        return self._process.pid if self._process else None

    @property
    def folder(self) -> Path | None:
        """The exchange folder, None when there is no worker."""
        return self._process.folder if self._process else None

    def start(self, cancel: Callable[[], bool] | None = None) -> None:
        """Start the worker unless a healthy one runs; seconds pass, in which `cancel` is asked.

        Raises WorkerError: it cannot be started, lacks a working torch, or speaks another version;
        and Cancelled.
        """
        if self._process and self._process.alive and self._process.folder.is_dir():
            return
        self.close()
        self._process = WorkerProcess(self._command, self._env)
        hello = protocol.Hello(next(self._ids), protocol.VERSION, str(self._process.folder))
        try:
            self._process.send(hello)
            deadline = time.monotonic() + self._start_timeout
            answer = self._await(self._process, hello.id, None, cancel, deadline)
            if answer is None:
                raise too_slow(self._process.tail)
            requests.greeting(answer, hello.id)
        except BaseException:
            self._end(0.0)
            raise

    def open(
        self,
        volume: Volume | str | os.PathLike[str],
        *,
        series: str | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> protocol.Opened:
        """Let the worker read or take a volume, prepare it once and hold it; `id` of the answer names it.

        `series` chooses one of a DICOM folder. Raises what `read_volume` raises, and as `segment`.
        """
        request = partial(requests.open_volume, source=Source.of(volume, series))
        return self._ask(request, requests.read_opened, cancel=cancel)

    def release(self, opened: protocol.Opened) -> None:
        """Let the worker forget a volume. Harmless when it has."""
        if self._process is not None:
            self._process.send(protocol.Close(next(self._ids), opened.id))

    def pack(self, drawing: Drawing, opened: protocol.Opened) -> SupportSet:
        """What was drawn on an open volume, with its image. Raises as `segment`."""
        request = partial(requests.pack, drawing=drawing, volume=opened.id)
        return self._ask(request, requests.read_support)

    def segment(
        self,
        example: SupportSet | Drawing,
        query: protocol.Opened,
        drawn_on: protocol.Opened | None = None,
        *,
        model: str | os.PathLike[str] | None = None,
        options: SegmentOptions | Mapping[str, Any] | None = None,
        device: str = "auto",
        background: Box | None = None,
        confidence_of: str = "none",
        job: Job | None = None,
        timeout: float | None = None,
    ) -> Found:
        """Segment an open volume after an example; a drawing was made on `drawn_on`, the query if None.

        `model` is a file or a name of the catalogue, None for the default one. A `device` other than
        "auto" goes before the one in `options`. `background`: see `segment_volume`. `confidence_of`: one of
        `qnetseg.worker.fields.CONFIDENCE`. The `job` is told of the progress and asked about twenty times a
        second, both in the calling thread.

        Raises Cancelled; NotOpen for a volume that the worker does not hold any more; WorkerError, with
        the worker's log in `.details`, when the worker crashed or took longer than `timeout` seconds; and
        whatever error the engine raised. The next call works after any of them.
        """
        request = partial(
            requests.segment,
            query=query.id,
            example=example,
            volume=None if drawn_on is None else drawn_on.id,
            model=model,
            options=options,
            device=device,
            background=background,
            confidence_of=confidence_of,
        )

        def tell(event: protocol.Progress) -> None:
            if job is not None:
                job.tell(event.done, event.total, event.stage)

        cancel = None if job is None else job.cancel
        return self._ask(request, requests.read_found, tell, cancel, timeout)

    def _ask(
        self,
        make: Callable[[Path, str], _Request],
        read: Callable[[Path, _Request, protocol.Event], _Answer],
        progress: Callable[[protocol.Progress], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        timeout: float | None = None,
    ) -> _Answer:
        """Send a request, wait for its answer, read this, and leave nothing in the exchange folder."""
        self.start(cancel)
        process = self._process
        assert process is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            request = make(process.folder, next(self._ids))
            process.send(request)
            try:
                answer = self._await(process, request.id, progress, cancel, deadline)
            except WorkerFailure:
                self._end(0.0)
                raise
            except BaseException:  # Cancelled, a failing callback, Ctrl-C: the worker must not run on
                self._stop(process, request.id)
                raise
            if answer is None:
                self._stop(process, request.id)
                raise too_slow(process.tail)
            return read(process.folder, request, answer)
        finally:
            exchange.clear_folder(process.folder)

    def close(self) -> None:
        """End the worker, whatever it does, and remove its folder. Harmless when repeated."""
        self._end(self._grace)

    def _end(self, patience: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(patience)

    def _await(
        self,
        process: WorkerProcess,
        request_id: str,
        progress: Callable[[protocol.Progress], None] | None,
        cancel: Callable[[], bool] | None,
        deadline: float | None,
    ) -> protocol.Event | None:
        """The event that ends the request; None after the deadline. Raises Cancelled, WorkerFailure."""
        while deadline is None or time.monotonic() < deadline:
            event = process.receive(POLL)
            if isinstance(event, protocol.Progress):
                if progress is not None:
                    progress(event)
            elif event is not None and event.id in (request_id, None):
                return event
            if cancel is not None and cancel():
                raise Cancelled("The segmentation was cancelled.")
        return None

    def _stop(self, process: WorkerProcess, request_id: str) -> None:
        """Cancel; a worker that does not confirm within the grace is ended by force."""
        process.send(protocol.Cancel(request_id))
        try:
            answer = self._await(process, request_id, None, None, time.monotonic() + self._grace)
        except WorkerFailure:
            answer = None
        if answer is None:
            self._end(0.0)


class WorkerProcess:
    """A running worker and everything that must go when it ends.

    Two threads drain its stdout (into events) and stderr (into `tail`), so that it never blocks.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start it. Raises WorkerError when the command cannot be run, OutputError without a folder."""
        self.folder = exchange.make_folder()
        try:
            self._popen = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(env),
                bufsize=0,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            exchange.remove_folder(self.folder)
            raise start_failure(command[0], why(error)) from error
        self._events: queue.Queue[protocol.Event | ProtocolError | None] = queue.Queue()
        self._log = Tail()
        self._drains = [
            threading.Thread(target=drain, name=f"worker {name}", daemon=True)
            for name, drain in (("stdout", self._read_events), ("stderr", self._read_log))
        ]
        for thread in self._drains:
            thread.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def tail(self) -> str:
        """The last lines that the worker wrote to stderr."""
        return self._log.text

    def send(self, request: protocol.Request) -> None:
        """Send a request; when the worker is gone, `receive` tells."""
        line = protocol.encode(request)
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # ValueError: we closed it
            exchange.write_all(self._popen.stdin, line)

    def receive(self, timeout: float) -> protocol.Event | None:
        """The next event, None when there was none within `timeout` seconds.

        Raises WorkerFailure when the worker ended, or wrote something that is not the protocol.
        """
        try:
            event = self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None
        if isinstance(event, ProtocolError):
            event.details = self.tail
            raise event
        if event is None:
            self._events.put(None)  # it stays ended
            raise self._crash()
        return event

    def end(self, patience: float) -> None:
        """Ask it to end, wait `patience` seconds, terminate, kill; then remove the folder."""
        self.send(protocol.Shutdown("end"))
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        if not self._ended_within(patience):
            self._popen.terminate()
            if not self._ended_within(KILL_GRACE):
                self._popen.kill()
                self._popen.wait()
        self._join()
        exchange.remove_folder(self.folder)

    def _crash(self) -> WorkerFailure:
        if not self._ended_within(KILL_GRACE):  # it closed stdout and stays
            self._popen.kill()
            self._popen.wait()
        self._join()
        return crash(self._popen.returncode, self.tail)

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _join(self) -> None:
        """Let the drains reach the end; a grandchild may hold the pipes open, hence not for ever."""
        for thread in self._drains:
            thread.join(KILL_GRACE)

    def _read_events(self) -> None:
        stream = self._popen.stdout
        assert stream is not None
        buffer = protocol.LineBuffer()
        with stream:
            while chunk := stream.read(CHUNK):
                for line in buffer.feed(chunk):
                    try:
                        self._events.put(protocol.decode_event(line))
                    except ProtocolError as error:
                        self._events.put(error)
        self._events.put(None)

    def _read_log(self) -> None:
        stream = self._popen.stderr
        assert stream is not None
        with stream:
            while chunk := stream.read(CHUNK):
                self._log.feed(chunk)


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    full = dict(os.environ if env is None else env)
    return {**full, **python_paths(full.get("PYTHONPATH"))}


def default_command() -> list[str]:
    """Runs the worker with this Python."""
    return [sys.executable, *running("qnetseg.worker")]
