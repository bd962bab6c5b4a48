"""Writes requests into the exchange folder, and reads answers from it: for the server and every client."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..boxes import Box
from ..errors import InputError, heard_oddities
from . import protocol
from .exchange import load_array, save_array
from .failures import ProtocolError
from .fields import BoxFile, Drawn

if TYPE_CHECKING:
    from ..segment.options import SegmentOptions
    from ..segment.result import Found, Segmentation
    from ..volume import Drawing, SupportSet
    from .source import Source


def open_volume(folder: Path, request_id: str, source: Source, shared: bool = True) -> protocol.Open:
    """Asks for a volume; an array is written into `folder` in its own dtype.

    shared: whether the worker sees the same disk; a file is read here where it does not. Raises OutputError,
    and what `read_volume` raises.
    """
    if source.path is not None and shared:
        return protocol.Open(request_id, source.path, source.series, None, None, source.name, ())
    with heard_oddities() as oddities:
        source = source if source.path is None else source.read()
    assert source.array is not None and source.ijk_to_ras is not None
    file = f"{request_id}-volume.npy"
    save_array(folder / file, source.array)
    matrix = tuple(tuple(map(float, row)) for row in source.ijk_to_ras)
    return protocol.Open(request_id, None, None, file, matrix, source.name, tuple(oddities))


def pack(
    folder: Path, request_id: str, drawing: Drawing, volume: str, result: Box | None = None
) -> protocol.Pack:
    """Asks for a drawing with its image and the patient; result: see `with_patient`. Raises OutputError."""
    return protocol.Pack(request_id, drawn_on(folder, request_id, drawing, volume, result))


def drawn_on(
    folder: Path, request_id: str, drawing: Drawing, volume: str, result: Box | None = None
) -> Drawn:
    """A drawing on an open volume, with a result or without, its voxels written into `folder`.

    Raises OutputError.
    """
    red, green, blue = map(float, drawing.color)
    box = write_box(folder, f"{request_id}-drawing.npy", drawing.box)
    whole = None if result is None else write_box(folder, f"{request_id}-result.npy", result)
    values = (drawing.terminology, drawing.plane, tuple(map(int, drawing.not_here)), whole)
    return Drawn(volume, box, drawing.name, (red, green, blue), *values)


def segment(
    folder: Path,
    request_id: str,
    query: str,
    example: SupportSet | Drawing,
    volume: str | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    options: SegmentOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    background: Box | None = None,
    confidence_of: str = "none",
    further: Sequence[SupportSet] = (),
    result: Box | None = None,
) -> protocol.Segment:
    """Asks for a structure in the open volume `query`; volume: the open one that a drawing was made on.

    result: where the structure of a drawing on another volume lies in that one, see `segment_volume`.
    Raises OutputError, and InputError for options that are not JSON.
    """
    from ..volume import Drawing

    drawing, support = None, None
    if isinstance(example, Drawing):
        drawing = drawn_on(folder, request_id, example, volume or query, result)
    else:
        support = f"{request_id}-support.npz"
        example.save(folder / support)
    others = None
    if background is not None and not background.is_empty:
        others = write_box(folder, f"{request_id}-background.npy", background)
    more = []
    for number, one in enumerate(further, 1):
        more.append(f"{request_id}-further-{number}.npz")
        one.save(folder / more[-1])
    values = (tuple(more), _model_name(model), _as_dict(options), device, others, confidence_of)
    request = protocol.Segment(request_id, query, drawing, support, *values)
    try:
        protocol.encode(request)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The options cannot be sent to the worker ({error}).", "Use numbers, texts and lists."
        ) from error
    return request


def write_box(folder: Path, name: str, box: Box) -> BoxFile:
    """Voxels in a file. Raises OutputError."""
    save_array(folder / name, np.ascontiguousarray(box.mask, np.uint8))
    return BoxFile(name, box.start)


def read_box(folder: Path, file: BoxFile) -> Box:
    """Voxels of a file. Raises WorkerFailure."""
    return Box(load_array(folder / file.file, np.uint8) > 0, file.start)


def read_optional_box(folder: Path, file: BoxFile | None) -> Box | None:
    """Voxels of a file, None without one. Raises WorkerFailure."""
    return None if file is None else read_box(folder, file)


def read_drawing(folder: Path, drawn: Drawn) -> Drawing:
    """A drawing of a request. Raises WorkerFailure."""
    from ..volume import Drawing

    box = read_box(folder, drawn.box)
    return Drawing(box, drawn.name, drawn.color, drawn.terminology, drawn.plane, drawn.not_here)


def write_result(folder: Path, request: protocol.Segment, segmentation: Segmentation) -> protocol.Result:
    """The answer to a request, its arrays written into `folder`. Raises OutputError."""
    mask = Box.around(segmentation.mask)
    confidence = None
    if request.confidence_of != "none":
        confidence = f"{request.id}-confidence.npy"
    box = BoxFile(f"{request.id}-mask.npy", mask.start)
    result = protocol.Result(request.id, box, confidence, segmentation.report.to_json())
    protocol.encode(result)  # a report that is not JSON fails here, where it becomes an error event
    write_box(folder, box.file, mask)
    if confidence is not None:
        whole = segmentation.confidence
        save_array(folder / confidence, whole if request.confidence_of == "volume" else mask.values(whole))
    return result


def read_found(folder: Path, request: protocol.Segment, answer: protocol.Event) -> Found:
    """What was found, as the answer names it; its confidence has the form that was asked for.

    Raises what an error event tells of, ProtocolError for an event that is no answer, and WorkerFailure for
    files that are missing or do not fit.
    """
    from ..segment.result import Found, Report

    result = answered(answer, protocol.Result)
    try:
        report = Report.from_json(result.report)
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError(f"The report of a result cannot be read: {error}.", result.id) from error
    mask, confidence = read_box(folder, result.mask), None
    if result.confidence is not None and request.confidence_of == "volume":
        confidence = load_array(folder / result.confidence, np.float32)
    elif result.confidence is not None:
        confidence = load_array(folder / result.confidence, np.float32, (mask.count,), dimensions=1)
    return Found(mask, confidence, report)


def read_opened(_folder: Path, _request: Any, answer: protocol.Event) -> protocol.Opened:
    """What the worker says of a volume. Raises as `answered`."""
    opened: protocol.Opened = answered(answer, protocol.Opened)
    return opened


def read_support(folder: Path, _request: Any, answer: protocol.Event) -> SupportSet:
    """The drawing with its image that an answer names. Raises as `read_found`, and InputError."""
    from ..volume import SupportSet

    return SupportSet.load(folder / answered(answer, protocol.Packed).support)


def greeting(answer: protocol.Event, hello_id: str) -> protocol.Ready:
    """The answer to `hello`. Raises as `answered`, also for another version."""
    ready: protocol.Ready = answered(answer, protocol.Ready)
    if ready.id != hello_id:
        raise ProtocolError("The worker answered another hello.", ready.id)
    protocol.require_version(ready.version, "worker")
    return ready


def answered(answer: protocol.Event, kind: type[Any]) -> Any:
    """The answer, if it is of that kind. Raises what an error event tells of, else ProtocolError."""
    if isinstance(answer, protocol.Error):
        raise protocol.exception_of(answer)
    if not isinstance(answer, kind):
        raise ProtocolError(f'The worker did not answer with "{kind.TYPE}".', answer.id)
    return answer


def _model_name(model: str | os.PathLike[str] | None) -> str | None:
    """A file's absolute path, since the worker may have started in another folder; else the name."""
    if model is None:
        return None
    return os.path.abspath(model) if os.path.isfile(model) else os.fspath(model)


def _as_dict(options: SegmentOptions | Mapping[str, Any] | None) -> dict[str, Any]:
    if options is None:
        return {}
    return dict(options) if isinstance(options, Mapping) else options.to_dict()
