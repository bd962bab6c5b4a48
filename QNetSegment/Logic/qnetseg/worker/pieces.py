"""Files of the exchange within the stream itself, where client and worker share no disk.

They go in pieces, before the message that names them: each a line, so that other messages pass between two of
them, and nothing larger than a piece is ever unpacked. Imports neither torch nor numpy nor qt.
"""

from __future__ import annotations

import base64
import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, get_args

from ..errors import InputError, OutputError, why
from . import protocol
from .failures import ProtocolError
from .fields import FileName, types_of

PIECE = 256 << 10  # bytes of a file; less than a tenth of MAX_LINE even where nothing is gained by packing
MOST_BYTES = (1 << 31) - 1  # of the files of one message
QUICK = 1  # zlib's level: on images the higher ones cost more time than they save


def files_of(message: Any) -> list[str]:
    """The files that a message, or a part of one, names."""
    found: list[str] = []
    for name, kind in types_of(type(message)).items():
        value = getattr(message, name)
        if is_dataclass(value):
            found += files_of(value)
        elif value is not None and FileName in (kind, *get_args(kind)):
            found += value if isinstance(value, tuple) else [value]
    return found


def cut(
    folder: Path, message: protocol.Request | protocol.Event, kind: type[protocol.Piece]
) -> Iterator[protocol.Piece]:
    """The files that a message names, in pieces. Raises OSError."""
    assert message.id is not None
    for name in files_of(message):
        with open(folder / name, "rb") as stream:
            size, start = os.fstat(stream.fileno()).st_size, 0
            while part := stream.read(PIECE):
                data = base64.b64encode(zlib.compress(part, QUICK)).decode("ascii")
                yield kind(message.id, name, size, start, data)
                start += len(part)


class Inbox:
    """Puts files together that arrive in pieces, in a folder of our own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, dict[str, tuple[int, int]]] = {}  # by id and name: size, and bytes there

    def take(self, piece: protocol.Piece) -> tuple[int, int]:
        """Write a piece; bytes that are there, and the size, of all files of this id so far.

        Raises ProtocolError for a piece that does not fit, and OutputError where there is no room.
        """
        files = self._files.setdefault(piece.id, {})
        size, there = files.get(piece.file, (piece.size, 0))
        others = sum(other for name, (other, _) in files.items() if name != piece.file)
        part = _unpacked(piece)
        fits = piece.size == size and piece.start == there and there + len(part) <= size
        # The name begins with the id, so that no message can replace another one's files.
        if not fits or others + size > MOST_BYTES or not piece.file.startswith(f"{piece.id}-"):
            raise ProtocolError("A piece of a file does not fit the ones before it.", piece.id)
        try:
            with open(self._folder / piece.file, "ab" if there else "wb") as stream:
                stream.write(part)
        except OSError as error:
            raise OutputError(
                f"An array that was sent could not be written: {why(error)}.",
                "Make room in the temporary folder of the machine that receives it.",
            ) from error
        files[piece.file] = size, there + len(part)
        return sum(done for _, done in files.values()), sum(total for total, _ in files.values())

    def forget(self, message_id: str) -> None:
        """Remove what came for a message."""
        for name in self._files.pop(message_id, {}):
            (self._folder / name).unlink(missing_ok=True)


def _unpacked(piece: protocol.Piece) -> bytes:
    try:
        packed = base64.b64decode(piece.data, validate=True)
        unpack = zlib.decompressobj()
        part = unpack.decompress(packed, PIECE)
    except (ValueError, zlib.error) as error:  # binascii.Error is a ValueError
        raise ProtocolError("A piece of a file is damaged.", piece.id) from error
    if not part or not unpack.eof or unpack.unused_data:
        raise ProtocolError("A piece of a file is damaged or too long.", piece.id)
    return part


@dataclass
class _Waiting:
    message_id: str
    line: bytes
    pieces: Iterator[protocol.Piece]


class Outbox:
    """Requests that wait to be sent, line by line: a large array neither fills memory nor delays a cancel.

    May be used from several threads.
    """

    def __init__(self, folder: Path) -> None:
        """folder: where the files lie that requests name."""
        self.inline = False  # whether the worker cannot read them there
        self._folder = folder
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.RLock()

    def add(self, request: protocol.Request) -> None:
        """Let a request wait. What it cancels is sent without the rest of its files, and so fails at once.

        Raises InputError for files that are too large to be sent, and as `protocol.encode`.
        """
        pieces: Iterator[protocol.Piece] = iter(())
        if self.inline and (names := files_of(request)):
            self._require_sendable(names)
            pieces = cut(self._folder, request, protocol.Upload)
        with self._lock:
            if isinstance(request, protocol.Cancel):
                self.drop_files(request.id)
            self._waiting.append(_Waiting(request.id, protocol.encode(request), pieces))

    def drop_files(self, request_id: str | None = None) -> None:
        """Send no more files: of this request, or of any."""
        with self._lock:
            for waiting in self._waiting:
                if request_id in (None, waiting.message_id):
                    waiting.pieces = iter(())

    def pop(self) -> bytes | None:
        """The next line, None when nothing waits."""
        with self._lock:
            if not self._waiting:
                return None
            first = self._waiting[0]
            try:
                piece = next(first.pieces, None)
            except OSError:  # somebody has removed the file; the worker says that it misses it
                piece = None
            if piece is not None:
                return protocol.encode(piece)  # type: ignore[arg-type]
            return self._waiting.popleft().line

    def _require_sendable(self, names: list[str]) -> None:
        paths = [self._folder / name for name in names]
        size = sum(path.stat().st_size for path in paths if path.is_file())
        if size > MOST_BYTES:
            raise InputError(
                f"The volume is too large to be sent to another machine: it has {size >> 20} MiB.",
                f"Crop it to the region around the structure: at most {MOST_BYTES >> 20} MiB can be sent.",
            )
