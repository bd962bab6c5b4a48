"""The worker process: reads requests from stdin, answers with events on stdout.

Two threads: one reads stdin all the time, so that `cancel` and the end of stdin are noticed while
the other, the main one, runs a segmentation. Nothing but protocol lines reaches the real stdout:
`claim_streams` moves it away before any library can print there.
"""

from __future__ import annotations

import faulthandler
import io
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from ..errors import QNetSegmentError
from ..segment import Job
from . import protocol
from .backend import Backend, Task, auto_device, check_engine, read_task
from .exchange import make_folder, remove_folder, remove_when_ended, sees, sweep_folders, write_all
from .failures import ProtocolError, typed
from .held import Held
from .pieces import Inbox, cut, files_of
from .requests import read_drawing, read_optional_box, write_result

if TYPE_CHECKING:
    from ..boxes import Box
    from ..segment import Query, Segmentation
    from ..volume import Drawing, SupportSet

    SegmentFunction = Callable[[Task, Job], Segmentation]
    PackFunction = Callable[[Drawing, Query, Job, Box | None], SupportSet]

Work = protocol.Open | protocol.Segment | protocol.Pack

END_GRACE = 0.5  # seconds that a running segmentation gets to stop after the end of stdin
CHUNK = 1 << 16


def claim_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for the protocol, and leave harmless ones in their place.

    File descriptor 1 and `sys.stdout` then lead to stderr, so that no print, not even one from C,
    breaks the protocol; file descriptor 0 is empty, so that no library reads our requests.
    """
    stdin = io.FileIO(os.dup(0), "rb")
    stdout = io.FileIO(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return stdin, stdout


def _without_patient(drawing: Drawing, volume: Query, _job: Job, _result: Box | None) -> SupportSet:
    return volume.pack(drawing)


def main(
    segment: SegmentFunction | None = None,
    check: Callable[[], str] = check_engine,
    pack: PackFunction = _without_patient,
) -> NoReturn:
    """Run the worker on this process's stdin and stdout, with the real engine unless tests have another."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the client to handle
    stdin, stdout = claim_streams()
    sweep_folders()
    if segment is None:
        backend = Backend()
        Server(stdin, stdout, backend, check, backend.pack).run()
    else:
        Server(stdin, stdout, segment, check, pack).run()
    sys.stderr.flush()
    os._exit(0)  # there is nothing to save, and taking CUDA down can take seconds


