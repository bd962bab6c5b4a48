"""Fields of the protocol's messages: what they may hold, and what is made of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

CONFIDENCE = ("none", "mask", "volume")
"""Of no voxel; (n,) of those of the mask, in the order of its box; (k, j, i) of all."""

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class BoxFile:
    """Voxels of a volume's own grid: a file (.npy, (k, j, i) uint8) and where it begins, (k, j, i)."""

    file: str
    start: tuple[int, int, int]


@dataclass(frozen=True)
class Drawn:
    """What was drawn on the open volume `volume`; the rest as of `qnetseg.volume.Drawing`."""

    volume: str
    box: BoxFile
    name: str
    color: tuple[float, float, float]
    terminology: str
    plane: str | None
    not_here: tuple[int, ...]


def is_id(value: object) -> bool:
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


def _is_triple(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value))


def _is_box(value: object) -> bool:
    """Of BoxFile; a box may begin before the grid does."""
    if not isinstance(value, dict) or value.keys() != {"file", "start"}:
        return False
    start = value["start"]
    whole = isinstance(start, list) and len(start) == 3 and all(type(one) is int for one in start)
    return whole and all(abs(one) < 1 << 31 for one in start) and _is_file_name(value["file"])


def _is_drawn(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {field.name for field in fields(Drawn)}:
        return False
    color, marks = value["color"], value["not_here"]
    return (
        is_id(value["volume"])
        and _is_box(value["box"])
        and _is_text(value["name"])
        and (isinstance(color, list) and len(color) == 3 and all(map(_is_number, color)))
        and _is_text(value["terminology"])
        and (value["plane"] is None or _is_text(value["plane"]))
        and (isinstance(marks, list) and all(map(_is_count, marks)))
    )


def _box(value: Any) -> BoxFile:
    return BoxFile(value["file"], tuple(value["start"]))


def _drawn(value: Any) -> Drawn:
    tuples = {key: tuple(value[key]) for key in ("color", "not_here")}
    return Drawn(**{**value, **tuples, "box": _box(value["box"])})


def _matrix(value: Any) -> Matrix:
    return tuple(tuple(float(x) for x in row) for row in value)


# A field means the same in every message that has it.
CHECKS: dict[str, Callable[[object], bool]] = {
    "version": _is_count,
    "folder": _is_text,
    "path": _is_text,
    "series": _is_text,
    "array": _is_file_name,
    "ijk_to_ras": _is_matrix,
    "name": _is_text,
    "query": is_id,
    "volume": is_id,
    "drawing": _is_drawn,
    "support": _is_file_name,
    "model": _is_text,
    "options": lambda value: isinstance(value, dict),
    "device": _is_text,
    "background": _is_box,
    "pid": _is_count,
    "torch": _is_text,
    "shape": _is_triple,
    "fingerprint": _is_text,
    "oddities": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "done": _is_count,
    "total": _is_count,
    "stage": _is_text,
    "eta_s": _is_number,
    "mask": _is_box,
    "confidence": _is_file_name,
    "confidence_of": lambda value: value in CONFIDENCE,
    "report": lambda value: isinstance(value, dict),
    "kind": _is_text,
    "message": _is_text,
    "advice": _is_text,
    "details": _is_text,
}
BUILT: dict[str, Callable[[Any], Any]] = {
    "ijk_to_ras": _matrix,
    "drawing": _drawn,
    "background": _box,
    "mask": _box,
    "shape": tuple,
    "oddities": tuple,
}
