"""Data sets: those of the paper's tables, and folders that `qnetseg data prepare` made of one's own studies.

Data are never part of the project. The paper's are found below `$QNETSEG_DATA`, by default `../shared/data`
beside the project's root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from qnetseg.errors import DatasetError, InputError
from qnetseg.volume import Volume, read_labelmap, read_volume

from .description import DESCRIPTION, Description

FOLDS = 5
_Read = TypeVar("_Read")
_PROJECT_ROOT = Path(__file__).resolve().parents[3]


def data_root() -> Path:
    """Folder of the development data. Raises `DatasetError` where there is none."""
    root = Path(os.environ.get("QNETSEG_DATA") or _PROJECT_ROOT.parent / "shared" / "data")
    if not root.is_dir():
        raise DatasetError(
            "The development data were not found.",
            "Name the folder that holds CHAOST2 and CMR with --data, or set the variable QNETSEG_DATA to it.",
        )
    return root


@dataclass(frozen=True)
class Case:
    """One patient as stored, the axes in file order because the released code ignores directions.

    Attributes:
        name: of the case, as in its file names.
        image: (K, J, I) float32, intensities as stored.
        labels: (K, J, I) int32, the data set's own label values.
        supervoxels: (K, J, I) int32, 0 is outside the body; None where the set has none.
        spacing: mm along (k, j, i).
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    supervoxels: np.ndarray | None
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class DataSet:
    """A study collection.

    Attributes:
        name: name on the command line.
        images, annotations, supervoxels: path patterns below `folder`; {} stands for the case name.
        labels: structure name -> label value, in the paper's order.
        supervoxel_size: smallest supervoxel in voxels of the given pseudo-labels; None goes by the body.
        setting2_groups: classes that the paper removes from training together in Setting 2.
        released_starts: first and one-past-last case index of each overlapping fold of the released code;
            the last fold also holds case 0. None: there are strict folds only.
        folder: None for the data root.
        cases: names in order; None for every number that the images' folder has.
        unlabelled: cases that come without labels.
        spacing: in-plane mm, at which a model of these data works.
        spacings: in-plane mm of the cases that have more, because the body would not fit.
    """

    name: str
    images: str
    annotations: str
    supervoxels: str
    supervoxel_size: int | None
    labels: dict[str, int]
    setting2_groups: tuple[tuple[str, ...], ...] = ()
    released_starts: tuple[tuple[int, int], ...] | None = None
    folder: Path | None = None
    cases: tuple[str, ...] | None = None
    unlabelled: frozenset[str] = frozenset()
    spacing: float = 1.25
    spacings: dict[str, float] = field(default_factory=dict)

    def path(self, pattern: str, name: str) -> Path:
        """File of a case, e.g. `path(data.images, "1")`."""
        return (self.folder or data_root()) / pattern.format(name)

    def case_names(self) -> list[str]:
        """Names in order. Raises `DatasetError` if there are none."""
        if self.cases is not None:
            return list(self.cases)
        pattern = re.compile(Path(self.images).name.replace("{}", r"(\d+)") + "$")
        paths = self.path(self.images, "N").parent.glob("*")
        found = [match[1] for path in paths if (match := pattern.match(path.name))]
        if not found:
            raise DatasetError(
                f"The data set {self.name} has no images like {self.images.format('N')}.",
                "Check the folder that --data names, or QNETSEG_DATA.",
            )
        return sorted(found, key=int)

    def load(self, name: str) -> Case:
        """Read one case. Raises `DatasetError`, with the file's name, where a file is missing or unusable."""
        volume = self.image(name)
        labels = self.annotation(name, volume)
        return Case(name, volume.array, labels, self.pseudo_labels(name, volume), volume.spacing)

    def image(self, name: str) -> Volume:
        """The image of a case. Raises `DatasetError` like `load`."""
        return self._read(read_volume, self.path(self.images, name), "image")

    def annotation(self, name: str, volume: Volume) -> np.ndarray:
        """Labels of a case on its image's grid, int32; all 0 where it comes without. Raises like `load`."""
        if name in self.unlabelled:
            return np.zeros(volume.shape, np.int32)
        return self._labels(self.path(self.annotations, name), "label file", volume)

    def pseudo_labels(self, name: str, volume: Volume) -> np.ndarray | None:
        """Supervoxels of a case on its image's grid, int32; None without a file. Raises like `load`."""
        path = self.path(self.supervoxels, name)
        return self._labels(path, "supervoxel file", volume) if path.is_file() else None

    def _labels(self, path: Path, what: str, volume: Volume) -> np.ndarray:
        array = self._read(read_labelmap, path, what).array
        if array.shape != volume.shape:
            raise DatasetError(
                f"{self.name}: the {what} {path.name} has shape {array.shape}, the image {volume.shape}.",
                "Both must lie on the same grid.",
            )
        return array

    def _read(self, read: Callable[[Path], _Read], path: Path, what: str) -> _Read:
        if not path.is_file():
            raise DatasetError(f"{self.name}: the {what} {path.name} is missing.", "Restore or prepare it.")
        try:
            return read(path)
        except InputError as error:
            sentence = error.message[0].lower() + error.message[1:]
            raise DatasetError(
                f"{self.name}: the {what} {path.name} cannot be used: {sentence}", error.advice
            ) from error

    def fold(self, index: int, scheme: str = "released") -> list[str]:
        """Names of the test cases of one of the five folds. Raises `DatasetError`.

        "released": folds of the released code, which overlap by one case, meant as the support; the paper's
        data sets have them. "strict": every case in exactly one fold, neighbours in order together.
        """
        names = self.case_names()
        if not 0 <= index < FOLDS:
            raise DatasetError(f"There is no fold {index}.", f"Folds are 0 to {FOLDS - 1}.")
        if scheme == "strict":
            return [str(name) for name in np.array_split(names, FOLDS)[index]]
        if self.released_starts is None:
            raise DatasetError(f"{self.name} has no released folds.", 'Use scheme = "strict".')
        start, stop = self.released_starts[index]
        last = index == FOLDS - 1
        return names[start:stop] + (names[:1] if last else [])


