"""The images that a DICOM segmentation is made of: their headers, as the segmentation refers to them.

Headers of scanners and anonymisers lack what a segmentation needs; what can be left empty is, and what can be
known is filled in. Source: DICOM PS3.3, A.51 (segmentation), C.7.6.16 (frames), C.12.4 (references).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GeometryError, InputError, VolumeError, tell_oddity
from .itk import LPS_RAS
from .multiframe import read_frames
from .stacking import Placed, Plane, even_step, require_parallel
from .volume import Volume

# What another file of the same patient and study says, too; empty where the source has nothing (type 2).
PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
BESIDE = 0.25  # of a pixel, by which the last corner may lie off the source's: scanners round directions
ADVICE = "Give the DICOM files as the scanner wrote them, or write another format, such as .seg.nrrd."


@dataclass(frozen=True, eq=False)
class SegSource:
    """The source of a segmentation.

    headers: without pixels, of the slices in the volume's order, or of the one file with all frames.
    planes: (K,) where the slices lie, in the volume's order, in LPS.
    patient: elements of the patient and study as the source has them.
    description: of the series; name: what the user calls it.
    """

    headers: list[Any]
    planes: list[Plane]
    patient: dict[str, Any]
    description: str
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I) of the segmentation's voxels, those of the volume."""
        columns, rows = self.planes[0].size
        return len(self.planes), rows, columns


def seg_source(volume: Volume) -> SegSource:
    """What a segmentation of the voxels of a volume has to refer to; the volume as it was read, or its grid.

    Raises InputError for a volume that was not read from DICOM, or whose headers lack what identifies or
    places the images, and GeometryError where the volume does not lie on the planes of its files.
    """
    name = f"The DICOM series '{volume.name}'"
    if len(volume.frames) != volume.shape[0]:
        raise InputError(
            f"A DICOM segmentation refers to the DICOM images that it is made of, and '{volume.name}' is not"
            " a DICOM series whose slices say where they lie.",
            "Give the folder with the DICOM files, or write another format, such as .seg.nrrd.",
        )
    headers = [_header(path, name) for path in dict.fromkeys(frame.path for frame in volume.frames)]
    _require_identified(headers, name)
    planes = _planes(volume, headers, name)
    matrix = _require_on(planes, volume, name)
    spacing = abs(float(matrix[:3, 2] @ planes[0].normal)) if len(planes) > 1 else None
    first = headers[0]
    patient = {key: deepcopy(first[key]) for key in PATIENT_AND_STUDY if key in first}
    _complete(headers, name)
    if "PerFrameFunctionalGroupsSequence" in first:
        _rewrite_groups(first, planes, [frame.number for frame in volume.frames], spacing)
    else:
        for header, plane in zip(headers, planes, strict=True):
            _rewrite_plane(header, plane, planes[0], spacing)
    return SegSource(headers, planes, patient, str(first.get("SeriesDescription") or ""), volume.name)


def _header(path: Path, name: str) -> Any:
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        header.decode()  # texts in the character set of the file
    except Exception as cause:  # a damaged header raises anything
        raise InputError(
            f"{name} has a damaged header in '{path.name}'.", "Export the series again."
        ) from cause
    return header


def _require_identified(headers: Sequence[Any], name: str) -> None:
    for key in IDENTIFIERS:
        if not all(header.get(key) for header in headers):
            raise InputError(
                f"{name} has files without {key}, so that a segmentation cannot refer to them.", ADVICE
            )
    if len({header.SOPInstanceUID for header in headers}) < len(headers):
        raise InputError(
            f"{name} has several slices with the same SOPInstanceUID, so that a segmentation cannot tell them"
            " apart.",
            ADVICE,
        )


def _planes(volume: Volume, headers: Sequence[Any], name: str) -> list[Plane]:
    """Where the slices lie by their own headers. InputError where these do not say it."""
    first = headers[0]
    try:
        if "PerFrameFunctionalGroupsSequence" in first:
            shape = (int(first.get("NumberOfFrames", 1)), int(first.Rows), int(first.Columns))
            frames = read_frames(volume.frames[0].path, name, shape) or []
            return [frames[frame.number - 1].plane for frame in volume.frames]
        return [_plane(header) for header in headers]
    except (VolumeError, AttributeError, IndexError, TypeError, ValueError) as cause:
        raise InputError(
            f"{name} does not say where its slices lie, so that a segmentation cannot be laid over it.",
            ADVICE,
        ) from cause


