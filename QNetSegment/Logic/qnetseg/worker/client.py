"""The Python client of the worker process: segmentations in a process that may crash, or be stopped.

It holds one warm worker, which keeps torch, the last model and the open volumes. Imports no torch.

    with WorkerClient() as client:
        scan = client.open("scan.nii.gz")
        found = [client.segment(drawing, scan) for drawing in drawings]
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Cancelled
from . import exchange, protocol, requests
from .failures import WorkerFailure
from .process import WorkerProcess, default_command, too_slow
from .source import Source

if TYPE_CHECKING:
    from ..boxes import Box
    from ..segment import Job, SegmentOptions
    from ..segment.result import Found
    from ..volume import Drawing, SupportSet, Volume

_Request = TypeVar("_Request", bound=protocol.Request)
_Answer = TypeVar("_Answer")

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
            self._process.greet(requests.greeting(answer, hello.id))
            exchange.clear_folder(self._process.folder)
        except BaseException:
            self._end(0.0)
            raise

    def open(
        self,
        volume: Volume | str | os.PathLike[str],
        *,
        series: str | None = None,
        job: Job | None = None,
    ) -> protocol.Opened:
        """Let the worker read or take a volume, prepare it once and hold it; `id` of the answer names it.

        `series` chooses one of a DICOM folder. The `job` is told how many bytes have been sent, where both
        sides share no disk. Raises what `read_volume` raises, and as `segment`.
        """

        def request(folder: Path, number: str) -> protocol.Open:
            assert self._process is not None
            return requests.open_volume(folder, number, Source.of(volume, series), self._process.shared)

        return self._ask(request, requests.read_opened, job)

    def release(self, opened: protocol.Opened) -> None:
        """Let the worker forget a volume. Harmless when it has."""
        if self._process is not None:
            self._process.send(protocol.Close(next(self._ids), opened.id))

    def pack(self, drawing: Drawing, opened: protocol.Opened, result: Box | None = None) -> SupportSet:
        """What was drawn on an open volume, with its image and the patient. Raises as `segment`.

        `result`, on the volume's own grid: see `qnetseg.segment.with_patient`.
        """
        request = partial(requests.pack, drawing=drawing, volume=opened.id, result=result)
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
        further: Sequence[SupportSet] = (),
        result: Box | None = None,
        job: Job | None = None,
        timeout: float | None = None,
    ) -> Found:
        """Segment an open volume after an example; a drawing was made on `drawn_on`, the query if None.

        `model` is a file or a name of the catalogue, None for the default one. A `device` other than
        "auto" goes before the one in `options`. `background`, `further`, and `result` on the own grid of
        `drawn_on`: see `segment_volume`. `confidence_of`: one of `qnetseg.worker.fields.CONFIDENCE`. The
        `job` is told of the progress and asked about twenty times a second, both in the calling thread.

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
            further=further,
            result=result,
        )
        return self._ask(request, requests.read_found, job, timeout)

    def _ask(
        self,
        make: Callable[[Path, str], _Request],
        read: Callable[[Path, _Request, protocol.Event], _Answer],
        job: Job | None = None,
        timeout: float | None = None,
    ) -> _Answer:
        """Send a request, wait for its answer, read this, and leave nothing in the exchange folder."""
        cancel = None if job is None else job.cancel
        self.start(cancel)
        process = self._process
        assert process is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            request = make(process.folder, next(self._ids))
            process.send(request)
            try:
                answer = self._await(process, request.id, job, cancel, deadline)
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
        job: Job | None,
        cancel: Callable[[], bool] | None,
        deadline: float | None,
    ) -> protocol.Event | None:
        """The event that ends the request; None after the deadline. Raises Cancelled, WorkerFailure."""
        while deadline is None or time.monotonic() < deadline:
            event = process.receive(POLL)
            if isinstance(event, protocol.Progress):
                if job is not None:
                    job.tell(event.done, event.total, event.stage)
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
