"""A folder with a DICOM series as one volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import GeometryError, InputError, VolumeError
from .itk import LPS_RAS, RawImage, image_matrix, quiet, read_image

SERIES_DESCRIPTION = "0008|103e"

# The series' identifier stands well within the first bytes of a file.
HEADER_BYTES = 1 << 16
META_BYTES = 512  # that hold the SOP class

# SOP classes whose objects refer to a series without being part of it: RT, SEG and registrations,
# presentation states, structured reports (DICOM PS3.4, annex B), and the directory of a medium.
NOT_IMAGES = tuple(
    f"1.2.840.10008.{part}".encode()
    for part in ("5.1.4.1.1.481.", "5.1.4.1.1.66", "5.1.4.1.1.11.", "5.1.4.1.1.88.", "1.3.10")
)

# Neighbouring slices may be unevenly spaced by this share of the mean spacing before the series is refused.
UNEVENNESS = 0.05


def read_series(folder: Path) -> tuple[RawImage, str]:
    """The largest series among the files of `folder`, and its description (or the folder's name).

    Raises InputError for a folder without DICOM files, VolumeError for files that cannot be read as one
    volume, GeometryError for slices that are not parallel and evenly spaced.
    """
    with quiet():
        uids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        series = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in uids}
    if not series:
        raise InputError(
            f"The folder '{folder}' holds no DICOM images.",
            "Choose the folder that directly contains the files of the series.",
        )
    uid = max(series, key=lambda one: len(series[one]))
    files = series[uid]
    _require_all(folder, uid, {Path(name).name for names in series.values() for name in names})
    if len(files) == 1:
        raw = read_image(Path(files[0]), as_float=True, vectors=False, error=VolumeError)
        return raw, _description(raw.metadata, folder)
    step, metadata = _slice_step(files, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet():
            image = reader.Execute()
    except (RuntimeError, MemoryError) as cause:
        raise _unreadable(folder) from cause
    matrix = image_matrix(image)
    matrix[:3, 2] = LPS_RAS[:3, :3] @ step  # true also for a tilted gantry, which ITK straightens
    return RawImage(sitk.GetArrayFromImage(image), matrix, metadata), _description(metadata, folder)


def _slice_step(files: tuple[str, ...], folder: Path) -> tuple[np.ndarray, dict[str, str]]:
    """The LPS step in mm from slice to slice, and the first file's metadata; GeometryError if uneven."""
    reader = sitk.ImageFileReader()
    origins, layouts = [], set()
    metadata: dict[str, str] = {}
    for name in files:
        reader.SetFileName(name)
        try:
            with quiet():
                reader.ReadImageInformation()
        except RuntimeError as cause:
            raise _unreadable(folder) from cause
        metadata = metadata or {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        if reader.GetNumberOfComponents() > 1:
            raise VolumeError(
                f"The DICOM series in '{folder.name}' has colour images.", "Choose a series of grey values."
            )
        origins.append(reader.GetOrigin())
        layouts.add(
            (reader.GetSize(), tuple(np.round([*reader.GetDirection(), *reader.GetSpacing()[:2]], 3)))
        )
    if len(layouts) > 1:
        raise GeometryError(
            f"The slices of the DICOM series in '{folder.name}' differ in size, spacing or direction.",
            "Choose a single series, or convert it to a volume in Slicer first.",
        )
    steps = np.diff(np.array(origins), axis=0)
    mean = steps.mean(axis=0)
    if np.linalg.norm(steps - mean, axis=1).max() > UNEVENNESS * np.linalg.norm(mean):
        raise GeometryError(
            f"The slices of the DICOM series in '{folder.name}' are not evenly spaced; one may be missing.",
            "Export the series completely, or resample it in Slicer first.",
        )
    return mean, metadata


def _require_all(folder: Path, uid: str, listed: set[str]) -> None:
    """Raise VolumeError for a file of the series that GDCM left out without a word because it is damaged."""
    for path in folder.iterdir():
        if path.name in listed or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                start = file.read(HEADER_BYTES)
        except OSError as cause:
            raise _unreadable(folder) from cause
        refers_only = any(sop_class in start[:META_BYTES] for sop_class in NOT_IMAGES)
        if start[128:132] == b"DICM" and not refers_only and _holds_series(uid, start):
            raise _unreadable(folder)


def _holds_series(uid: str, start: bytes) -> bool:
    """Whether SeriesInstanceUID has this value, with explicit or implicit VR, or was cut off before it."""
    tag, value = b"\x20\x00\x0e\x00", uid.encode() + b"\0" * (len(uid) % 2)
    lengths = (b"UI" + len(value).to_bytes(2, "little"), len(value).to_bytes(4, "little"))
    return tag not in start or any(tag + length + value in start for length in lengths)


def _unreadable(folder: Path) -> VolumeError:
    return VolumeError(
        f"The DICOM series in '{folder.name}' could not be read as one volume; a file is damaged or locked.",
        "Export the series again.",
    )


def _description(metadata: dict[str, str], folder: Path) -> str:
    return metadata.get(SERIES_DESCRIPTION, "").strip() or folder.resolve().name
