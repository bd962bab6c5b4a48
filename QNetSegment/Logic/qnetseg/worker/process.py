"""One worker process seen from the client: its pipes, its log, its exchange folder, its end."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError, QNetSegmentError, WorkerError, why
from . import exchange, protocol
from .failures import ProtocolError, WorkerFailure
from .pieces import Inbox, Outbox

TAIL_BYTES = 16 << 10
KILL_GRACE = 1.0  # seconds between terminate and kill
CHUNK = 1 << 16
NOT_THERE = (
    126,
    127,
    255,
)  # exit codes of a shell that cannot run a program, and of an ssh without a connection


class WorkerProcess:
    """A running worker and everything that must go when it ends.

    Two threads drain its stdout (into events) and stderr (into `tail`), so that it never blocks; a third one
    writes to its stdin, so that we never do, however slow the line is.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start it. Raises WorkerError when the command cannot be run, OutputError without a folder."""
        self.folder = exchange.make_folder()
        exchange.leave_token(self.folder)
        self.shared = True  # whether it sees our disk; set by the answer to hello
        self._greeted = False
        self._command = list(command)
        try:
            self._popen = subprocess.Popen(
                self._command,
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
        self._events: queue.Queue[protocol.Event | QNetSegmentError | None] = queue.Queue()
        self._log = Tail()
        self._outbox, self._inbox = Outbox(self.folder), Inbox(self.folder)
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()  # False: nothing more will be sent
        self._threads = [
            threading.Thread(target=run, name=f"worker {name}", daemon=True)
            for name, run in (
                ("stdout", self._read_events),
                ("stderr", self._read_log),
                ("stdin", self._write_requests),
            )
        ]
        for thread in self._threads:
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
        """Send a request, and before it its files where the worker does not see them; returns at once.

        When the worker is gone, `receive` tells. Raises InputError for files that are too large to be sent.
        """
        self._outbox.add(request)
        self._wake.put(True)

    def greet(self, ready: protocol.Ready) -> None:
        """It has answered hello."""
        self._greeted, self.shared = True, ready.shared
        self._outbox.inline = not ready.shared

    def receive(self, timeout: float) -> protocol.Event | None:
        """The next event, None when there was none within `timeout` seconds.

        Raises WorkerFailure when the worker ended, or wrote something that is not the protocol.
        """
        try:
            event = self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None
        if isinstance(event, QNetSegmentError):
            event.details = self.tail
            raise event
        if event is None:
            self._events.put(None)  # it stays ended
            raise self._crash()
        return event

    def end(self, patience: float) -> None:
        """Ask it to end, wait `patience` seconds, terminate, kill; then remove the folder."""
        self._outbox.drop_files()
        self.send(protocol.Shutdown("end"))
        self._wake.put(False)  # closes its stdin
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
        return crash(self._popen.returncode, self.tail, self._greeted, self.shared)

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _join(self) -> None:
        """Let the threads reach the end; a grandchild may hold the pipes open, hence not for ever."""
        self._wake.put(False)
        for thread in self._threads:
            thread.join(KILL_GRACE)

    def _read_events(self) -> None:
        stream = self._popen.stdout
        assert stream is not None
        buffer = protocol.LineBuffer()
        with stream:
            while chunk := stream.read(CHUNK):
                for line in buffer.feed(chunk):
                    try:
                        self._heard(line)
                    except QNetSegmentError as error:
                        self._events.put(error)
        self._events.put(None)

    def _heard(self, line: bytes) -> None:
        event = heard_event(line, self._greeted)
        if not isinstance(event, protocol.Download):
            self._events.put(event)
        elif self.shared:
            raise ProtocolError("The worker sent a file that could be read from the disk.", event.id)
        else:
            self._inbox.take(event)

    def _write_requests(self) -> None:
        stream = self._popen.stdin
        assert stream is not None
        with contextlib.suppress(OSError), stream:  # OSError: nobody reads any more
            while self._wake.get():
                while line := self._outbox.pop():
                    exchange.write_all(stream, line)

    def _read_log(self) -> None:
        stream = self._popen.stderr
        assert stream is not None
        with stream:
            while chunk := stream.read(CHUNK):
                self._log.feed(chunk)


class Tail:
    """The last TAIL_BYTES of a log."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._bytes += chunk
        del self._bytes[:-TAIL_BYTES]

    @property
    def text(self) -> str:
        return bytes(self._bytes).decode("utf-8", errors="replace")