def _plane(header: Any) -> Plane:
    directions = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = (float(mm) for mm in header.PixelSpacing)
    origin = np.array(header.ImagePositionPatient, float).reshape(3)
    return Plane(origin, directions, (columns, rows), (int(header.Columns), int(header.Rows)))


def _require_on(planes: Sequence[Plane], volume: Volume, name: str) -> np.ndarray:
    """(4, 4) IJK to LPS by the headers. GeometryError unless the volume's voxels are those of the planes."""
    placed, shape = [Placed(plane) for plane in planes], volume.shape
    require_parallel(placed, f"The slices of {name[0].lower()}{name[1:]}")
    matrix = planes[0].matrix(even_step(placed, f"The slices of {name[0].lower()}{name[1:]}"))
    known = [0, 1, 2, 3] if len(planes) > 1 else [0, 1, 3]  # one slice has no step
    off = np.abs(LPS_RAS @ volume.ijk_to_ras - matrix)[:3, known]
    reach = np.array([*planes[0].size, len(planes), 1])[known]
    if planes[0].size != (shape[2], shape[1]) or (off @ reach).max() > BESIDE * min(planes[0].spacing):
        raise GeometryError(
            f"{name} was read on other planes than its files state, so that a segmentation cannot be laid"
            " over them.",
            ADVICE,
        )
    return matrix


def _complete(headers: Sequence[Any], name: str) -> None:
    """Fill in what is missing. Odd dates and sexes, which the writer refuses, are put back afterwards."""
    from pydicom.uid import generate_uid

    frame = headers[0].get("FrameOfReferenceUID")
    if not frame:
        frame = generate_uid(prefix=None)
        tell_oddity(f"{name} names no frame of reference; the segmentation has a new one.")
    for header in headers:
        header.FrameOfReferenceUID = frame
        for key in PATIENT_AND_STUDY:
            setattr(header, key, "")


def _rewrite_plane(header: Any, plane: Plane, first: Plane, spacing: float | None) -> None:
    """One direction and pixel size for all slices, which scanners round differently, and the true spacing."""
    _set_place(header, plane)
    _set_directions(header, first)
    _set_measures(header, first, header.get("SliceThickness"), spacing)


def _rewrite_groups(
    header: Any, planes: Sequence[Plane], numbers: Sequence[int], spacing: float | None
) -> None:
    """Functional groups with the frames' places only, in the order of the file."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    own = header.PerFrameFunctionalGroupsSequence[0]
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    stated = (own.get("PixelMeasuresSequence") or shared.get("PixelMeasuresSequence"))[0]
    directions, measures, groups = Dataset(), Dataset(), Dataset()
    _set_directions(directions, planes[0])
    _set_measures(measures, planes[0], stated.get("SliceThickness"), spacing)
    groups.PlaneOrientationSequence, groups.PixelMeasuresSequence = Items([directions]), Items([measures])
    frames = {}
    for number, plane in zip(numbers, planes, strict=True):
        place, frames[number] = Dataset(), Dataset()
        _set_place(place, plane)
        frames[number].PlanePositionSequence = Items([place])
    header.SharedFunctionalGroupsSequence = Items([groups])
    header.PerFrameFunctionalGroupsSequence = Items([frames[number] for number in sorted(frames)])


def _set_place(item: Any, plane: Plane) -> None:
    item.ImagePositionPatient = _decimals(plane.origin)


def _set_directions(item: Any, plane: Plane) -> None:
    item.ImageOrientationPatient = _decimals(plane.directions.ravel())


def _set_measures(item: Any, plane: Plane, thickness: Any, spacing: float | None) -> None:
    item.PixelSpacing = _decimals(plane.spacing[::-1])
    (item.SliceThickness,) = _decimals([float(thickness or spacing or 1.0)])
    if spacing is None:
        item.pop("SpacingBetweenSlices", None)
    else:
        (item.SpacingBetweenSlices,) = _decimals([spacing])


def _decimals(numbers: Any) -> list[Any]:
    """Numbers as decimal strings of at most 16 characters."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(number), auto_format=True) for number in numbers]