class Eta:
    """Estimates the seconds left from the pace since the present stage began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: tuple[int, str] | None = None
        self._first = (0, 0.0)

    def __call__(self, done: int, total: int, stage: str) -> float | None:
        """Seconds until `done` is `total`; None after the first report of a stage."""
        now = self._clock()
        if self._stage != (total, stage):
            self._stage = (total, stage)
            self._first = (done, now)
        first, start = self._first
        return round((now - start) / (done - first) * (total - done), 1) if done > first else None


class Server:
    """Answers requests until `shutdown` or the end of `stdin`; then the exchange folder is removed.

    A segmentation that still runs then is cancelled; when it does not stop within END_GRACE, the
    whole process exits. `segment(task, job)` finds a structure; `check()` returns torch's version, or
    raises an error that `hello` is answered with; `pack(drawing, volume, job, result)` makes a
    support set, by default without the patient.
    """

    def __init__(
        self,
        stdin: BinaryIO,
        stdout: BinaryIO,
        segment: SegmentFunction,
        check: Callable[[], str] = check_engine,
        pack: PackFunction = _without_patient,
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._segment_function = segment
        self._check = check
        self._pack_function = pack
        self._folder: Path | None = None
        self._inbox: Inbox | None = None  # where the client's disk is another one
        self._lost: dict[str, QNetSegmentError] = {}  # why files of a request did not arrive
        self._hello_id: str | None = None
        self._ready = False
        self._held = Held()
        self._requests: queue.Queue[protocol.Hello | protocol.Close | Work | None] = queue.Queue()
        self._cancels: dict[str, threading.Event] = {}  # of the requests that run or wait
        self._sending = threading.Lock()
        self._ended = threading.Event()

    def run(self) -> None:
        """The main thread's loop."""
        remove_when_ended(lambda: self._folder)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        while (request := self._requests.get()) is not None:
            if isinstance(request, protocol.Close):
                self._held.close(request.volume)
            else:
                self._deliver(self._answer(request))
        self._ended.set()
        self._remove_folder()

    # The reading thread

    def _read(self) -> None:
        for line in self._lines():
            if not self._receive(line):
                break
        for cancel in list(self._cancels.values()):
            cancel.set()
        self._requests.put(None)
        if not self._ended.wait(END_GRACE):
            self._remove_folder()
            os._exit(0)

    def _lines(self) -> Iterator[bytes]:
        buffer = protocol.LineBuffer()
        try:
            while chunk := self._stdin.read(CHUNK):
                yield from buffer.feed(chunk)
        except OSError:  # how Windows may say that the other end is gone
            pass

    def _receive(self, line: bytes) -> bool:
        """Handle one line; False after `shutdown`."""
        try:
            request = protocol.decode_request(line)
            if isinstance(request, protocol.Shutdown):
                return False
            if isinstance(request, protocol.Cancel):
                self._cancels.get(request.id, threading.Event()).set()
                return True
            if isinstance(request, protocol.Hello):
                if self._hello_id is not None:
                    raise ProtocolError("A session has one hello only.", request.id)
                self._hello_id = request.id
                self._choose_folder(Path(request.folder))
            if isinstance(request, protocol.Upload):
                self._take(request)
                return True
            if isinstance(request, Work):
                if request.id in self._cancels:
                    raise ProtocolError("A request with this id runs already.", request.id)
                if request.id == self._hello_id:
                    raise ProtocolError("This id is that of hello.", request.id)
                self._cancels[request.id] = threading.Event()
            self._requests.put(request)
        except ProtocolError as error:
            self._send(protocol.error_event(error.request_id, error))
        return True

    def _choose_folder(self, folder: Path) -> None:
        """The client's exchange folder, at once: it goes even if we end before we are ready. Or our own."""
        if sees(folder):
            self._folder = folder
            return
        try:
            self._folder = make_folder()
            self._inbox = Inbox(self._folder)
        except QNetSegmentError as error:
            assert self._hello_id is not None
            self._lost[self._hello_id] = error

    def _take(self, piece: protocol.Upload) -> None:
        """Write a piece of a file. What goes wrong is the answer to the request that names the file."""
        if self._inbox is None:
            raise ProtocolError("A file was sent that could be read from the disk.", piece.id)
        try:
            there, size = self._inbox.take(piece)
        except QNetSegmentError as error:
            self._lost.setdefault(piece.id, error)
        else:
            self._send(protocol.Progress(piece.id, there, size, "sending", None))

    # The main thread

    def _answer(self, request: protocol.Hello | Work) -> protocol.Event:
        try:
            return self._hello(request) if isinstance(request, protocol.Hello) else self._work(request)
        except BaseException as error:  # even a library's sys.exit() is an answer, not our end
            if not isinstance(error, QNetSegmentError):
                traceback.print_exc()
            return protocol.error_event(request.id, typed(error))
        finally:
            self._cancels.pop(request.id, None)
            if self._inbox is not None:
                self._inbox.forget(request.id)

    def _hello(self, request: protocol.Hello) -> protocol.Ready:
        protocol.require_version(request.version, "client")
        self._require_files(request.id)
        version = self._check()
        self._ready = True
        shared = self._inbox is None
        return protocol.Ready(request.id, protocol.VERSION, os.getpid(), version, auto_device(), shared)

    def _require_files(self, request_id: str) -> None:
        """Raise what went wrong when the files of a request were sent."""
        if (error := self._lost.pop(request_id, None)) is not None:
            raise error

    def _work(self, request: Work) -> protocol.Event:
        if self._folder is None or not self._ready:
            raise ProtocolError("A session begins with hello.", request.id)
        job = Job(self._reporter(request.id), self._cancels[request.id].is_set)
        job.check()
        self._require_files(request.id)
        if isinstance(request, protocol.Open):
            opened = self._held.open(request, self._folder)
            if job.cancelled:
                self._held.close(request.id)
            job.check()
            return opened
        if isinstance(request, protocol.Pack):
            drawing, volume = read_drawing(self._folder, request.drawing), self._held[request.drawing.volume]
            result = read_optional_box(self._folder, request.drawing.result)
            support = self._pack_function(drawing, volume, job, result)
            packed = protocol.Packed(request.id, f"{request.id}-support.npz")
            support.save(self._folder / packed.support)
            return packed
        segmentation = self._segment_function(read_task(request, self._folder, self._held), job)
        return write_result(self._folder, request, segmentation)

    def _deliver(self, answer: protocol.Event) -> None:
        """Send an answer, and before it the files that it names, unless the client sees them."""
        try:
            if self._inbox is not None and self._folder is not None and answer.id is not None:
                for piece in cut(self._folder, answer, protocol.Download):
                    self._send(piece)  # type: ignore[arg-type]
                for name in files_of(answer):
                    (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            answer = protocol.error_event(answer.id, typed(error))
        self._send(answer)

    def _reporter(self, request_id: str) -> Callable[[int, int, str], None]:
        eta = Eta()

        def report(done: int, total: int, stage: str) -> None:
            self._send(protocol.Progress(request_id, int(done), int(total), stage, eta(done, total, stage)))

        return report

    # Both threads

    def _send(self, event: protocol.Event) -> None:
        line = protocol.encode(event)
        try:
            with self._sending:
                write_all(self._stdout, line)
        except OSError:
            pass  # nobody listens any more; the end of stdin follows

    def _remove_folder(self) -> None:
        if self._folder is not None:
            remove_folder(self._folder)
