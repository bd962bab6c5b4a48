"""The reports of a segmentation, kept on its node so that a saved scene can be reviewed again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qnetseg.parsing import parse_json
from qnetseg.segment.result import StructureResult

from .canonical import in_own_planes
from .layers import segment_ids_of
from .results import REPORTS
from .volumes import lattice_of

if TYPE_CHECKING:
    from qnetseg.segment import Report


@dataclass(frozen=True)
class Found:
    """A segment of a result: its id, its report, and the id of the segment that was drawn, if it is known."""

    segment_id: str
    report: Report
    drawn_id: str = ""


def store_reports(
    node: Any, results: Sequence[StructureResult], volume_node: Any, drawn_ids: Sequence[str] = ()
) -> None:
    """Keep the report of each segment of `node`, which has just been written from `results`.

    drawn_ids: of the segments that were drawn, in the order of the results; empty for support sets.
    Slices are counted by the volume's own axes, as everywhere in the panel; the volume in ml is that of the
    segment, which may have left voxels to another structure.
    """
    voxel_ml = abs(float(np.linalg.det(lattice_of(volume_node).ijk_to_local[:3, :3]))) / 1000
    entries = []
    for number, (result, segment_id) in enumerate(zip(results, segment_ids_of(node), strict=True)):
        report = replace(
            in_own_planes(result.report, result.axes, volume_node),
            volume_ml=result.mask.count * voxel_ml,
        )
        drawn = drawn_ids[number] if len(drawn_ids) == len(results) else ""
        entries.append({"segment": segment_id, "drawn": drawn, "report": report.to_json()})
    node.SetAttribute(REPORTS, json.dumps(entries))


def reports_text(node: Any) -> str:
    """All reports of a node as one text, to see whether they are other ones; empty for None."""
    return "" if node is None else node.GetAttribute(REPORTS) or ""


def stored_reports(node: Any) -> list[Found]:
    """What is known of the segments that `node` still has; nothing for None and what was made by hand."""
    from qnetseg.segment import Report

    if node is None:
        return []
    here = set(segment_ids_of(node))
    try:
        entries = parse_json(node.GetAttribute(REPORTS) or "[]")
        found = [Found(e["segment"], Report.from_json(e["report"]), e["drawn"]) for e in entries]
    except (ValueError, TypeError, KeyError):
        return []
    return [one for one in found if one.segment_id in here]