CATALOGUE = {
    "chaos": DataSet(
        name="chaos",
        images="CHAOST2/chaos_MR_T2_normalized/image_{}.nii.gz",
        annotations="CHAOST2/chaos_MR_T2_normalized/label_{}.nii.gz",
        supervoxels="CHAOST2/supervoxels_5000/superpix-MIDDLE_{}.nii.gz",
        supervoxel_size=5000,
        labels={"liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4},
        setting2_groups=(("liver", "spleen"), ("right kidney", "left kidney")),
        released_starts=((0, 5), (4, 9), (8, 13), (12, 17), (16, 20)),
    ),
    "cmr": DataSet(
        name="cmr",
        images="CMR/cmr_MR_normalized/image_{}.nii.gz",
        annotations="CMR/cmr_MR_normalized/label_{}.nii.gz",
        supervoxels="CMR/supervoxels_1000/superpix-MIDDLE_{}.nii.gz",
        supervoxel_size=1000,
        labels={"LV blood pool": 500, "LV myocardium": 200, "right ventricle": 600},
        setting2_groups=(),
        released_starts=((0, 8), (7, 15), (14, 22), (21, 29), (28, 35)),
    ),
}


def dataset(name: str) -> DataSet:
    """A data set by its name or by the folder that `qnetseg data prepare` made. Raises `DatasetError`."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    folder = Path(name)
    if not (folder / DESCRIPTION).is_file():
        raise DatasetError(
            f"There is no data set {name!r}.",
            f"Known are {', '.join(CATALOGUE)} and folders that qnetseg data prepare has finished.",
        )
    described = Description.read(folder)
    return DataSet(
        name=described.name,
        images="images/{}.nii.gz",
        annotations="labels/{}.nii.gz",
        supervoxels="supervoxels/{}.nii.gz",
        supervoxel_size=described.supervoxel_size,
        labels=described.labels,
        folder=folder,
        cases=tuple(case.name for case in described.cases),
        unlabelled=frozenset(case.name for case in described.cases if not case.labelled),
        spacing=described.spacing,
        spacings={case.name: case.spacing for case in described.cases},
    )
