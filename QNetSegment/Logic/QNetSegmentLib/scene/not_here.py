"""The slices that are marked as free of a structure: listed, marked, and taken back by drawing on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from qnetseg.errors import MaskError

from .canonical import CanonicalGrid
from .drawings import DrawnSlice, Undo, slice_place
from .layers import require_segment
from .marks import marks_of, set_marks


def marked_slices(segmentation_node: Any, volume_node: Any, drawn: Sequence[DrawnSlice]) -> list[DrawnSlice]:
    """The marked slices of every structure that is drawn, in the plane of its drawing.

    drawn: what `drawn_slices` says of the same two nodes.
    """
    found, grid = [], CanonicalGrid.of(volume_node)
    for first in {part.segment_id: part for part in reversed(drawn)}.values():
        segment = require_segment(segmentation_node, first.segment_id)
        for index in marks_of(segment, first.plane, grid.count(first.plane)):
            center = grid.center(first.plane, index)
            position = slice_place(grid, first.plane, index, first.section, center)
            found.append(
                replace(first, index=index, position=position, area_mm2=0.0, center=center, not_here=True)
            )
    return found


def mark_slice(
    segmentation_node: Any, segment_id: str, volume_node: Any, plane: str, index: int, here: bool = False
) -> Undo:
    """Mark a slice as free of the structure, or with `here` take the mark back.

    plane, index: as in `DrawnSlice`. Returns a function that undoes it, and leaves what was marked since.
    Raises MaskError for a segment and InputError for a slice that there is not.
    """
    grid = CanonicalGrid.of(volume_node)
    grid.native_slice(plane, index)
    count = grid.count(plane)

    def put(mark: bool) -> bool:
        segment = require_segment(segmentation_node, segment_id)
        before = set(marks_of(segment, plane, count))
        set_marks(segment, plane, count, before | {index} if mark else before - {index})
        return index in before

    was = put(not here)

    def undo() -> None:
        put(was)

    return undo


def is_marked(segmentation_node: Any, segment_id: str, volume_node: Any, plane: str, index: int) -> bool:
    """Whether a slice is marked. Raises MaskError for a segment that is gone."""
    segment = require_segment(segmentation_node, segment_id)
    return index in marks_of(segment, plane, CanonicalGrid.of(volume_node).count(plane))


def drop_drawn_marks(segmentation_node: Any, volume_node: Any, drawn: Sequence[DrawnSlice]) -> None:
    """Take back the marks of slices that were drawn on since: who draws says that it is there."""
    for part in drawn:
        if is_marked(segmentation_node, part.segment_id, volume_node, part.plane, part.index):
            mark_slice(segmentation_node, part.segment_id, volume_node, part.plane, part.index, here=True)


def require_blank(drawn: Sequence[DrawnSlice], segment_id: str, index: int) -> None:
    """MaskError where the structure is drawn on that very slice."""
    if any((part.segment_id, part.index) == (segment_id, index) for part in drawn):
        raise MaskError(
            _("The structure is drawn on this slice."), _("Erase it there first, or choose another slice.")
        )
