"""What the worker process and its client say to each other: one JSON object per line, UTF-8.

Pure functions and dataclasses, independent of how the bytes travel, so that the same file serves
a pipe (`client.py`) and Slicer's `QProcess`. Imports neither torch nor numpy nor qt.

    request   {"request": "hello", "id": "1", "version": 6, "folder": "/.../qnetseg-worker-x"}
    event     {"event": "ready", "id": "1", "version": 6, "pid": 4711, "torch": "2.9.0", "device": "cpu",
               "shared": true}

`hello` comes first and names the exchange folder; arrays lie in it as files, and messages name them without
a path. A file "token" lies there: a worker that finds it shares the client's disk. Where it does not, as on
another machine, each side has an exchange folder of its own, and the files that a message names go before it
in pieces, as `upload` of the client and `download` of the worker. Then volumes are opened, each once, and
every structure, correction and drawing comes to them:

    open      a path on a shared disk, or an array        -> opened   grid, fingerprint, what is odd about it
    segment   an open volume; what was drawn on it,      -> result   the mask in its box, confidence only
              or on another open one, or a support file              where it is asked for, the report
    pack      what was drawn on an open volume           -> packed   a support file for the library
    close     an open volume                             no answer

The id of `open` names the volume from then on. The worker may let go of volumes that were not used for long,
to make room for others: what needs them then ends with an error of kind `NotOpen`, and the client opens them
again. `cancel` carries the id of the request that it stops: that one ends with an `error` of kind `Cancelled`
(or with its answer, when it was quicker). `shutdown`, like the end of stdin, ends the process without an
answer. `progress` comes while a request is worked on; `error` is the answer to one that failed. Every event
carries the id of the request that it answers. The decoders are strict: a message with a missing, a
superfluous or an impossible field is a `ProtocolError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar, get_args

from .. import errors
from ..parsing import parse_json
from .failures import ProtocolError, WorkerFailure, error_kinds
from .fields import BoxFile, Confidence, Count, Drawn, FileName, Id, Matrix, Triple, built, is_id, types_of

VERSION = 6
MAX_LINE = 4 << 20  # bytes; the report of a thousand slices needs a twentieth of it
FOLDER_PREFIX = "qnetseg-worker-"  # the worker removes no folder with another name

_EITHER = {"open": (("path", "array"), ("path", "ijk_to_ras")), "segment": (("drawing", "support"),)}
"""Of these fields one is None and the other is not."""


class Message:
    """What goes over the wire; a request or an event by the name of its class."""

    TYPE: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.TYPE = cls.__name__.lower()


@dataclass(frozen=True)
class Hello(Message):
    """Opens the session: the client's protocol version and the exchange folder (absolute)."""

    id: Id
    version: Count
    folder: str


@dataclass(frozen=True)
class Open(Message):
    """Opens a volume: from a `path` (`series` chooses one of a DICOM folder), or from an `array` (.npy,
    (k, j, i) of any real dtype, which the worker removes once it is read) with its 4x4 `ijk_to_ras` in mm and
    its `name`. The others are None. `oddities`: what the client found odd about the file that it has read."""

    id: Id
    path: str | None
    series: str | None
    array: FileName | None
    ijk_to_ras: Matrix | None
    name: str
    oddities: tuple[str, ...]


@dataclass(frozen=True)
class Segment(Message):
    """Asks for one structure in the open volume `query`.

    Either `drawing`, or `support`, a support set (.npz); `further`: of the same structure of other patients.
    `model` is a name or a path of a model, None for the default one; `options` are those of `SegmentOptions`;
    a `device` other than "auto" goes before the one in them. `background`: where something else is known to
    be, or None. `confidence_of`: one of `fields.CONFIDENCE`.
    """

    id: Id
    query: Id
    drawing: Drawn | None
    support: FileName | None
    further: tuple[FileName, ...]
    model: str | None
    options: dict[str, Any]
    device: str
    background: BoxFile | None
    confidence_of: Confidence


@dataclass(frozen=True)
class Pack(Message):
    """Asks for a support set of a drawing, with the patient that was drawn on."""

    id: Id
    drawing: Drawn


@dataclass(frozen=True)
class Close(Message):
    """Lets go of an open volume; nothing happens when it is not open."""

    id: Id
    volume: Id


@dataclass(frozen=True)
class Cancel(Message):
    """Stops the request with this id; nothing happens when it has ended already."""

    id: Id


@dataclass(frozen=True)
class Shutdown(Message):
    """Ends the process, and whatever it does."""

    id: Id


@dataclass(frozen=True)
class Piece(Message):
    """A piece of a `file` that the message with this id will name; its name begins with the id.

    `data`: packed with zlib, in base64, at most `pieces.PIECE` bytes of the file from `start` on; the whole
    file has `size` bytes.
    """

    id: Id
    file: FileName
    size: Count
    start: Count
    data: str


