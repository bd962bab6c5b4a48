"""What the worker process and its client say to each other: one JSON object per line, UTF-8.

Pure functions and dataclasses, independent of how the bytes travel, so that the same file serves
a pipe (`client.py`) and Slicer's `QProcess`. Imports neither torch nor numpy nor qt.

    request   {"request": "hello", "id": "1", "version": 4, "folder": "/.../qnetseg-worker-x"}
    event     {"event": "ready", "id": "1", "version": 4, "pid": 4711, "torch": "2.9.0", "device": "cpu"}

Requests are `hello`, `segment`, `cancel`, `shutdown`; events are `ready`, `progress`, `result`,
`error`. Every event carries the id of the request that it answers. `hello` comes first and names
the exchange folder; arrays lie in it as files, and messages name them without a path.
`cancel` carries the id of the `segment` that it stops: that one ends with an `error` of kind
`Cancelled` (or with its `result`, when it was quicker). `shutdown`, like the end of stdin, ends the
process without an answer. The decoders are strict: a message with a missing, a superfluous or an
impossible field is a `ProtocolError`.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from .. import errors
from ..parsing import parse_json

VERSION = 4
MAX_LINE = 4 << 20  # bytes; the report of a thousand slices needs a twentieth of it
FOLDER_PREFIX = "qnetseg-worker-"  # the worker removes no folder with another name

Matrix = tuple[tuple[float, ...], ...]


class WorkerFailure(errors.WorkerError):
    """A `WorkerError` that also carries `details` to copy into a report: log or traceback."""

    def __init__(self, message: str, advice: str = "", details: str = "") -> None:
        super().__init__(message, advice)
        self.details = details


class InternalError(WorkerFailure):
    """Something failed inside the worker that no user can have caused."""


class ProtocolError(WorkerFailure):
    """A line that is not a message; `request_id` is the id found in it, if any."""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message, "Make sure that both sides come from the same QNetSegment.")
        self.request_id = request_id


@dataclass(frozen=True)
class Hello:
    """Opens the session: the client's protocol version and the exchange folder (absolute)."""

    TYPE: ClassVar[str] = "hello"
    id: str
    version: int
    folder: str


@dataclass(frozen=True)
class Segment:
    """Asks for one segmentation.

    `support` is a support set (.npz) and `query` an array (.npy, (k, j, i) float32), both names
    in the exchange folder; `ijk_to_ras` is the query's 4x4 matrix in mm. `model` is a name or a
    path of a model, None for the default one; `options` are those of `SegmentOptions`; a `device`
    other than "auto" goes before the one in them. `background` is an array (.npy, (k, j, i) uint8),
    not 0 where something else is known to be, or None. `drawn_on` is the array of the volume that was drawn
    on and `drawn_on_to_ras` its matrix, where that is another patient's; else both are None.
    """

    TYPE: ClassVar[str] = "segment"
    id: str
    support: str
    query: str
    ijk_to_ras: Matrix
    name: str
    model: str | None
    options: dict[str, Any]
    device: str
    background: str | None = None
    drawn_on: str | None = None
    drawn_on_to_ras: Matrix | None = None


@dataclass(frozen=True)
class Cancel:
    """Stops the `segment` with this id; nothing happens when it has ended already."""

    TYPE: ClassVar[str] = "cancel"
    id: str


@dataclass(frozen=True)
class Shutdown:
    """Ends the process, and whatever it does."""

    TYPE: ClassVar[str] = "shutdown"
    id: str


