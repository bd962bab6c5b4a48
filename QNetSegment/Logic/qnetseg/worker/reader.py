"""A process that reads one volume, so that the application that wants it can go on meanwhile.

    python -m qnetseg.worker.reader PATH

It is asked with `hello` (see protocol.py), which names the exchange folder, and answers with one line: where
the volume lies in space, its name, its fingerprint and what is odd about the file, or an `error` of the
protocol. The values lie in the
folder then, to be mapped into memory. The process stays until `shutdown` or the end of stdin, and removes the
folder, which holds an image of a patient, even when the application has crashed.

PATH is percent-encoded, because the application's Qt may pass nothing but ASCII in a C locale.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from ..errors import QNetSegmentError, heard_oddities
from . import protocol
from .exchange import remove_folder, remove_when_ended, save_array, write_all
from .server import claim_streams

if TYPE_CHECKING:
    from ..volume import Volume

ARRAY = "volume.npy"  # (k, j, i) float32, in the exchange folder


@dataclass(frozen=True)
class Found:
    """The answer: matrix, name and fingerprint (see `volume_id`) of the volume, and what is odd about it."""

    ijk_to_ras: list[list[float]]
    name: str
    fingerprint: str
    oddities: list[str]


def quoted(path: str | os.PathLike[str]) -> str:
    """The process's argument for a path of any characters."""
    return quote(os.fsencode(path))


def decode(line: bytes) -> Found | protocol.Error:
    """The answer on one line. Raises ProtocolError."""
    try:
        found = Found(**json.loads(line))
        texts = "".join([found.name, found.fingerprint, *found.oddities])
        if np.shape(found.ijk_to_ras) == (4, 4) and isinstance(texts, str):
            return found
    except (TypeError, ValueError, RecursionError):
        pass
    event = protocol.decode_event(line)
    if not isinstance(event, protocol.Error):
        raise protocol.ProtocolError("The reading process did not answer with a volume.", event.id)
    return event


def mapped_volume(folder: Path, found: Found) -> Volume:
    """The volume of an answer; its array is the file itself, mapped into memory and read-only.

    Raises WorkerFailure when the file is missing or broken, GeometryError for an impossible matrix.
    """
    from ..volume import Volume
    from ..volume.volume import checked_matrix

    try:
        array = np.asarray(np.lib.format.open_memmap(folder / ARRAY, mode="r"))
        if array.ndim != 3 or array.dtype != np.float32:
            raise ValueError(f"it has type {array.dtype} and shape {array.shape}")
    except (OSError, ValueError, EOFError) as error:
        raise protocol.WorkerFailure(
            f"The volume '{found.name}' was read, but not handed over: {error}.",
            "Start again; if it happens again, look for a program that cleans up temporary folders.",
        ) from error
    return Volume(array, checked_matrix(found.ijk_to_ras), found.name)


def main() -> NoReturn:
    """Run the reader on this process's stdin and stdout."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the worker does
    path = Path(os.fsdecode(unquote_to_bytes(sys.argv[1])))
    stdin, stdout = claim_streams()
    if line := stdin.readline():
        folder = _folder_of(line)
        remove_when_ended(lambda: folder)
        threading.Thread(target=_answer, args=(stdout, path, folder), daemon=True).start()
        stdin.readline()
        remove_folder(folder)
    os._exit(0)


def _folder_of(line: bytes) -> Path:
    request = protocol.decode_request(line)
    if not isinstance(request, protocol.Hello):
        raise protocol.ProtocolError("A session begins with hello.", request.id)
    protocol.require_version(request.version, "client")
    return Path(request.folder)


def _answer(stdout: BinaryIO, path: Path, folder: Path) -> None:
    try:
        line = json.dumps(asdict(_read(path, folder)), allow_nan=False).encode() + b"\n"
    except QNetSegmentError as error:
        line = protocol.encode(protocol.error_event(None, error))
    except BaseException as error:  # even a library's sys.exit() is an answer, not our end
        traceback.print_exc()
        line = protocol.encode(protocol.error_event(None, protocol.internal_error(error)))
    with contextlib.suppress(OSError):  # nobody listens any more; the end of stdin follows
        write_all(stdout, line)


def _read(path: Path, folder: Path) -> Found:
    from ..volume import read_volume, volume_id

    with heard_oddities() as oddities:
        volume = read_volume(path)
    save_array(folder / ARRAY, volume.array)
    return Found(volume.ijk_to_ras.tolist(), volume.name, volume_id(volume), oddities)


if __name__ == "__main__":
    main()
