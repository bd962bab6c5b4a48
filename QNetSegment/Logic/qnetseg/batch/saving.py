"""The files of a finished study: a segmentation and the report that says what it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import replacing, replacing_together
from ..errors import OutputError, QNetSegmentError, heard_oddities
from .finished import read_report, sha256_or_empty
from .studies import RESULT_ENDING, Study

if TYPE_CHECKING:
    from ..segment.result import StructureResult
    from ..volume import LabelMap, SegmentInfo, Volume

LEAST_SURE = 3  # slices of a structure that the table names


def save_results(
    study: Study,
    grid: Volume,
    results: Sequence[StructureResult],
    recipe: dict[str, Any],
    oddities: Sequence[str] = (),
) -> None:
    """Write segmentation and report, or leave both as they were. Raises OutputError.

    grid: of the study's volume, its voxels are not looked at. oddities: sentences about its file.
    """
    from ..volume import write_labelmap

    target, path = study.target, study.report
    assert target is not None and path is not None
    before = path.read_bytes() if path.exists() else None
    try:
        with replacing_together([target, path], [RESULT_ENDING, ".json"]) as (staged, staged_report):
            write_labelmap(staged, labelmap_of(grid, results))
            digest = sha256_or_empty(staged)
            report = {
                "query": study.origin,
                "recipe": recipe,
                "file": target.name,
                "sha256": digest,
                "oddities": list(oddities),
                "segments": [
                    {"label": label, **result.report.to_json(), "least_sure": least_sure(grid, result)}
                    for label, result in enumerate(results, 1)
                ],
            }
            _write_json(staged_report, report)
            _announce(path, recipe, digest)
    except BaseException:
        _restore(path, before)
        raise


def save_dicom(
    study: Study,
    grid: Volume,
    results: Sequence[StructureResult],
    model: str | None,
    options: Mapping[str, Any],
    known: Sequence[str] = (),
) -> str:
    """Write `<name>.seg.dcm` of a study that is a DICOM series, after its results were saved.

    known: what was said of its images before. Returns in sentences what else is odd about them, or why
    there is no such file; its results stay.
    """
    from .. import models
    from ..volume.dicom_beside import save_dicom_beside

    if study.target is None or not study.is_file:
        return ""
    infos = _infos(results)
    segments = [(info, result.mask) for info, result in zip(infos, results, strict=True)]
    kinds = [models.QNET] if options.get("method") == "q-net" else [models.PROPAGATION, models.QNET]
    try:
        weights = models.digests(models.weights_for(kinds, model))
        with heard_oddities() as oddities:
            save_dicom_beside(study.target, Path(study.source), grid, segments, weights)
    except QNetSegmentError as error:
        return str(error)
    return " ".join(one for one in oddities if one not in known)


def least_sure(grid: Volume, result: StructureResult) -> dict[str, Any]:
    """The slices to look at first: plane and numbers as the volume's file has them, with their scores."""
    from ..volume import file_slices

    report = result.report
    slices = file_slices(grid, report.plane, result.axes)
    others = sorted((part.score, part.index) for part in report.slices if not part.drawn)
    named = [{"index": slices.at(index), "score": score} for score, index in others[:LEAST_SURE]]
    return {"plane": slices.name, "axis": slices.axis, "slices": named}


def _announce(path: Path, recipe: dict[str, Any], digest: str) -> None:
    """Say in the old report, or in one without a result, which segmentation comes next.

    Two files cannot be replaced in one step. A batch that is killed after the first one leaves a segmentation
    that nobody has edited, and that no report tells of; by this note the next batch knows it.
    """
    made_of = {"qnetseg": recipe["qnetseg"], "image": recipe["image"]}
    report = (read_report(path) if path.exists() else None) or {"recipe": made_of, "sha256": ""}
    with replacing(path) as temporary:
        _write_json(temporary, {**report, "next": [digest, recipe["image"]]})


def _restore(path: Path, content: bytes | None) -> None:
    """Take the announcement back."""
    with suppress(OSError, OutputError):
        if content is None:
            path.unlink(missing_ok=True)
        elif path.read_bytes() != content:
            with replacing(path) as temporary:
                temporary.write_bytes(content)


def _write_json(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def labelmap_of(grid: Volume, results: Sequence[StructureResult]) -> LabelMap:
    """One label for every structure, from 1, with the name, colour and terminology that was drawn."""
    import numpy as np

    from ..volume import LabelMap

    labels = np.zeros(grid.shape, np.uint16)
    for label, result in enumerate(results, 1):
        labels[result.mask.where][result.mask.mask] = label
    return LabelMap(labels, grid.ijk_to_ras, _infos(results))


def _infos(results: Sequence[StructureResult]) -> tuple[SegmentInfo, ...]:
    from ..volume import SegmentInfo

    examples = enumerate((result.example for result in results), 1)
    return tuple(SegmentInfo(label, one.name, one.color, one.terminology) for label, one in examples)
