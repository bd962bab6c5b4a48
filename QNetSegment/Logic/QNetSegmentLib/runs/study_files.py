"""The files of a finished study: a segmentation and the report that says what it was made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from qnetseg import __version__, models
from qnetseg.atomic import replacing, replacing_together
from qnetseg.errors import MaskError, OutputError, QNetSegmentError
from qnetseg.parsing import parse_json, read_text

from .run import StructureResult
from .studies import RESULT_ENDING, Study, origin

if TYPE_CHECKING:
    from qnetseg.volume import LabelMap, SupportSet, Volume


def recipe_of(
    image: str,
    supports: Sequence[SupportSet],
    whole: Sequence[bool],
    model: str | None,
    options: dict[str, Any] | None,
) -> dict[str, Any]:
    """Everything that decides what the result is, JSON-able: two equal recipes give the same result.

    image: its `volume_id`; images of different patients often have the same name. whole: for each support,
    whether the volume that it was drawn on is at hand, which helps to find the place.
    """
    recipe = {
        "qnetseg": __version__,
        "image": image,
        "structures": [support.name for support in supports],
        "drawings": fingerprint(supports),
        "whole": list(whole),
        "model": None if model is None else os.fspath(model),
        "weights": _weights(model),  # files are trained anew under the same name
        "options": options or {},
    }
    content: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
    return content


def fingerprint(supports: Sequence[SupportSet]) -> str:
    """SHA-256 of the drawn slices: their planes, indices, images and masks."""
    digest = hashlib.sha256()
    for support in supports:
        for part in support.slices:
            digest.update(f"{support.name} {part.plane} {part.index} {part.mask.shape}".encode())
            digest.update(part.image.tobytes())
            digest.update(part.mask.tobytes())
    return digest.hexdigest()


def _weights(model: str | None) -> list[str]:
    """SHA-256 of the files that segment: that of the model, and those of the default ones beside it.

    A file that cannot be read, with which no study will succeed, counts as empty.
    """
    catalogue = models.read_catalogue()
    known = {entry.name: entry.sha256 for entry in catalogue.models}
    digests = [known.get(name, "") for name in catalogue.defaults.values()]
    if model is None:
        return digests
    return [known[model] if model in known else _sha256_of_model(model), *digests]


def _sha256_of_model(path: str) -> str:
    try:
        found = os.stat(path)
        return _sha256_of_state(os.fspath(path), found.st_size, found.st_mtime_ns, found.st_ino)
    except OSError:
        return ""


@lru_cache(maxsize=4)
def _sha256_of_state(path: str, _size: int, _changed: int, _number: int) -> str:
    """Once for all studies, as long as the file stays the same. Raises OSError."""
    return models.sha256(path)


def finished_before(study: Study, recipe: dict[str, Any], redo: bool) -> str:
    """A sentence when an earlier batch has finished the study; empty when it has to be run.

    Raises OutputError when a file is in the way that would be lost: one that no batch wrote, the result of
    another image, or a result of another drawing or model that somebody has edited since. redo: run again
    what a batch made of this image.
    """
    target, path = study.target, study.report
    if target is None or path is None or not (target.exists() or path.exists()):
        return ""
    report = _our_report(path)
    if report is None:
        foreign = target if target.exists() else path
        raise OutputError(
            _("The file '{name}' is in the way: it was not written by a batch.").format(name=foreign.name),
            _("Move or rename it, or choose another folder for the results."),
        )
    if not target.exists():
        return ""
    digest = _sha256(target)
    if report.get("next") == [digest, recipe["image"]]:
        return ""  # an earlier batch was killed between segmentation and report
    made_of = report["recipe"]
    if made_of.get("image") != recipe["image"] and _is_segmentation(target):
        raise OutputError(
            _("The file '{name}' is in the way: it is the result of another image.").format(name=target.name),
            _("Choose another folder for the results, or rename the image."),
        )
    if redo:
        return ""
    edited = digest != report.get("sha256")
    if edited and not _is_segmentation(target):
        return ""  # broken, by a full disk or a power failure
    if made_of == recipe:
        return _("finished earlier, edited since") if edited else _("finished earlier")
    if edited:
        raise OutputError(
            _("The file '{name}' was edited after an earlier batch with another drawing or model.").format(
                name=target.name
            ),
            _("Move or rename it, or let everything be run again."),
        )
    return ""


def save_results(
    study: Study, grid: Volume, results: Sequence[StructureResult], recipe: dict[str, Any]
) -> None:
    """Write segmentation and report, or leave both as they were. Raises OutputError."""
    from qnetseg.volume import write_labelmap

    target, path = study.target, study.report
    assert target is not None and path is not None
    before = path.read_bytes() if path.exists() else None
    try:
        with replacing_together([target, path], [RESULT_ENDING, ".json"]) as (staged, staged_report):
            write_labelmap(staged, labelmap_of(grid, results))
            digest = _sha256(staged)
            report = {
                "query": origin(study),
                "recipe": recipe,
                "file": target.name,
                "sha256": digest,
                "segments": [
                    {"label": label, **result.report.to_json()} for label, result in enumerate(results, 1)
                ],
            }
            _write_json(staged_report, report)
            _announce(path, recipe, digest)
    except BaseException:
        _restore(path, before)
        raise


def _announce(path: Path, recipe: dict[str, Any], digest: str) -> None:
    """Say in the old report, or in one without a result, which segmentation comes next.

    Two files cannot be replaced in one step. A batch that is killed after the first one leaves a segmentation
    that nobody has edited, and that no report tells of; by this note the next batch knows it.
    """
    made_of = {"qnetseg": recipe["qnetseg"], "image": recipe["image"]}
    report = (_our_report(path) if path.exists() else None) or {"recipe": made_of, "sha256": ""}
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

    from qnetseg.volume import LabelMap, SegmentInfo

    labels = np.zeros(grid.shape, np.uint16)
    segments = []
    for label, result in enumerate(results, 1):
        labels[result.mask.where][result.mask.mask] = label
        example = result.example
        segments.append(SegmentInfo(label, example.name, example.color, example.terminology))
    return LabelMap(labels, grid.ijk_to_ras, tuple(segments))


def _our_report(path: Path) -> dict[str, Any] | None:
    try:
        report = parse_json(read_text(path))
        ours = isinstance(report["recipe"], dict) and "qnetseg" in report["recipe"] and "sha256" in report
        return report if ours else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_segmentation(path: Path) -> bool:
    from qnetseg.volume import read_labelmap

    try:
        read_labelmap(path)
    except MaskError:
        return True  # readable; what somebody edited may have overlaps
    except QNetSegmentError:
        return False
    return True


def _sha256(path: Path) -> str:
    try:
        return models.sha256(path)
    except OSError:
        return ""
