"""How client and worker exchange data: whole lines on pipes, arrays as .npy files in a folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import OutputError, why
from ..parsing import parsing
from ..processes import MARK, gone, mark
from .failures import WorkerFailure
from .protocol import FOLDER_PREFIX

OWNED = re.compile(rf"{FOLDER_PREFIX}({MARK})-.+")
DAY = 86400.0  # seconds
TOKEN = "token"


def make_folder() -> Path:
    """A new folder that only this user can read (images of patients pass through it).

    Its name tells whose it is, and those of processes that are gone are removed. Raises OutputError.
    """
    sweep_folders()
    try:
        return Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{mark()}-", dir=temporary_folder()))
    except OSError as error:
        raise OutputError(f"No temporary folder could be made: {error}.", _ROOM) from error


def leave_token(folder: Path) -> None:
    """Put a file into our exchange folder by which a worker sees that it has the same disk."""
    with contextlib.suppress(OSError):  # it will be sent what it does not see
        (folder / TOKEN).write_text(folder.name, encoding="utf-8")


def sees(folder: Path) -> bool:
    """Whether this is the client's exchange folder, and not by chance one of another machine's."""
    try:
        return (folder / TOKEN).read_text(encoding="utf-8") == folder.name
    except (OSError, ValueError):
        return False


def temporary_folder() -> Path:
    """Where exchange folders are made: what the environment names, usable or not.

    Python would silently take another folder for one that cannot be used, perhaps on a disk that was not
    meant to hold images of patients. Raises OSError where the environment names none and there is none.
    """
    named = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), None)
    return Path(os.path.abspath(named or tempfile.gettempdir()))


def sweep_folders() -> None:
    """Remove exchange folders of this user whose process is gone, or that are old and do not name one."""
    with contextlib.suppress(OSError):
        for folder in temporary_folder().glob(f"{FOLDER_PREFIX}*"):
            with contextlib.suppress(OSError):
                if _abandoned(folder):
                    remove_folder(folder)


def _abandoned(folder: Path) -> bool:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (os.name == "posix" and found.st_uid != os.getuid()):
        return False
    owner = OWNED.fullmatch(folder.name)
    return gone(owner.group(1)) if owner else time.time() - found.st_mtime > DAY


def remove_folder(folder: Path) -> None:
    """Remove a folder that `make_folder` made, whatever is in it; any other folder stays."""
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def remove_when_ended(folder: Callable[[], Path | None]) -> None:
    """From now on a signal that ends this process removes its exchange folder first, whatever it is doing.

    A thread waits for the signals, because the main one may be busy in a library. Call it from the main one.
    """
    ending = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    ending = [number for number in ending if signal.getsignal(number) == signal.SIG_DFL]  # unlike nohup
    if os.name != "posix" or not ending:  # Windows ends processes without asking
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    for number in ending:
        signal.signal(number, lambda *_: None)  # the number arrives by the pipe, from whatever thread is hit
    signal.set_wakeup_fd(told)

    def wait() -> None:
        number = os.read(heard, 1)[0]
        if (found := folder()) is not None:
            remove_folder(found)
        os._exit(128 + number)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def clear_folder(folder: Path) -> None:
    """Remove the files of the exchange folder; the folder stays."""
    for file in folder.glob("*"):
        with contextlib.suppress(OSError):
            file.unlink()


def write_all(stream: IO[bytes], data: bytes) -> None:
    """Write all of `data`: a raw pipe may take less at once. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) or 0 :]


def save_array(path: Path, array: np.ndarray) -> None:
    """Write `array` to a .npy file. Raises OutputError, and leaves no half file."""
    try:
        np.save(path, array, allow_pickle=False)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f'An array could not be written to "{path.parent}": {why(error)}.', _ROOM
        ) from error


def load_array(
    path: Path, dtype: Any = None, shape: tuple[int, ...] | None = None, dimensions: int = 3
) -> np.ndarray:
    """Read an array of the exchange. Raises WorkerFailure unless it has these dimensions, `dtype` (any if
    None) and `shape` (any if None)."""
    with (
        parsing(
            path.name,
            WorkerFailure,
            f'The array "{path.name}" of the exchange with the worker cannot be read.',
            _AGAIN,
        ),
        open(path, "rb") as stream,  # np.load would open .npz files as well
    ):
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    fits = array.ndim == dimensions and (dtype is None or array.dtype == dtype)
    if not fits or (shape is not None and array.shape != shape):
        raise WorkerFailure(
            f'The array "{path.name}" of the exchange with the worker has type {array.dtype} '
            f"and shape {array.shape}, which does not fit.",
            _AGAIN,
        )
    return array


_ROOM = "Make room in the temporary folder, or set TMPDIR to another one."
_AGAIN = "Start again; if it happens again, look for a program that cleans up temporary folders."
