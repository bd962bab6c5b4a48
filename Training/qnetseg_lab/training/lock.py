"""One training run in a folder at a time."""

from __future__ import annotations

import errno
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from qnetseg.errors import OutputError, TrainingError

NAME = "training.lock"
_PLACE = 1 << 20  # the byte that is locked, far behind the text, which others may read meanwhile
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class FolderLock:
    """A lock that the system holds for this process and gives up when it ends, however that happens.

    The file stays and means nothing; what counts is the lock on it. It also holds between machines that share
    the folder by NFS. Within one process it keeps nobody out.
    """

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        """report: receives a line where the folder's file system knows no locks."""
        self.path, self.report = folder / NAME, report
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock, unless it is held already.

        Raises TrainingError where another process has it, OutputError where its file cannot be written.
        """
        if self._file is not None:
            return
        try:
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise OutputError(
                f"The file {self.path} cannot be written ({error.strerror}).", "Choose another output folder."
            ) from error
        try:
            _lock(file)
        except OSError as error:
            with file:
                if error.errno in _HELD:
                    raise self._held(file) from error
            self.report(f"Two runs in {self.path.parent} would not be noticed: {error.strerror}.")
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
        self._file = file

    def release(self) -> None:
        """Give the lock up, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _held(self, file: BinaryIO) -> TrainingError:
        file.seek(0)
        whose = file.read(200).decode("utf-8", errors="replace")
        return TrainingError(
            f"Another training runs in {self.path.parent} ({whose}).",
            "Wait until it ends, or choose another output folder.",
        )


def _lock(file: BinaryIO) -> None:
    """Lock one byte of an open file without waiting. Raises OSError."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(_PLACE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # Unlike flock's, this lock is known to NFS and is not inherited by processes that this one starts.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _PLACE)
