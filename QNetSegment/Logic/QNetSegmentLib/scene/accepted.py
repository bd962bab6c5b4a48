"""What the user has accepted for a drawing: where it serves another volume, its result goes along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from qnetseg.boxes import Box

from .drawings import drawn_segment_ids
from .layers import read_box, segment_ids_of
from .reports import stored_reports
from .results import is_preview, volume_of_result
from .volumes import lattice_of


def accepted_results(
    drawing: Any, volume_node: Any, segment_ids: Sequence[str] | None = None
) -> list[Box | None]:
    """For each drawing that `drawings_of` finds its accepted result, perhaps corrected since, or None.

    segment_ids: of the drawings, all if None. The results lie on the voxels of `volume_node`, which was drawn
    on; those of other volumes are none of it. A result belongs to the segment that its report names; where
    that one is gone, or was in no drawing, to one of its own name, or of its structure's. It has to meet what
    is drawn: the segment may have been drawn anew elsewhere, and many structures are called "structure". Of
    several results the one that was written last counts.
    Raises MaskError, and VolumeError for a volume that is gone.
    """
    lattice = lattice_of(volume_node)
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    there = {segment_id for node in nodes for segment_id in segment_ids_of(node)}
    kept = [
        (node, found)
        for node in nodes
        if node is not drawing and not is_preview(node) and volume_of_result(node) is volume_node
        for found in stored_reports(node)
    ]
    kept = sorted(kept, key=lambda one: one[1].written)[::-1]  # the last one first, also of the same time

    def result_of(segment_id: str) -> Box | None:
        name = drawing.GetSegmentation().GetSegment(segment_id).GetName()
        drawn = read_box(drawing, segment_id, lattice)
        own = [one for one in kept if one[1].drawn_id == segment_id]
        alike = [one for one in kept if one[1].drawn_id not in there and name in _names(*one)]
        for node, found in own + alike:
            box = read_box(node, found.segment_id, lattice).clipped(lattice.shape)
            if not box.meeting(drawn).is_empty:
                return box
        return None

    return [result_of(segment_id) for segment_id in drawn_segment_ids(drawing, volume_node, segment_ids)]


def _names(node: Any, found: Any) -> tuple[str, str]:
    """The segment's own, which may be another one to be new where it was accepted, and its structure's."""
    return node.GetSegmentation().GetSegment(found.segment_id).GetName(), found.report.structure
