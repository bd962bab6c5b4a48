"""Volumes in a folder: image files, DICOM series, and the labels that were drawn on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, why
from .dicom import META_BYTES, NOT_IMAGES
from .io import SEGMENTATION_ENDING
from .itk import FORMATS

LABELS = "_seg"  # X_seg.nii.gz holds the labels of X.nii.gz


@dataclass(frozen=True)
class VolumeFile:
    """A volume that `read_volume` may read.

    Attributes:
        path: image file, or a folder with DICOM files.
        stem: path without the ending of its name.
        labels: label file beside it, X.seg.nrrd or X_seg of any format; None without.
    """

    path: Path
    stem: Path
    labels: Path | None = None


def volumes_in(folder: Path, below: bool = False) -> list[VolumeFile]:
    """The image files and the DICOM subfolders of a folder, in the order of their names whatever their case.

    Label files, which include results, and what is hidden are left out. below: look into its subfolders, too;
    the folder itself may then hold a series. Raises InputError for a folder that cannot be read.
    """
    try:
        every = folder.rglob("*") if below else folder.iterdir()
        inside = [path for path in every if not _is_hidden(path.relative_to(folder))]
        files = [path for path in inside if path.is_file()]
    except OSError as error:
        raise InputError(
            f"The folder '{folder}' cannot be read: {why(error)}.", "Choose another folder."
        ) from error
    labels = {_stem(path): path for path in files if _is_labels(path)}
    images = [path for path in files if image_ending(path) and not _is_labels(path)]
    if below:
        series = list({path.parent for path in files if not image_ending(path) and _is_dicom(path)})
    else:
        series = [path for path in inside if path.is_dir() and _holds_dicom(path)]
    found = [VolumeFile(path, _stem(path), labels.get(_stem(path))) for path in images]
    found += [VolumeFile(path, path, labels.get(path)) for path in series]
    return sorted(found, key=lambda volume: (str(volume.path).casefold(), str(volume.path)))


def is_dicom_series(path: Path) -> bool:
    """Whether the path is a DICOM image, or a folder that directly holds one."""
    return _holds_dicom(path) if path.is_dir() else not image_ending(path) and _is_dicom(path)


def image_ending(path: Path) -> str:
    """Ending of an image file's name as it is written; "" of another file's and of a folder's."""
    found = next((ending for ending in FORMATS if path.name.lower().endswith(ending)), "")
    return "" if not found or path.is_dir() else path.name[-len(found) :]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_labels(path: Path) -> bool:
    ending = image_ending(path)
    return path.name.lower().endswith(SEGMENTATION_ENDING) or (
        bool(ending) and path.name[: -len(ending)].endswith(LABELS)
    )


def _stem(path: Path) -> Path:
    """The path without its ending and without what marks a label file."""
    name = path.name
    if name.lower().endswith(SEGMENTATION_ENDING):
        return path.with_name(name[: -len(SEGMENTATION_ENDING)])
    name = name[: -len(image_ending(path))]
    return path.with_name(name[: -len(LABELS)] if _is_labels(path) else name)


def _holds_dicom(folder: Path) -> bool:
    """Whether a file directly in the folder is DICOM; a folder that cannot be read holds none."""
    try:
        return any(path.is_file() and _is_dicom(path) for path in folder.iterdir())
    except OSError:
        return False


def _is_dicom(path: Path) -> bool:
    """Whether the file starts as DICOM images do, and not as segmentations and others that refer to images.

    One that cannot be opened is reported when it is read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(META_BYTES)
        return start[128:132] == b"DICM" and not any(sop_class in start for sop_class in NOT_IMAGES)
    except OSError:
        return False
