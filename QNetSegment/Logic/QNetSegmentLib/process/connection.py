"""One worker process over QProcess: its pipes, its log, its exchange folder, its end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import qt

from qnetseg.errors import QNetSegmentError
from qnetseg.worker import exchange, protocol, requests
from qnetseg.worker.failures import ProtocolError
from qnetseg.worker.pieces import Inbox, Outbox
from qnetseg.worker.process import KILL_GRACE, Tail, crash, heard_event, start_failure

from ..signals import Signal, weakly
from ..timers import Later

MOST_UNSENT = 1 << 20  # bytes that wait in QProcess; what else is to be sent is packed when there is room


class Connection:
    """A worker from its start until process and folder are gone; it never starts again.

    It must be kept until the event loop runs after `ended`, which is emitted by the QProcess that it holds.

    Nothing here blocks but `wait` and `wait_for_end`. Signals, each with this connection first:
        received(event): a message of the worker; the first one is the answer to hello.
        broke(error): once at most; it could not start, ended unasked or said something that is no message.
        log(line): a line of its stderr.
        ended: once, process and folder are gone.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        hello_id: str,
    ) -> None:
        """Make the exchange folder. Raises OutputError."""
        self.received, self.broke, self.log, self.ended = Signal(), Signal(), Signal(), Signal()
        self.folder = exchange.make_folder()
        exchange.leave_token(self.folder)
        self._outbox, self._inbox = Outbox(self.folder), Inbox(self.folder)
        self._command = [str(part) for part in command]
        self.hello_id = hello_id
        self.greeting: protocol.Ready | None = None  # the answer to hello
        self._lines, self._log_lines, self._tail = protocol.LineBuffer(), protocol.LineBuffer(), Tail()
        self._unread: deque[bytes] = deque()
        self._was_started = self._broken = self._ending = self._gone = False
        self._process = _process(environment)
        self._process.started.connect(weakly(self._on_started))
        self._process.errorOccurred.connect(weakly(self._on_error))
        self._process.finished.connect(weakly(self._on_finished))
        self._process.bytesWritten.connect(weakly(self._write))
        self._process.readyReadStandardOutput.connect(weakly(self._read))
        self._process.readyReadStandardError.connect(weakly(self._read_log))
        self._force: list[Callable[[], object]] = [self._process.terminate, self._process.kill]
        self._patience = Later(self._use_force)

    def start(self) -> None:
        """Start the process and say hello; an answer or `broke` follows, perhaps at once."""
        self._process.start(self._command[0], self._command[1:])

    @property
    def pid(self) -> int | None:
        """Process id, None when it does not run."""
        return int(self._process.processId()) or None

    @property
    def tail(self) -> str:
        """The last lines of its stderr."""
        return self._tail.text

    def send(self, request: protocol.Request) -> None:
        """Send a request, and before it its files where the worker does not see them.

        When the worker is gone, `broke` tells. Raises InputError for files that are too large to be sent.
        """
        if self._was_started and not self._ending and not self._gone:
            self._outbox.add(request)
            self._write()

    @property
    def shared(self) -> bool:
        """Whether the worker sees our disk."""
        return self.greeting is None or self.greeting.shared

    def end(self, patience: float) -> None:
        """Ask it to end; after `patience` seconds terminate it, then kill it. `ended` follows."""
        if self._ending or self._gone:
            return
        self._outbox.drop_files()
        self.send(protocol.Shutdown("end"))
        self._write(all_of_it=True)
        self._ending = True
        self._process.closeWriteChannel()
        self._patience.start(patience)

    def kill(self) -> None:
        """End it by force; `ended` follows."""
        self._ending = True
        if not self._gone:
            self._process.kill()

    def wait(self, milliseconds: int) -> None:
        """Block until there is something to read, or the time is over."""
        if self._gone:
            return
        if not self._ending:
            self._write()
            self._process.waitForReadyRead(milliseconds)
            self._read_log()
            self._read()
        else:
            self.wait_for_end(milliseconds)
        self._patience.check()

    def wait_for_end(self, milliseconds: int) -> None:
        """Block until the process has ended, or the time is over."""
        if not self._gone:
            self._process.waitForFinished(max(milliseconds, 1))

    def _on_started(self, *_: object) -> None:
        self._was_started = True
        self.send(protocol.Hello(self.hello_id, protocol.VERSION, str(self.folder)))

    def _on_error(self, *_: object) -> None:
        """Only a failed start matters here: what happens later ends in `_on_finished`."""
        if not self._was_started and not self._gone and self._process.state() == qt.QProcess.NotRunning:
            self._end(start_failure(self._command[0], self._process.errorString().rstrip(".")))

    def _on_finished(self, *_: object) -> None:
        if self._gone:
            return
        self._read_log()
        self._read()
        self._log_out(b"\n")  # a last line without an end
        self._end(crash(self._exit_code(), self.tail, self.greeting is not None, self.shared))

    def _break(self, error: QNetSegmentError) -> None:
        if not self._broken and not self._ending:
            self._broken = True
            self.broke.emit(self, error)

    def _end(self, reason: QNetSegmentError) -> None:
        self._gone = True
        self._break(reason)
        self._patience.stop()
        exchange.remove_folder(self.folder)
        self.ended.emit(self)

    def _read(self, *_: object) -> None:
        if self._gone:
            return
        self._unread += self._lines.feed(_bytes(self._process.readAllStandardOutput()))
        while self._unread and not (self._broken or self._ending):  # a slot may wait, and come here again
            try:
                event = heard_event(self._unread.popleft(), self.greeting is not None)
                if self.greeting is None:
                    self._greet(event)
                if isinstance(event, protocol.Download):
                    self._take(event)
                    continue
            except QNetSegmentError as error:
                self._read_log()
                error.details = error.details or self.tail
                self._break(error)
                return
            self.received.emit(self, event)

    def _greet(self, event: protocol.Event) -> None:
        self.greeting = requests.greeting(event, self.hello_id)
        self._outbox.inline = not self.greeting.shared
        exchange.clear_folder(self.folder)

    def _take(self, piece: protocol.Download) -> None:
        if self.shared:
            raise ProtocolError("The worker sent a file that could be read from the disk.", piece.id)
        self._inbox.take(piece)

    def _write(self, *_: object, all_of_it: bool = False) -> None:
        """Hand to QProcess what it has room for; it tells when it has more."""
        if self._ending or self._gone:
            return
        while all_of_it or self._process.bytesToWrite() < MOST_UNSENT:
            if (line := self._outbox.pop()) is None:
                return
            self._process.write(qt.QByteArray(line))

    def _read_log(self, *_: object) -> None:
        if not self._gone:
            chunk = _bytes(self._process.readAllStandardError())
            self._tail.feed(chunk)
            self._log_out(chunk)

    def _log_out(self, chunk: bytes) -> None:
        for line in self._log_lines.feed(chunk):
            self.log.emit(self, line.decode("utf-8", errors="replace").rstrip())

    def _use_force(self) -> None:
        if self._force:
            self._force.pop(0)()
            self._patience.start(KILL_GRACE)

    def _exit_code(self) -> int:
        """The exit code, negative for a signal as in `subprocess`."""
        code = int(self._process.exitCode())
        if self._process.exitStatus() == qt.QProcess.CrashExit:
            return -code if os.name == "posix" else code & 0xFFFFFFFF
        return code


def _bytes(array: qt.QByteArray) -> bytes:
    return bytes(array.data() or b"")  # old versions of PythonQt have None for an empty array


def _process(environment: Mapping[str, str]) -> qt.QProcess:
    """A QProcess with our variables added to this process's."""
    full = qt.QProcessEnvironment.systemEnvironment()
    for name, value in environment.items():
        full.insert(name, value)
    process = qt.QProcess()
    process.setProcessEnvironment(full)
    return process
