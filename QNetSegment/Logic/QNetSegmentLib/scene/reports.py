"""The reports of a segmentation, kept on its node so that a saved scene can be reviewed again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qnetseg.parsing import parse_json
from qnetseg.segment.result import StructureResult

from .canonical import in_own_planes
from .layers import segment_ids_of
from .volumes import lattice_of

if TYPE_CHECKING:
    from qnetseg.segment import Report

REPORTS = "QNetSegment.Reports"
"""Attribute of a segmentation node that holds its reports."""


@dataclass(frozen=True)
class Found:
    """A segment of a result.

    Attributes:
        segment_id: its own.
        report: of the run.
        drawn_id: of the segment that was drawn, if it is known.
        written: when, in seconds since 1970; 0 in scenes of older versions.
    """

    segment_id: str
    report: Report
    drawn_id: str = ""
    written: float = 0.0


def store_reports(
    node: Any, results: Sequence[StructureResult], volume_node: Any, drawn_ids: Sequence[str] = ()
) -> None:
    """Keep the report of each segment of `node`, which has just been written from `results`.

    drawn_ids: of the segments that were drawn, in the order of the results; empty for support sets.
    Slices are counted by the volume's own axes, as everywhere in the panel; the volume in ml is that of the
    segment, which may have left voxels to another structure.
    """
    voxel_ml = abs(float(np.linalg.det(lattice_of(volume_node).ijk_to_local[:3, :3]))) / 1000
    all_found, now = [], time.time()
    for number, (result, segment_id) in enumerate(zip(results, segment_ids_of(node), strict=True)):
        report = replace(
            in_own_planes(result.report, result.axes, volume_node),
            volume_ml=result.mask.count * voxel_ml,
        )
        drawn = drawn_ids[number] if len(drawn_ids) == len(results) else ""
        all_found.append(Found(segment_id, report, drawn, now))
    _write(node, all_found)


def add_reports(node: Any, source: Any, copies: Mapping[str, str]) -> None:
    """Give `node`, behind its own, the reports of segments that were copied from `source`, another
    segmentation of the same volume.

    copies: by a segment's id in `source` that of its copy in `node`.
    """
    others = [found for found in stored_reports(source) if found.segment_id in copies]
    own = [replace(found, segment_id=copies[found.segment_id]) for found in others]
    _write(node, [*stored_reports(node), *own])


def _write(node: Any, all_found: Sequence[Found]) -> None:
    entries = [
        {"segment": f.segment_id, "drawn": f.drawn_id, "report": f.report.to_json(), "written": f.written}
        for f in all_found
    ]
    set_reports_text(node, json.dumps(entries) if entries else "")


def reports_text(node: Any) -> str:
    """All reports of a node as one text, to see whether they are other ones; empty for None."""
    return "" if node is None else node.GetAttribute(REPORTS) or ""


def set_reports_text(node: Any, text: str) -> None:
    """Give a node the reports of a text that `reports_text` has read from it, or from one like it."""
    node.SetAttribute(REPORTS, text or None)


def stored_reports(node: Any) -> list[Found]:
    """What is known of the segments that `node` still has; nothing for None and what was made by hand."""
    from qnetseg.segment import Report

    if node is None:
        return []
    here = set(segment_ids_of(node))
    try:
        entries = parse_json(node.GetAttribute(REPORTS) or "[]")
        found = [
            Found(e["segment"], Report.from_json(e["report"]), e["drawn"], float(e.get("written", 0)))
            for e in entries
        ]
    except (ValueError, TypeError, KeyError):
        return []
    return [one for one in found if one.segment_id in here]