def heard_event(line: bytes, greeted: bool) -> protocol.Event:
    """The event on a line. Raises ProtocolError, which says so where a program prints among our lines.

    greeted: whether the worker has answered hello.
    """
    try:
        return protocol.decode_event(line)
    except ProtocolError as error:
        if greeted or line.lstrip().startswith(b"{"):
            raise
        said = line.decode("utf-8", errors="replace").strip()
        raise ProtocolError(
            f'The worker\'s command printed "{_short(said)}" in the place of its answer.',
            None,
            "Only the worker may print there: check the command, and what a login prints without a terminal.",
        ) from error


def start_failure(program: str, why: str) -> WorkerError:
    """The worker's command could not be run."""
    return WorkerError(
        f'The worker process "{program}" could not be started: {why}.', "Check the command that runs it."
    )


def crash(code: int, tail: str, greeted: bool = True, shared: bool = True) -> WorkerFailure:
    """The worker ended by itself; `code` is its exit code, or the negative number of a signal.

    greeted: whether it had answered hello; shared: whether it ran on a disk that we share.
    """
    reason = _reason(code)
    last = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "")
    said = f"{reason}: {_short(last.rstrip('.'))}" if last else reason
    if not greeted and code in NOT_THERE:
        advice = "Try the worker's command in a terminal: it must start without a question."
        return WorkerFailure(f"The worker could not be reached ({said}).", advice, tail)
    if not shared:
        advice = "Check the network and the other machine, and start again."
        return WorkerFailure(f"The connection to the worker was lost ({said}).", advice, tail)
    if not greeted and code > 0 and last:
        return WorkerFailure(f"The worker did not start ({said}).", "Look at the details.", tail)
    advice = "Start again; if it happens again, report it together with the details."
    if reason == "signal SIGKILL":
        advice = "It was killed, often because memory ran out: close other programs and start again."
    return WorkerFailure(f"The worker process ended unexpectedly ({reason}).", advice, tail)


def split_command(text: str) -> list[str]:
    """Program and arguments of a command as it is typed, such as "ssh gpu-box qnetseg worker".

    Raises InputError for one that is empty or lacks the end of a quotation.
    """
    try:
        parts = shlex.split(text, posix=os.name == "posix")
    except ValueError as error:
        raise InputError(
            f"The worker's command cannot be read: {error}.", "Close its quotation marks."
        ) from error
    if not parts:
        raise InputError("The worker's command is empty.", "Name one, such as: ssh gpu-box qnetseg worker.")
    return parts if os.name == "posix" else [part.strip('"') for part in parts]


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def too_slow(tail: str) -> WorkerFailure:
    """The worker did not answer in time."""
    return WorkerFailure("The worker process took longer than it was given.", "Allow more time.", tail)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    full = dict(os.environ if env is None else env)
    return {**full, **python_paths(full.get("PYTHONPATH"))}


def python_paths(inherited: str | None) -> dict[str, str]:
    """Variables with which the worker finds this very qnetseg and nothing in the working folder.

    `inherited`: the PYTHONPATH that it would have without them.
    """
    package_root = str(Path(__file__).resolve().parents[2])
    named = [part for part in (inherited or "").split(os.pathsep) if part]  # empty: the working folder
    return {"PYTHONPATH": os.pathsep.join([package_root, *named]), "PYTHONSAFEPATH": "1"}


def running(module: str) -> list[str]:
    """Python's arguments to run a module as -m does, but with nothing from the working folder.

    Python 3.10 knows neither -P nor PYTHONSAFEPATH.
    """
    return [
        "-c",
        "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
        f"runpy.run_module('{module}', run_name='__main__', alter_sys=True)",
    ]


def default_command() -> list[str]:
    """Runs the worker with this Python."""
    return [sys.executable, *running("qnetseg.worker")]
