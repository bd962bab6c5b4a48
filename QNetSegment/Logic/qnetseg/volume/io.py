"""Reading and writing volumes and label maps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..atomic import replacing
from ..errors import InputError, MaskError, OutputError, VolumeError, tell_oddity
from .dicom import read_file, read_series
from .itk import DICOM, RawImage, format_of, read_image, require_text, to_image, write_image
from .labels import require_drawing
from .nifti import ENDINGS as NIFTI_ENDINGS
from .nifti import Placement, read_placement, restore_placement, same_place
from .segfile import LabelMap, is_described, merge_layers, segment_metadata
from .volume import Volume, axis_directions, checked_matrix

SEGMENTATION_ENDING = ".seg.nrrd"
ENDINGS = (SEGMENTATION_ENDING, ".nii.gz", ".nii", ".nrrd", ".mha")
"""What can be written; the longest match counts."""

PathLike = str | os.PathLike[str]


def read_volume(path: PathLike, series: str | None = None) -> Volume:
    """Read NIfTI, NRRD, MHA/MHD or a folder with a DICOM series as a float32 Volume.

    series: which one, by description, number or UID; see `read_series`. Raises VolumeError, GeometryError or,
    for a folder without DICOM images or with several series, InputError. What is odd about the file is said
    by a FileWarning.
    """
    path = Path(path)
    require_text(path, VolumeError)
    if path.is_dir():
        raw, name = read_series(path, series)
    elif series is not None:
        raise InputError(f"'{path}' is a file, in which no series can be chosen.", "Choose its folder.")
    else:
        raw = read_file(path) if format_of(path, VolumeError) == DICOM else read_image(path)
        name = _stem(path)
    return Volume.checked(raw.array, raw.ijk_to_ras, name, _placement(path, raw), raw.frames)


def read_labelmap(path: PathLike, segment: str | int | None = None, *, drawn: bool = False) -> LabelMap:
    """Read a label image or a Slicer segmentation (.seg.nrrd, also of several layers).

    Labels about which the file says nothing get a name and a colour. segment: read only the segment of that
    name or label. drawn: it has to be a drawing, not any image of whole numbers. Raises InputError for an
    unreadable file, MaskError for values that are not whole numbers or not a drawing, for a segment that is
    not there, or for overlapping segments when none is chosen.
    """
    path = Path(path)
    require_text(path, InputError)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder.", "Choose a label image or a .seg.nrrd file.")
    if format_of(path, InputError) == DICOM:
        raise InputError(f"'{path.name}' is a DICOM file.", "Save it in Slicer as a .seg.nrrd file first.")
    raw = read_image(path, labels=True)
    whole = _whole(raw.array, path)
    if drawn:
        require_drawing(whole, path.name)
    try:
        array, segments = merge_layers(whole, raw.metadata, segment)
    except ValueError as cause:
        raise InputError(
            f"'{path.name}' is not a label image or a Slicer segmentation.",
            "Choose a single-valued label image or a .seg.nrrd file.",
        ) from cause
    matrix = checked_matrix(raw.ijk_to_ras, f"'{path.name}'")
    described = is_described(raw.metadata) or path.name.lower().endswith(SEGMENTATION_ENDING)
    return LabelMap(array, matrix, segments, _placement(path, raw), described)


def _placement(path: Path, raw: RawImage) -> Placement | None:
    """What a NIfTI file says of its position, if programs read that in several ways; they are warned of."""
    if not path.name.lower().endswith(NIFTI_ENDINGS):
        return None
    placement = read_placement(path, raw.ijk_to_ras, raw.array.shape)
    if placement is not None:
        tell_oddity(
            f"'{path.name}' states {placement.states}, and programs place it differently; it is taken where"
            " Slicer shows it."
        )
    return placement


def _whole(array: np.ndarray, path: Path) -> np.ndarray:
    """The array if its values are labels: whole numbers that fit int32."""
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (np.rint(array) == array).all()):
        raise MaskError(f"'{path.name}' is not a label image: it has values that are not whole numbers.")
    if array.min() < np.iinfo(np.int32).min or array.max() > np.iinfo(np.int32).max:
        raise MaskError(f"'{path.name}' is not a label image: it has values beyond 32 bits.")
    return array.astype(np.int32) if array.dtype.kind == "f" else array


def write_labelmap(path: PathLike, labelmap: LabelMap) -> None:
    """Write as .nii.gz, .nii, .nrrd, .mha, or as a Slicer segmentation (.seg.nrrd), compressed and atomic.

    Only .seg.nrrd keeps names, colours and terminology. Raises OutputError; an old file then stays.
    """
    array = labelmap.array
    if array.ndim != 3 or array.dtype.kind not in "biu":
        raise OutputError("Only a 3-D array of whole numbers can be written as a label map.")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    dtype = next(kind for kind in (np.uint8, np.int16, np.int32) if _holds(kind, low, high))
    metadata = segment_metadata(labelmap) if _ending(path) == SEGMENTATION_ENDING else {}
    _write(path, array.astype(dtype), labelmap, metadata)


def write_volume(path: PathLike, volume: Volume) -> None:
    """Write a float32 image as .nii.gz, .nii, .nrrd or .mha, compressed and atomic; OutputError otherwise."""
    if _ending(path) == SEGMENTATION_ENDING:
        raise OutputError(f"'{path}' is the name of a segmentation, not of an image.", "End it with .nrrd.")
    _write(path, volume.array.astype(np.float32, copy=False), volume, {})


def require_storable(path: PathLike, ijk_to_ras: np.ndarray) -> None:
    """OutputError for a file whose name or format cannot hold an image of this (4, 4) matrix."""
    require_text(Path(path), OutputError)
    axes = axis_directions(ijk_to_ras)
    if _ending(path) in NIFTI_ENDINGS and np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        raise OutputError(
            f"'{path}' could not be written: NIfTI cannot hold axes that are not perpendicular.",
            "Choose .nrrd or .mha.",
        )


def _write(path: PathLike, array: np.ndarray, place: Volume | LabelMap, metadata: dict[str, str]) -> None:
    """Write an array (K, J, I) that lies where `place` does; metadata: of a segmentation, else empty."""
    ijk_to_ras = checked_matrix(place.ijk_to_ras)
    require_storable(path, ijk_to_ras)
    image = to_image(array, ijk_to_ras)
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    with replacing(path, ".nrrd" if metadata else _ending(path)) as temporary:
        write_image(image, temporary)
        placement = place.placement if _ending(path) in NIFTI_ENDINGS else None
        if placement and same_place(placement.ijk_to_ras, ijk_to_ras, array.shape):
            restore_placement(temporary, placement)


def _holds(dtype: type[np.integer], low: int, high: int) -> bool:
    return bool(np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


def _ending(path: PathLike) -> str:
    name = os.fspath(path).lower()
    for ending in ENDINGS:
        if name.endswith(ending):
            return ending
    raise OutputError(
        f"'{path}' could not be written: the ending of the name is not known.",
        f"Use one of {', '.join(ENDINGS)}.",
    )


def _stem(path: Path) -> str:
    ending = next((each for each in ENDINGS if path.name.lower().endswith(each)), path.suffix)
    return path.name[: len(path.name) - len(ending)]