@dataclass(frozen=True)
class Ready:
    """Answer to `hello`: torch was imported and works; `device` is what "auto" means there, e.g. "cuda"."""

    TYPE: ClassVar[str] = "ready"
    id: str
    version: int
    pid: int
    torch: str
    device: str


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps of a `stage`; `eta_s` seconds are left, None while unknown."""

    TYPE: ClassVar[str] = "progress"
    id: str
    done: int
    total: int
    stage: str
    eta_s: float | None


@dataclass(frozen=True)
class Result:
    """Names of the mask (uint8) and confidence (float32) arrays, and the report as JSON."""

    TYPE: ClassVar[str] = "result"
    id: str
    mask: str
    confidence: str
    report: dict[str, Any]


@dataclass(frozen=True)
class Error:
    """Why a request failed; `id` is None when the line did not say whose it was."""

    TYPE: ClassVar[str] = "error"
    id: str | None
    kind: str
    message: str
    advice: str
    details: str


Request = Hello | Segment | Cancel | Shutdown
Event = Ready | Progress | Result | Error
REQUESTS: dict[str, type[Request]] = {kind.TYPE: kind for kind in (Hello, Segment, Cancel, Shutdown)}
EVENTS: dict[str, type[Event]] = {kind.TYPE: kind for kind in (Ready, Progress, Result, Error)}


def encode(message: Request | Event) -> bytes:
    """One line, with its end. Raises ValueError for NaN and infinite numbers, which JSON lacks."""
    family = "request" if isinstance(message, Request) else "event"
    content = {
        family: message.TYPE,
        **{field.name: getattr(message, field.name) for field in fields(message)},
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("utf-8") + b"\n"


def decode_request(line: bytes) -> Request:
    """The request on one line. Raises ProtocolError."""
    return _decode(line, "request", REQUESTS)


def decode_event(line: bytes) -> Event:
    """The event on one line. Raises ProtocolError."""
    return _decode(line, "event", EVENTS)


class LineBuffer:
    """Cuts a stream of bytes, which arrives in any pieces, into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends.

        Of a line beyond MAX_LINE only so much is kept that the decoders refuse it.
        """
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[: MAX_LINE + 1]
        return [line for line in lines if line.strip()]


def error_event(request_id: str | None, error: errors.QNetSegmentError) -> Error:
    """The event that tells of `error`."""
    details = getattr(error, "details", "")
    return Error(request_id, error.kind, error.message, error.advice, details)


def exception_of(event: Error) -> errors.QNetSegmentError:
    """The exception that `event` tells of; WorkerFailure for a kind that is not known here."""
    kind = _kinds(errors.QNetSegmentError).get(event.kind, WorkerFailure)
    if kind is ProtocolError:
        return ProtocolError(event.message, event.id)
    if issubclass(kind, WorkerFailure):
        return kind(event.message, event.advice, event.details)
    return kind(event.message, event.advice)


def internal_error(error: BaseException) -> InternalError:
    """The typed error for an exception that is a bug of ours, or a machine without memory."""
    details = "".join(traceback.format_exception(error))
    if errors.is_out_of_memory(error):
        message = "There was not enough memory for this segmentation."
        advice = "Close other programs, or crop the volume to the region around the structure."
    else:
        summary = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        message = f"The segmentation failed inside the program ({summary})."
        advice = "Report it together with the details."
    return InternalError(message, advice, details)


def require_version(version: int, whose: str) -> None:
    """Raises ProtocolError when the other side, named by `whose`, speaks another version."""
    if version != VERSION:
        raise ProtocolError(f"The {whose} speaks version {version} of the worker protocol, not {VERSION}.")


def _kinds(base: type[errors.QNetSegmentError]) -> dict[str, type[errors.QNetSegmentError]]:
    found = {base.__name__: base}
    for kind in base.__subclasses__():
        found.update(_kinds(kind))
    return found


_Message = TypeVar("_Message", Request, Event)


def _decode(line: bytes, family: str, kinds: Mapping[str, type[_Message]]) -> _Message:
    content = _json_object(line)
    found = content.pop("id", None)
    request_id = found if _is_id(found) else None
    name = content.pop(family, None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"A message has no known {family}: {_shown(name)}.", request_id)
    expected = {field.name for field in fields(kind)} - {"id"}
    if expected != content.keys():
        odd = ", ".join(sorted(expected ^ content.keys()))
        raise ProtocolError(
            f'The {family} "{name}" has missing or superfluous fields: {_shown(odd)}.', request_id
        )
    if request_id is None and not (kind is Error and found is None):
        raise ProtocolError(f'The {family} "{name}" has an impossible "id": {_shown(found)}.')
    for key, value in content.items():
        if not _CHECKS[key](value):
            raise ProtocolError(
                f'The {family} "{name}" has an impossible "{key}": {_shown(value)}.', request_id
            )
    for key in ("ijk_to_ras", "drawn_on_to_ras"):
        if content.get(key) is not None:
            content[key] = tuple(tuple(float(x) for x in row) for row in content[key])
    values: dict[str, Any] = {"id": request_id, **content}
    return kind(**values)


def _json_object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise ProtocolError(f"A message is longer than {MAX_LINE} bytes.")
    try:
        content = parse_json(line.decode("utf-8"))
    except ValueError as error:  # invalid UTF-8 is one, too
        raise ProtocolError(f"A line is not JSON: {_shown(line)}.") from error
    if not isinstance(content, dict):
        raise ProtocolError(f"A line is not a JSON object: {_shown(line)}.")
    return content


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_id(value: object) -> bool:
    """Ids become part of file names."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    """Finite as a float: JSON has integers of any size, and 1e999 is read as infinity."""
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


def _is_matrix(value: object) -> bool:
    rows = value if isinstance(value, list) else []
    return len(rows) == 4 and all(
        isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows
    )


# A field means the same in every message that has it.
_CHECKS: dict[str, Callable[[object], bool]] = {
    "version": _is_count,
    "folder": _is_text,
    "support": _is_file_name,
    "query": _is_file_name,
    "background": lambda value: value is None or _is_file_name(value),
    "ijk_to_ras": _is_matrix,
    "drawn_on": lambda value: value is None or _is_file_name(value),
    "drawn_on_to_ras": lambda value: value is None or _is_matrix(value),
    "name": _is_text,
    "model": lambda value: value is None or _is_text(value),
    "options": lambda value: isinstance(value, dict),
    "device": _is_text,
    "pid": _is_count,
    "torch": _is_text,
    "done": _is_count,
    "total": _is_count,
    "stage": _is_text,
    "eta_s": lambda value: value is None or _is_number(value),
    "mask": _is_file_name,
    "confidence": _is_file_name,
    "report": lambda value: isinstance(value, dict),
    "kind": _is_text,
    "message": _is_text,
    "advice": _is_text,
    "details": _is_text,
}
