"""Data sets of the paper's tables, with the folds of the released code and strict ones.

Data are never part of the project. They are found below `$QNETSEG_DATA`, by default `../shared/data`
beside the project's root.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..volume import read_labelmap, read_volume

_PROJECT_ROOT = Path(__file__).resolve().parents[4]


def data_root() -> Path:
    """Folder of the development data. Raises `DatasetError` where there is none."""
    root = Path(os.environ.get("QNETSEG_DATA") or _PROJECT_ROOT.parent / "shared" / "data")
    if not root.is_dir():
        raise DatasetError(
            "The development data were not found.",
            "Set the environment variable QNETSEG_DATA to the folder that holds CHAOST2 and CMR.",
        )
    return root


@dataclass(frozen=True)
class Case:
    """One patient as stored, the axes in file order because the released code ignores directions.

    Attributes:
        name: number of the case in its file names.
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
    """A labelled study collection.

    Attributes:
        name: name on the command line.
        images, supervoxels: path patterns below the data root; {} stands for the case name.
        labels: structure name -> label value, in the paper's order.
        supervoxel_size: smallest supervoxel in voxels of the given pseudo-labels.
        setting2_groups: classes that the paper removes from training together in Setting 2.
        released_starts: first and one-past-last case index of each overlapping fold of the released code;
            the last fold also holds case 0.
    """

    name: str
    images: str
    supervoxels: str
    supervoxel_size: int
    labels: dict[str, int]
    setting2_groups: tuple[tuple[str, ...], ...]
    released_starts: tuple[tuple[int, int], ...]

    def case_names(self) -> list[str]:
        """Names in numeric order. Raises `DatasetError` if there are none."""
        folder, pattern = (
            (data_root() / self.images).parent,
            re.compile(Path(self.images).name.replace("{}", r"(\d+)") + "$"),
        )
        found = [match[1] for path in folder.glob("*") if (match := pattern.match(path.name))]
        if not found:
            raise DatasetError(
                f"The data set {self.name} has no images like {self.images.format('N')}.",
                "Check the folder that QNETSEG_DATA points to.",
            )
        return sorted(found, key=int)

    def load(self, name: str) -> Case:
        """Read one case. Raises `DatasetError` where image, labels and supervoxels do not fit together."""
        root = data_root()
        volume = read_volume(root / self.images.format(name))
        labels = read_labelmap(root / self.images.replace("image_", "label_").format(name)).array
        path = root / self.supervoxels.format(name)
        supervoxels = read_labelmap(path).array if path.is_file() else None
        for array, what in ((labels, "labels"), (supervoxels, "supervoxels")):
            if array is not None and array.shape != volume.shape:
                raise DatasetError(
                    f"Case {name} of {self.name}: the {what} have shape {array.shape}, the image"
                    f" {volume.shape}.",
                    "Both must lie on the same grid.",
                )
        return Case(name, volume.array, labels, supervoxels, volume.spacing)

    def fold(self, index: int, scheme: str = "released") -> list[str]:
        """Names of the test cases of one of the five folds.

        "released": folds of the released code, which overlap by one case, meant as the support.
        "strict": every case in exactly one fold.
        """
        names = self.case_names()
        if not 0 <= index < len(self.released_starts):
            raise DatasetError(
                f"There is no fold {index}.", f"Folds are 0 to {len(self.released_starts) - 1}."
            )
        if scheme == "strict":
            return [str(name) for name in np.array_split(names, len(self.released_starts))[index]]
        start, stop = self.released_starts[index]
        last = index == len(self.released_starts) - 1
        return names[start:stop] + (names[:1] if last else [])


CATALOGUE = {
    "chaos": DataSet(
        name="chaos",
        images="CHAOST2/chaos_MR_T2_normalized/image_{}.nii.gz",
        supervoxels="CHAOST2/supervoxels_5000/superpix-MIDDLE_{}.nii.gz",
        supervoxel_size=5000,
        labels={"liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4},
        setting2_groups=(("liver", "spleen"), ("right kidney", "left kidney")),
        released_starts=((0, 5), (4, 9), (8, 13), (12, 17), (16, 20)),
    ),
    "cmr": DataSet(
        name="cmr",
        images="CMR/cmr_MR_normalized/image_{}.nii.gz",
        supervoxels="CMR/supervoxels_1000/superpix-MIDDLE_{}.nii.gz",
        supervoxel_size=1000,
        labels={"LV blood pool": 500, "LV myocardium": 200, "right ventricle": 600},
        setting2_groups=(),
        released_starts=((0, 8), (7, 15), (14, 22), (21, 29), (28, 35)),
    ),
}


def dataset(name: str) -> DataSet:
    """Look a data set up. Raises `DatasetError` for an unknown name."""
    if name not in CATALOGUE:
        raise DatasetError(f"There is no data set {name!r}.", f"Known are {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]
