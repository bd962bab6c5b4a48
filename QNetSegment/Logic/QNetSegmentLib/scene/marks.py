"""Slices that a user marked as free of a structure ("not here"), kept in a tag of the segment.

Slicer saves the tags of a segment with the scene and in .seg.nrrd files. A mark is a plane and the index of a
slice of the canonical volume, as in `DrawnSlice`; with them stands how many slices that volume has, so that
marks are not taken for slices of a volume that was cropped since.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import vtk

TAG = "QNetSegment.NotHere"
ENTRY = re.compile(r"([a-z]+)/(\d+)=([\d,]+)")  # for example "axial/36=4,5"; Slicer itself uses : and |


def marks_of(segment: Any, plane: str, count: int) -> list[int]:
    """The marked slices of a plane that has `count` of them, ascending."""
    text = _entries(segment).get((plane, count), "")
    return sorted({int(part) for part in text.split(",") if part and int(part) < count})


def set_marks(segment: Any, plane: str, count: int, indices: Iterable[int]) -> None:
    """Replace the marks of a plane; those of other planes stay."""
    entries = _entries(segment)
    entries[plane, count] = ",".join(map(str, sorted(set(indices))))
    text = " ".join(f"{name}/{of}={those}" for (name, of), those in sorted(entries.items()) if those)
    if text:
        segment.SetTag(TAG, text)
    else:
        segment.RemoveTag(TAG)


def tag_text(segment: Any) -> str:
    """All marks as one text; empty without any."""
    entry = vtk.mutable("")
    return str(entry) if segment.GetTag(TAG, entry) else ""


def _entries(segment: Any) -> dict[tuple[str, int], str]:
    return {(plane, int(count)): those for plane, count, those in ENTRY.findall(tag_text(segment))}
