"""Finding studies in a folder: image files, DICOM series, and the labels drawn on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qnetseg.errors import DatasetError
from qnetseg.volume.itk import FORMATS

LABELS = "_seg"  # X_seg.nii.gz holds the labels of X.nii.gz
_SEGMENTATION = ".seg.nrrd"


@dataclass(frozen=True)
class Study:
    """One image, a file or a folder with a DICOM series, and perhaps its labels.

    Attributes:
        name: path below the searched folder with "-" between its parts, without an ending.
        image: file or folder.
        labels: label file; None without.
    """

    name: str
    image: Path
    labels: Path | None

    def stamp(self) -> list[list[str | int]]:
        """Names, sizes in bytes and times in ns of the files, which tell whether one was replaced."""
        files = sorted(self.image.iterdir()) if self.image.is_dir() else [self.image]
        files += [self.labels] if self.labels else []
        stats = [(file, file.stat()) for file in files if file.is_file()]
        return [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats]


def find_studies(folder: Path) -> list[Study]:
    """Studies in a folder and the folders in it, in order of name. Raises `DatasetError`."""
    if not folder.is_dir():
        raise DatasetError(f"The folder '{folder}' does not exist.", "Name the one with the studies.")
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    labels = {_stem(path): path for path in files if _is_labels(path)}
    images = [path for path in files if _ending(path) and not _is_labels(path)]
    series = sorted({path.parent for path in files if not _ending(path) and _is_dicom(path)})
    found: dict[str, Study] = {}
    for image in sorted(images) + series:
        stem = image if image in series else _stem(image)
        name = re.sub(r"[^\w.]+", "-", str(stem.relative_to(folder)) if stem != folder else folder.name)
        if name in found:
            raise DatasetError(
                f"'{image}' and '{found[name].image}' would both be called {name}.", "Rename one of them."
            )
        found[name] = Study(name, image, labels.get(stem))
    if not found:
        raise DatasetError(
            f"The folder '{folder}' holds no studies.", "Put NIfTI, NRRD or MHA files or DICOM series there."
        )
    return [found[name] for name in sorted(found)]


def _ending(path: Path) -> str:
    """Ending of an image file that can be read, "" of another one."""
    return next((ending for ending in FORMATS if path.name.lower().endswith(ending)), "")


def _is_labels(path: Path) -> bool:
    name, ending = path.name.lower(), _ending(path)
    return bool(ending) and (name.endswith(_SEGMENTATION) or name[: -len(ending)].endswith(LABELS))


def _stem(path: Path) -> Path:
    """The path without its ending and without what marks a label file."""
    name = path.name
    if name.lower().endswith(_SEGMENTATION):
        return path.with_name(name[: -len(_SEGMENTATION)])
    name = name[: -len(_ending(path))]
    return path.with_name(name[: -len(LABELS)] if _is_labels(path) else name)


def _is_dicom(path: Path) -> bool:
    """Whether the file starts as DICOM files do; one that cannot be opened is reported when it is read."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
