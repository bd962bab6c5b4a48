"""The studies of a batch, and where their results go."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ..errors import OutputError, why

RESULT_ENDING = ".seg.nrrd"
UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # devices of Windows
LONGEST_NAME = 60  # characters; four bytes each still leave room for the ending


class StudyState(Enum):
    """Where a study is; KEPT means that an earlier batch has finished it."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(eq=False)
class Study:
    """One volume of a batch.

    Attributes:
        name: what the user reads, unique in a batch; also the stem of the result.
        source: a file, a folder with a DICOM series, or a volume node of Slicer.
        target: the .seg.nrrd file; None where the result only goes into the scene.
        home: folder of the result where the user chooses no other; None for none. Known of a file.
        origin: what a report calls the image, without its folder. Known of a file.
        state: where it is.
        detail: a sentence about the state, such as the error.
    """

    name: str
    source: Any
    target: Path | None = None
    home: Path | None = None
    origin: str = ""
    state: StudyState = StudyState.WAITING
    detail: str = ""

    def __post_init__(self) -> None:
        if self.is_file:
            self.home, self.origin = self.source.parent, self.source.name

    @property
    def is_file(self) -> bool:
        """Whether the source is a file or folder, and not a node."""
        return isinstance(self.source, Path)

    @property
    def report(self) -> Path | None:
        """The report's file, beside the target."""
        return None if self.target is None else self.target.with_suffix(".json")


def folder_studies(folder: str | os.PathLike[str]) -> list[Study]:
    """The images directly in a folder and its DICOM subfolders, in the order of their names.

    Label files, which include results of earlier batches, and hidden files are left out. Raises InputError
    when the folder cannot be read.
    """
    from ..volume import volumes_in

    return [Study(volume.stem.name, volume.path) for volume in volumes_in(Path(folder))]


def plan_targets(studies: Sequence[Study], output: Path | None) -> None:
    """Give every study without a target its own: in the folder `output`, or beside its image.

    Studies of one name in one folder are told apart by their endings, then by numbers; so are their names.
    """
    from ..volume.folders import image_ending

    open_ones = [study for study in studies if study.target is None]
    homes = {study: output or study.home for study in open_ones}
    counts = Counter((homes[study], _safe(study.name).casefold()) for study in open_ones)
    taken = {_key(study.target.parent, _stem(study.target)) for study in studies if study.target is not None}
    for study in open_ones:
        stem = _safe(study.name)
        if counts[homes[study], stem.casefold()] > 1 and study.is_file:
            stem += image_ending(study.source).replace(".", "_")
        plain, number = stem, 1
        while _key(homes[study], stem) in taken:
            number += 1
            stem = f"{plain} ({number})"
        taken.add(_key(homes[study], stem))
        if stem != _safe(study.name):
            study.name = stem
        home = homes[study]
        study.target = None if home is None else home / (stem + RESULT_ENDING)


def require_writable(studies: Iterable[Study]) -> None:
    """Raise OutputError unless files can be made in the folders of all targets right now."""
    for folder in sorted({study.target.parent for study in studies if study.target is not None}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):  # os.access knows neither read-only disks nor root
                pass
        except OSError as error:
            raise OutputError(
                f"Nothing can be written to the folder '{folder}': {why(error)}.",
                "Choose another folder for the results.",
            ) from error


def _stem(target: Path) -> str:
    return target.name[: len(target.name) - len(RESULT_ENDING)]


def _key(folder: Path | None, stem: str) -> tuple[str, str]:
    return ("" if folder is None else os.path.abspath(folder), stem.casefold())


def _safe(name: str) -> str:
    """The name as a file name without its ending."""
    stem = UNSAFE.sub("_", " ".join(name.split()))[:LONGEST_NAME].strip(" .") or "volume"
    return f"_{stem}" if RESERVED.match(stem) else stem
