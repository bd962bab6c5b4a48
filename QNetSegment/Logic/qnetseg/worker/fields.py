"""Fields of the protocol's messages: their types say what they may hold, `built` makes them of JSON."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

CONFIDENCE = ("none", "mask", "volume")
"""Of no voxel; (n,) of those of the mask, in the order of its box; (k, j, i) of all."""


def is_id(value: object) -> bool:
    """Ids become part of file names."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None


def _is_file_name(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value) is not None


def _is_4x4(rows: tuple[tuple[float, ...], ...]) -> bool:
    return [len(row) for row in rows] == [4] * 4


Id = Annotated[str, is_id]
FileName = Annotated[str, _is_file_name]
Count = Annotated[int, lambda value: value >= 0]
Triple = tuple[Count, Count, Count]
Matrix = Annotated[tuple[tuple[float, ...], ...], _is_4x4]
Confidence = Annotated[str, CONFIDENCE.__contains__]


@dataclass(frozen=True)
class BoxFile:
    """Voxels of a volume's own grid: a file (.npy, (k, j, i) uint8) and where it begins, (k, j, i)."""

    file: FileName
    start: tuple[int, int, int]  # perhaps before the grid


@dataclass(frozen=True)
class Drawn:
    """What was drawn on the open volume `volume`; the rest as of `qnetseg.volume.Drawing`.

    `result`: where its structure lies in the whole volume, or None to have it segmented where that is needed.
    """

    volume: Id
    box: BoxFile
    name: str
    color: tuple[float, float, float]
    terminology: str
    plane: str | None
    not_here: tuple[Count, ...]
    result: BoxFile | None


def types_of(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by their names."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def built(kind: Any, value: Any) -> Any:
    """What a JSON value means as a field of that type. Raises ValueError for an impossible one."""
    origin, parts = get_origin(kind), get_args(kind)
    if type(None) in parts:
        return None if value is None else built(parts[0], value)
    if origin is Annotated:
        found = built(parts[0], value)
        return _required(parts[1](found), found)
    if origin is tuple:
        _required(isinstance(value, list), value)
        kinds = parts[:1] * len(value) if parts[-1] is ... else parts
        return tuple(built(each, one) for each, one in zip(kinds, value, strict=True))
    if is_dataclass(kind):
        types = types_of(kind)
        _required(isinstance(value, dict) and value.keys() == types.keys(), value)
        return kind(**{name: built(each, value[name]) for name, each in types.items()})  # type: ignore[operator]
    if kind is float:  # JSON has integers of any size, and 1e999 is read as infinity
        return float(_required(type(value) in (int, float) and abs(value) <= sys.float_info.max, value))
    if kind is int:
        return _required(type(value) is int and abs(value) < 1 << 31, value)
    return _required(isinstance(value, origin or kind), value)


def _required(fits: bool, value: Any) -> Any:
    if not fits:
        raise ValueError(value)
    return value
