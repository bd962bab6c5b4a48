"""What a command prints must never cost its result: streams that are closed, full or of a poor encoding."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

STUCK = 10.0  # seconds after a signal, in which unfinished files are removed
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGQUIT")
"""A batch system that stops the job, a terminal that is closed, Ctrl-\\; Windows has only the first."""


class Ended(KeyboardInterrupt):
    """The system asked the process to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Forgiving:
    """A text stream that goes on without what it cannot write, and is like the stream it wraps otherwise.

    Characters that the encoding lacks are written as escapes. `lost` says why lines got lost; it stays empty
    where nobody reads any more, which is no fault.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._writes, self.lost = stream, True, ""

    def write(self, text: str) -> int:
        """Write what can be written; never raises."""
        self._try(lambda: self._stream.write(self._encodable(text)))
        return len(text)

    def flush(self) -> None:
        """Never raises."""
        self._try(self._stream.flush)

    def _encodable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text

    def _try(self, action: Any) -> None:
        if not self._writes:
            return
        try:
            action()
        except BrokenPipeError:
            self._give_up()
        except (OSError, ValueError) as error:  # a full disk; a stream that somebody closed
            self.lost = str(getattr(error, "strerror", None) or error)
            self._give_up()

    def _give_up(self) -> None:
        """Write no more. What is buffered goes nowhere, or Python would fail when it ends."""
        self._writes = False
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Within it stdout and stderr take everything, and there are both of them."""
    _occupy_descriptors()
    own = sys.stdout, sys.stderr
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    out, err = (Forgiving(stream or nowhere) for stream in own)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield
    finally:
        out.flush()
        if out.lost:
            err.write(f"qnetseg: warning: Not everything could be printed: {out.lost}.\n")
        err.flush()
        sys.stdout, sys.stderr = own
        nowhere.close()


def _occupy_descriptors() -> None:
    """Give closed standard descriptors something harmless: else the next file opened would be stderr, and
    what a library complains about would be written into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it a signal that ends the process raises `Ended`, so that unfinished files are removed first.

    Should that get stuck (an exception may come at a bad moment), the process ends all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stuck: list[threading.Timer] = []

    def end(number: int, _frame: Any) -> None:
        timer = threading.Timer(STUCK, os._exit, (128 + number,))
        timer.daemon = True
        timer.start()
        stuck.append(timer)
        raise Ended(number)

    before: dict[int, Any] = {}
    for name in ENDING_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # as nohup wants it otherwise
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for timer in stuck:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
