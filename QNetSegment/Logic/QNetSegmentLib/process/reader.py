"""Files of volumes, read in a process of their own: the panel must not wait for the seconds that it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

from qnetseg.errors import OutputError, QNetSegmentError
from qnetseg.worker import exchange, protocol
from qnetseg.worker.reader import Found, decode, mapped_volume, quoted

from ..signals import Signal
from .alarm import Alarm, AtQuit
from .connection import Connection
from .python import worker_command, worker_environment


class Reader:
    """Reads one file, or folder with a DICOM series, without ever blocking the application. Used once.

    (Not in a thread: Python's seldom get their turn in Slicer, and SimpleITK lets no other one run.)

    Signals, exactly one of them unless `release` came before:
        finished(volume, fingerprint, oddities): the Volume, what `volume_id` says of it, and a list of
            sentences that say what is odd about the file. The array is read-only and lies in a file of the
            exchange folder, which stays until `release`.
        failed(error): what `read_volume` raises, or why the process could not do it.

    `release` must be called in the end. Drop the Volume before: Windows removes no file that is mapped into
    memory. What is still on the stack when `release` is called may have it, since the file is removed once
    more from the event loop.

    What is still there when the application quits is released then: Qt must not find the process running.

    `command` runs the process and `environment` adds variables to this process's, as for `Worker`.
    """

    REAP_MS: ClassVar[int] = 200  # what `release` waits at most; a killed process takes some milliseconds

    _kept: ClassVar[list[Reader]] = []  # that no QProcess or QTimer is destroyed while it runs or emits

    def __init__(
        self, command: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.finished, self.failed = Signal(), Signal()
        self._command, self._environment = command, environment
        self._connection: Connection | None = None
        self._told = self._released = self._ended = False
        self._soon = Alarm(self._clean_up)

    @property
    def pid(self) -> int | None:
        """Process id, None when there is no process."""
        return self._connection.pid if self._connection else None

    @classmethod
    def all_over(cls) -> bool:
        """Whether no reader has a process or a file any more."""
        return not cls._kept

    @classmethod
    def release_all(cls) -> None:
        """Release every reader."""
        for reader in list(cls._kept):
            reader.release()

    def read(self, path: str | os.PathLike[str]) -> None:
        """Begin. A process that cannot be started may be told of inside this call."""
        assert self._connection is None, "a reader is used once"
        command = self._command or worker_command("qnetseg.worker.reader")
        environment = worker_environment() if self._environment is None else self._environment
        try:
            connection = Connection([*command, quoted(path)], environment, decode)
        except OutputError as error:
            self._fail(error)
            return
        connection.started.connect(_greet)
        connection.received.connect(self._received)
        connection.broke.connect(lambda _connection, error: self._fail(error))
        connection.ended.connect(self._on_ended)
        self._connection = connection
        _at_quit.start()
        self._kept.append(self)
        connection.start()

    def release(self) -> None:
        """End the process, which has nothing to lose, and remove the file. No signal follows; idempotent."""
        self._told = self._released = True
        if self._connection is not None:
            self._connection.kill()
            self._connection.wait_for_end(self.REAP_MS)
            exchange.remove_folder(self._connection.folder)
            self._soon.start(0)

    def _received(self, connection: Connection, answer: Found | protocol.Error) -> None:
        if self._told:
            return
        try:
            if isinstance(answer, protocol.Error):
                raise protocol.exception_of(answer)
            volume = mapped_volume(connection.folder, answer)
        except QNetSegmentError as error:
            self._fail(error)
        else:
            self._told = True
            self.finished.emit(volume, answer.fingerprint, answer.oddities)

    def _fail(self, error: QNetSegmentError) -> None:
        if not self._told:
            self.release()
            self.failed.emit(error)

    def _on_ended(self, _connection: Connection) -> None:
        self._ended = True
        self._soon.start(0)

    def _clean_up(self) -> None:
        assert self._connection is not None
        exchange.remove_folder(self._connection.folder)
        if self._ended and self._released and self in self._kept:
            self._kept.remove(self)
            if not self._kept:
                _at_quit.stop()
            self.finished, self.failed = Signal(), Signal()  # lets go of the slots, and of what these hold


_at_quit = AtQuit(Reader.release_all)


def _greet(connection: Connection) -> None:
    connection.send(protocol.Hello("read", protocol.VERSION, str(connection.folder)))
