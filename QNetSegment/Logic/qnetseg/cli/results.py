"""What `qnetseg segment` gives back: files, a report, and a few lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .common import print_json, print_text, say
from .outputs import appearing_together

if TYPE_CHECKING:
    from ..segment.result import Found, Report
    from ..volume import FileSlices, LabelMap, Volume
    from .inputs import Structure


def in_file_terms(report: Report, slices: FileSlices, drawn: FileSlices | None) -> dict[str, Any]:
    """A report with the plane and the slice numbers that viewers and the files have.

    slices: of the query. drawn: of the volume that was drawn on; None where that is not known.
    """
    content = report.to_json()
    for part in content["slices"]:
        part["index"] = slices.at(part["index"])
        part["support_index"] = None if drawn is None else drawn.at(part["support_index"])
    content["slices"] = sorted(content["slices"], key=lambda part: part["index"])
    return {**content, "plane": slices.name, "axis": slices.axis}


def combine(structures: list[Structure], found: list[Found], grid: Volume) -> tuple[LabelMap, int]:
    """One label map, and how many voxels several segments claimed; these go to one of them.

    grid: of the query. See `share_voxels`.
    """
    from ..segment.overlap import share_voxels
    from ..volume import LabelMap

    labels = np.zeros(grid.shape, np.int32)
    claims = np.zeros(grid.shape, np.uint16)
    for structure, one, own in zip(structures, found, share_voxels(found), strict=True):
        labels[own.where][own.mask] = structure.info.label
        claims[one.mask.where] += one.mask.mask
    segments = tuple(structure.info for structure in structures)
    return LabelMap(labels, grid.ijk_to_ras, segments, grid.placement), int((claims > 1).sum())


def write_results(
    targets: dict[str, Path],
    labelmap: LabelMap,
    confidence: Volume | None,
    report: dict[str, Any],
    write_dicom: Callable[[Path], None] | None = None,
) -> None:
    """Write all files, or none; write_dicom: writes the output instead of a label map. Raises OutputError."""
    from ..volume import write_labelmap, write_volume
    from ..volume.io import ENDINGS

    with appearing_together(list(targets.values()), ENDINGS) as staged:
        for name, path in zip(targets, staged, strict=True):
            if name == "output" and write_dicom is not None:
                write_dicom(path)
            elif name == "output":
                write_labelmap(path, labelmap)
            elif name == "confidence" and confidence is not None:
                write_volume(path, confidence)
            else:
                path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def tell(report: dict[str, Any], as_json: bool) -> None:
    """Say what came out."""
    from ..segment.result import volume_text

    for segment in report["segments"]:
        for warning in segment["warnings"]:
            say(f"warning: {segment['structure']}: {warning}")
    if as_json:
        print_json(report)
        return
    for segment in report["segments"]:
        occupied = [part for part in segment["slices"] if part["occupied"]]
        others = [part for part in segment["slices"] if not part["drawn"]]  # also those left empty
        doubtful = [part["index"] for part in others if part["score"] < 0.6]
        where = f"{len(occupied)} of {len(segment['slices'])} {segment['plane']} slices"
        how = f"{segment['seconds']:.1f} s on {segment['device']}"
        look = f"; look at slices {_ranges(doubtful)}" if doubtful else ""
        print_text(f"{segment['structure']}: {volume_text(segment['volume_ml'])} on {where}, {how}{look}")
    for name, path in report["outputs"].items():
        print_text(f"{name:10s} {path}")


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers as "3-5, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
