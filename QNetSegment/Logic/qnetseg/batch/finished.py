"""Whether an earlier batch has finished a study: what its result was made of, as the report says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, models
from ..errors import MaskError, OutputError, QNetSegmentError
from ..parsing import parse_json, read_text
from .studies import Study

if TYPE_CHECKING:
    from ..volume import SupportSet

FINISHED, EDITED = "finished earlier", "finished earlier, edited since"
HOW_FAST = ("threads",)  # options that change no result


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
        "options": {name: value for name, value in (options or {}).items() if name not in HOW_FAST},
    }
    content: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
    return content


def fingerprint(supports: Sequence[SupportSet]) -> str:
    """SHA-256 of the drawn slices, their planes, indices, images and masks, and of patients' structures."""
    digest = hashlib.sha256()
    for support in supports:
        for part in support.slices:
            digest.update(f"{support.name} {part.plane} {part.index} {part.mask.shape}".encode())
            digest.update(part.image.tobytes())
            digest.update(part.mask.tobytes())
        if support.patient is not None:
            digest.update(support.patient.structure.tobytes())
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
    report = read_report(path)
    if report is None:
        foreign = target if target.exists() else path
        raise OutputError(
            f"The file '{foreign.name}' is in the way: it was not written by a batch.",
            "Move or rename it, or choose another folder for the results.",
        )
    if not target.exists():
        return ""
    digest = sha256_or_empty(target)
    if report.get("next") == [digest, recipe["image"]]:
        return ""  # an earlier batch was killed between segmentation and report
    made_of = report["recipe"]
    if made_of.get("image") != recipe["image"] and _is_segmentation(target):
        raise OutputError(
            f"The file '{target.name}' is in the way: it is the result of another image.",
            "Choose another folder for the results, or rename the image.",
        )
    if redo:
        return ""
    edited = digest != report.get("sha256")
    if edited and not _is_segmentation(target):
        return ""  # broken, by a full disk or a power failure
    if made_of == recipe:
        return EDITED if edited else FINISHED
    if edited:
        raise OutputError(
            f"The file '{target.name}' was edited after an earlier batch with another drawing or model.",
            "Move or rename it, or let everything be run again.",
        )
    return ""


def read_report(path: Path) -> dict[str, Any] | None:
    """The report that a batch wrote; None for any other file, and where there is none."""
    try:
        report = parse_json(read_text(path))
        ours = isinstance(report["recipe"], dict) and "qnetseg" in report["recipe"] and "sha256" in report
        return report if ours else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def sha256_or_empty(path: Path) -> str:
    """Of a file; empty for one that cannot be read."""
    try:
        return models.sha256(path)
    except OSError:
        return ""


def _is_segmentation(path: Path) -> bool:
    from ..volume import read_labelmap

    try:
        read_labelmap(path)
    except MaskError:
        return True  # readable; what somebody edited may have overlaps
    except QNetSegmentError:
        return False
    return True
