"""Segmentations as DICOM SEG objects, laid over the images that they were made of.

Binary frames, one for each slice of each segment that is not empty, on the planes of the source. From DICOM
PS3.3, A.51 (Segmentation IOD) and C.8.20 (its modules). Written with highdicom, the optional extra `dicom`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import __version__
from ..atomic import replacing
from ..boxes import Box
from ..errors import InputError, OutputError
from ..extras import require_highdicom
from .seg_source import ADVICE, SegSource
from .segfile import SegmentInfo
from .terminology import TermCode, terms_of

DICOM_ENDING = ".dcm"
PROGRAM = "QNetSegment"
LONGEST_TEXT = 64  # characters of a value of VR LO
SERIES_NUMBER = 1000  # added to the source's, behind which programs then list the segmentation
MOST_SEGMENTS = 65535


def require_segmentable(source: SegSource) -> None:
    """InputError for a source of which no segmentation can be made; for before anything is computed."""
    require_highdicom()
    try:
        _segmentation(source, [(SegmentInfo(1, "trial", (0.5, 0.5, 0.5)), Box.empty())], {})
    except Exception as cause:  # of whatever is odd about a header
        raise InputError(
            f"No DICOM segmentation can be made of the series '{source.name}': {_sentence(cause)}.", ADVICE
        ) from cause


def write_dicom_seg(
    path: str | os.PathLike[str],
    source: SegSource,
    segments: Sequence[tuple[SegmentInfo, Box]],
    weights: Mapping[str, str],
) -> None:
    """Write segments as one DICOM SEG object of a series of its own in the source's study, atomic.

    source: see `seg_source`.
    segments: what each is called, and its voxels (k, j, i) on the grid of the source; they may overlap and be
    empty; their numbers are 1, 2, ... in this order.
    weights: SHA-256 of the files that the networks were read from, by their names.
    Raises OutputError; an old file then stays. InputError where highdicom is missing.
    """
    require_highdicom()
    if not 0 < len(segments) <= MOST_SEGMENTS:
        raise OutputError(f"A DICOM segmentation holds 1 to {MOST_SEGMENTS} segments, not {len(segments)}.")
    for info, box in segments:
        if min(box.start) < 0 or any(a > b for a, b in zip(box.stop, source.shape, strict=True)):
            raise OutputError(f"The segment '{info.name}' reaches beyond the images of '{source.name}'.")
    try:
        made = _segmentation(source, segments, weights)
    except Exception as cause:
        raise OutputError(f"'{path}' could not be written: {_sentence(cause)}.") from cause
    with replacing(path, DICOM_ENDING) as temporary:
        made.save_as(temporary, enforce_file_format=True)


def _segmentation(
    source: SegSource, segments: Sequence[tuple[SegmentInfo, Box]], weights: Mapping[str, str]
) -> Any:
    """The highdicom object. Whatever that package refuses is a ValueError, TypeError or AttributeError."""
    from highdicom import PlanePositionSequence
    from highdicom.seg import Segmentation
    from pydicom.uid import generate_uid

    with _quiet():
        first, occupied = _occupied(source, segments)
        made = Segmentation(
            source.headers,
            _pixels(source, segments, first, occupied),
            "BINARY",
            [_described(number, info, weights) for number, (info, _) in enumerate(segments, 1)],
            series_instance_uid=generate_uid(prefix=None),
            series_number=_series_number(source),
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer=PROGRAM,
            manufacturer_model_name=PROGRAM,
            software_versions=__version__,
            device_serial_number=__version__,  # a program has no other one
            series_description=_text(f"{PROGRAM}: {source.description or source.name}"),
            content_label="SEGMENTATION",
            content_description="Segmented from drawn slices",
            plane_positions=[
                PlanePositionSequence("PATIENT", plane.origin.tolist())
                for plane in source.planes[first : first + occupied]
            ],
            specific_character_set="ISO_IR 192",  # UTF-8, in which every name can be written
        )
        for key, element in source.patient.items():
            made[key] = element
        made.ContentCreatorName = ""  # no person; the element has to be there
        return made


def _occupied(source: SegSource, segments: Sequence[tuple[SegmentInfo, Box]]) -> tuple[int, int]:
    """The first slice of any segment, and how many slices to the last one; one slice where all are empty."""
    boxes = [box for _, box in segments if not box.is_empty]
    first = min((box.start[0] for box in boxes), default=0)
    return first, max((box.stop[0] for box in boxes), default=1) - first


def _pixels(
    source: SegSource, segments: Sequence[tuple[SegmentInfo, Box]], first: int, slices: int
) -> np.ndarray:
    """(slices, J, I) numbers of the segments; where these overlap (slices, J, I, segments) uint8, 0 or 1."""
    shape = (slices, *source.shape[1:])
    numbers = np.zeros(shape, np.uint8 if len(segments) < 256 else np.uint16)
    for number, (_, box) in enumerate(segments, 1):
        place = Box(box.mask, (box.start[0] - first, *box.start[1:])).where
        if not box.is_empty and numbers[place][box.mask].any():
            break
        if not box.is_empty:
            numbers[place][box.mask] = number
    else:
        return numbers
    masks = np.zeros((*shape, len(segments)), np.uint8)
    for number, (_, box) in enumerate(segments):
        if not box.is_empty:
            masks[..., number][Box(box.mask, (box.start[0] - first, *box.start[1:])).where] = box.mask
    return masks


def _described(number: int, info: SegmentInfo, weights: Mapping[str, str]) -> Any:
    """An item of the Segment Sequence, see PS3.3, C.8.20.4."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    def concept(code: TermCode) -> Any:
        return CodedConcept(code.value, code.scheme, code.meaning)

    terms = terms_of(info.terminology)
    files = {f"SHA-256 of {name}": digest for name, digest in weights.items()}
    item = SegmentDescription(
        number,
        _text(info.name) or f"segment {number}",
        concept(terms.category),
        concept(terms.kind),
        "SEMIAUTOMATIC",
        AlgorithmIdentificationSequence(
            PROGRAM, codes.cid7162.ArtificialIntelligence, __version__, parameters=files or None
        ),
        anatomic_regions=[concept(terms.region)] if terms.region else None,
        display_color=CIELabColor.from_rgb(*(round(255 * part) for part in info.color)),
    )
    if terms.kind_modifier:
        modifier = [concept(terms.kind_modifier)]
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifier
    if terms.region_modifier:
        item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(terms.region_modifier)]
    return item


def _series_number(source: SegSource) -> int:
    try:
        return SERIES_NUMBER + max(0, int(source.headers[0].get("SeriesNumber") or 0))
    except (TypeError, ValueError):
        return SERIES_NUMBER


def _text(text: str) -> str:
    """Text as a value of VR LO: no control characters nor backslashes, at most 64 characters."""
    plain = "".join(one if one.isprintable() and one != "\\" else " " for one in text)
    return " ".join(plain.split())[:LONGEST_TEXT].strip()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' remarks on odd values of the source off the terminal."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _sentence(cause: Exception) -> str:
    return " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
