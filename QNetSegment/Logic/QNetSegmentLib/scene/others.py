"""What is known to be something else: the segments beside a structure, which it may not run into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qnetseg.boxes import Box

from .layers import read_box, segment_ids_of
from .results import is_preview, volume_of_result
from .volumes import lattice_of


def others_than_drawn(
    drawing: Any, segment_ids: Sequence[str], volume_node: Any, also: Any = None
) -> list[Box]:
    """For each drawn segment the visible other ones, on the voxels of `volume_node`, which was drawn on.

    also: a further segmentation (see `visible_in`), or None. What is drawn of the structure itself is never
    something else, also where two drawings overlap.
    """
    lattice = lattice_of(volume_node)
    shown = {one: read_box(drawing, one, lattice) for one in visible_ids(drawing)}
    found = []
    for segment_id in segment_ids:
        name = drawing.GetSegmentation().GetSegment(segment_id).GetName()
        box = visible_in(also if also is not drawing else None, volume_node, name)
        for other, part in shown.items():
            box = box if other == segment_id else box.joined(part)
        found.append(box.without(read_box(drawing, segment_id, lattice)))
    return found


def visible_in(node: Any, volume_node: Any, but: str) -> Box:
    """The visible segments of a segmentation node on a volume's voxels, but those of the name `but`.

    Nothing for None, for a result that is not accepted yet, and for a segmentation of another volume. A
    segment of the same name is an earlier result for the same structure, and nothing else.
    """
    box = Box.empty()
    if node is None or is_preview(node) or volume_of_result(node) is not volume_node:
        return box
    lattice = lattice_of(volume_node)
    for segment_id in visible_ids(node):
        if node.GetSegmentation().GetSegment(segment_id).GetName() != but:
            box = box.joined(read_box(node, segment_id, lattice))
    return box


def visible_ids(node: Any) -> list[str]:
    """The segments that the user sees; all of them where nothing says how they are shown."""
    display = node.GetDisplayNode()
    ids = segment_ids_of(node)
    if display is None:
        return list(ids)
    return [one for one in ids if display.GetVisibility() and display.GetSegmentVisibility(one)]
