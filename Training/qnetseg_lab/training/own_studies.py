"""Finding studies in a folder: image files, DICOM series, and the labels drawn on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qnetseg.errors import DatasetError
from qnetseg.volume import volumes_in


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
    found: dict[str, Study] = {}
    for volume in volumes_in(folder, below=True):
        inside = volume.stem.relative_to(folder) if volume.stem != folder else folder.name
        name = re.sub(r"[^\w.]+", "-", str(inside))
        if name in found:
            raise DatasetError(
                f"'{volume.path}' and '{found[name].image}' would both be called {name}.",
                "Rename one of them.",
            )
        found[name] = Study(name, volume.path, volume.labels)
    if not found:
        raise DatasetError(
            f"The folder '{folder}' holds no studies.", "Put NIfTI, NRRD or MHA files or DICOM series there."
        )
    return [found[name] for name in sorted(found)]
