"""What one segmentation puts into the exchange folder and takes out of it: for every kind of client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from . import protocol
from .exchange import load_array, save_array

if TYPE_CHECKING:
    from ..segment.options import SegmentOptions
    from ..segment.result import Segmentation
    from ..volume import SupportSet, Volume


def write_request(
    folder: Path,
    request_id: str,
    support: SupportSet,
    query: Volume,
    *,
    model: str | os.PathLike[str] | None = None,
    options: SegmentOptions | Mapping[str, Any] | None = None,
    device: str = "auto",
    query_file: str | None = None,
    background: np.ndarray | None = None,
    drawn_on: Volume | None = None,
) -> protocol.Segment:
    """The request, once its arrays lie in `folder`.

    `query_file` is the `query` of an earlier request for the same volume, whose file still lies there:
    several structures share one copy. `background` (k, j, i) and `drawn_on`: see `segment_volume`.
    Raises OutputError, and InputError for options that are not JSON.
    """
    request = protocol.Segment(
        id=request_id,
        support=f"{request_id}-support.npz",
        query=query_file or f"{request_id}-query.npy",
        ijk_to_ras=_rows(query.ijk_to_ras),
        name=query.name,
        model=_model_name(model),
        options=_as_dict(options),
        device=device,
        background=None if background is None else f"{request_id}-background.npy",
        drawn_on=None if drawn_on is None else f"{request_id}-drawn-on.npy",
        drawn_on_to_ras=None if drawn_on is None else _rows(drawn_on.ijk_to_ras),
    )
    try:
        protocol.encode(request)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The options cannot be sent to the worker ({error}).", "Use numbers, texts and lists."
        ) from error
    support.save(folder / request.support)
    if query_file is None:
        save_array(folder / request.query, query.array)
    if drawn_on is not None and request.drawn_on is not None:
        save_array(folder / request.drawn_on, drawn_on.array)
    if background is not None and request.background is not None:
        save_array(folder / request.background, np.ascontiguousarray(background != 0, np.uint8))
    return request


def read_answer(folder: Path, answer: protocol.Event, shape: tuple[int, ...]) -> Segmentation:
    """The segmentation that `answer` names, its arrays of the query's `shape` (k, j, i).

    Raises what an error event tells of, ProtocolError for an event that is no answer, and WorkerFailure for
    files that are missing or do not fit.
    """
    if isinstance(answer, protocol.Error):
        raise protocol.exception_of(answer)
    if not isinstance(answer, protocol.Result):
        raise protocol.ProtocolError("The worker did not answer segment with a result.", answer.id)
    return read_result(folder, answer, shape)


def read_result(folder: Path, result: protocol.Result, shape: tuple[int, ...]) -> Segmentation:
    """Mask, confidence and report of a result. Raises WorkerFailure and ProtocolError."""
    from ..segment.result import Report, Segmentation

    try:
        report = Report.from_json(result.report)
    except (TypeError, KeyError, ValueError) as error:
        raise protocol.ProtocolError(f"The report of a result cannot be read: {error}.", result.id) from error
    return Segmentation(
        mask=load_array(folder / result.mask, np.uint8, shape),
        confidence=load_array(folder / result.confidence, np.float32, shape),
        report=report,
    )


def _rows(matrix: np.ndarray) -> protocol.Matrix:
    return tuple(tuple(map(float, row)) for row in matrix)


def _model_name(model: str | os.PathLike[str] | None) -> str | None:
    """A file's absolute path, since the worker may have started in another folder; else the name."""
    if model is None:
        return None
    return os.path.abspath(model) if os.path.isfile(model) else os.fspath(model)


def _as_dict(options: SegmentOptions | Mapping[str, Any] | None) -> dict[str, Any]:
    if options is None:
        return {}
    return dict(options) if isinstance(options, Mapping) else options.to_dict()
