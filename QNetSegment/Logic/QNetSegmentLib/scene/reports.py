"""The reports of a segmentation, kept on its node so that a saved scene can be reviewed again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .canonical import in_own_planes
from .volumes import grid_of

if TYPE_CHECKING:
    from qnetseg.segment import Report

    from .results import StructureResult

ATTRIBUTE = "QNetSegment.Reports"


def store_reports(node: Any, results: Sequence[StructureResult], volume_node: Any) -> None:
    """Keep one report for each segment of `node`, in the order of its segments.

    Slices are counted by the volume's own axes, as everywhere in the panel; the volume in ml is that of the
    segment, which may have left voxels to another structure.
    """
    voxel_ml = abs(float(np.linalg.det(grid_of(volume_node)[1][:3, :3]))) / 1000
    reports = [
        replace(
            in_own_planes(result.segmentation.report, result.support.axes, volume_node),
            volume_ml=float(result.mask.sum()) * voxel_ml,
        )
        for result in results
    ]
    node.SetAttribute(ATTRIBUTE, json.dumps([report.to_json() for report in reports]))


def stored_reports(node: Any) -> list[Report]:
    """The reports of `node`; none when it has none that can be read, as in a scene made by hand."""
    from qnetseg.segment import Report

    try:
        return [Report.from_json(entry) for entry in json.loads(node.GetAttribute(ATTRIBUTE) or "[]")]
    except (ValueError, TypeError, KeyError):
        return []