class Upload(Piece):
    """From the client. The answer is a `progress` of that request."""


class Download(Piece):
    """From the worker. The answer to the request follows."""


@dataclass(frozen=True)
class Ready(Message):
    """Answer to `hello`: torch was imported and works; `device` is what "auto" means there, e.g. "cuda";
    `shared`: whether the worker sees the client's exchange folder."""

    id: Id
    version: Count
    pid: Count
    torch: str
    device: str
    shared: bool


@dataclass(frozen=True)
class Progress(Message):
    """`done` of `total` steps of a `stage`; `eta_s` seconds are left, None while unknown."""

    id: Id
    done: Count
    total: Count
    stage: str
    eta_s: float | None


@dataclass(frozen=True)
class Opened(Message):
    """Answer to `open`: (k, j, i) and matrix of the volume's own grid, its fingerprint (see `volume_id`), and
    sentences that say what is odd about its file."""

    id: Id
    shape: Triple
    ijk_to_ras: Matrix
    name: str
    fingerprint: str
    oddities: tuple[str, ...]


@dataclass(frozen=True)
class Packed(Message):
    """Answer to `pack`: the name of a support set (.npz)."""

    id: Id
    support: FileName


@dataclass(frozen=True)
class Result(Message):
    """Answer to `segment`: the mask, the name of a file (.npy, float32) as `confidence` was asked for, and
    the report as JSON."""

    id: Id
    mask: BoxFile
    confidence: FileName | None
    report: dict[str, Any]


@dataclass(frozen=True)
class Error(Message):
    """Why a request failed; `id` is None when the line did not say whose it was."""

    id: str | None
    kind: str
    message: str
    advice: str
    details: str


Request = Hello | Open | Segment | Pack | Upload | Close | Cancel | Shutdown
Event = Ready | Opened | Packed | Progress | Download | Result | Error
REQUESTS: dict[str, type[Request]] = {kind.TYPE: kind for kind in get_args(Request)}
EVENTS: dict[str, type[Event]] = {kind.TYPE: kind for kind in get_args(Event)}


def encode(message: Request | Event) -> bytes:
    """One line, with its end. Raises ValueError for NaN and infinite numbers, which JSON lacks."""
    family = "request" if isinstance(message, Request) else "event"
    content = {family: message.TYPE, **asdict(message)}
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
    return Error(request_id, error.kind, error.message, error.advice, error.details)


def exception_of(event: Error) -> errors.QNetSegmentError:
    """The exception that `event` tells of; WorkerFailure for a kind that is not known here."""
    kind = error_kinds().get(event.kind, WorkerFailure)
    if kind is ProtocolError:
        return ProtocolError(event.message, event.id, event.advice)
    return kind(event.message, event.advice, event.details)


def require_version(version: int, whose: str, request_id: str | None = None) -> None:
    """Raises ProtocolError when the other side, named by `whose`, speaks another version."""
    if version != VERSION:
        sentence = f"The {whose} speaks version {version} of the worker protocol, not {VERSION}."
        raise ProtocolError(sentence, request_id, "Install the same version of QNetSegment on both sides.")


_Message = TypeVar("_Message", Request, Event)


def _decode(line: bytes, family: str, kinds: Mapping[str, type[_Message]]) -> _Message:
    content = _json_object(line)
    found = content.pop("id", None)
    request_id = found if is_id(found) else None
    name = content.pop(family, None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"A message has no known {family}: {_shown(name)}.", request_id)
    types = types_of(kind)
    if odd := types.keys() - {"id"} ^ content.keys():
        if kind in (Hello, Ready) and type(version := content.get("version")) is int:
            require_version(version, "client" if kind is Hello else "worker", request_id)
        odd_ones = _shown(", ".join(sorted(odd)))
        raise ProtocolError(
            f'The {family} "{name}" has missing or superfluous fields: {odd_ones}.', request_id
        )
    if request_id is None and not (kind is Error and found is None):
        raise ProtocolError(f'The {family} "{name}" has an impossible "id": {_shown(found)}.')
    values = {}
    for key, value in content.items():
        try:
            values[key] = built(types[key], value)
        except ValueError as error:
            problem = f'has an impossible "{key}": {_shown(value)}'
            raise ProtocolError(f'The {family} "{name}" {problem}.', request_id) from error
    for one, other in _EITHER.get(kind.TYPE, ()):
        if (content[one] is None) == (content[other] is None):
            raise ProtocolError(f'The {family} "{name}" needs either "{one}" or "{other}".', request_id)
    return kind(id=request_id, **values)  # type: ignore[arg-type]


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
