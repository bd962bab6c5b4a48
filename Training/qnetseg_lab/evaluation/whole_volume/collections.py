"""Labelled studies in their native geometry, as a user would open them: what R1, R2 and R3 are scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qnetseg.errors import DatasetError, QNetSegmentError
from qnetseg.volume import (
    ANATOMICAL_AXES,
    PLANES,
    Orientation,
    Volume,
    array_axes,
    canonical,
    on_grid_of,
    read_labelmap,
    read_volume,
    volumes_in,
)

from ...data import CATALOGUE, data_root, dataset

THICK = 1.2  # times the other spacings, from which an axis is the one that the slices were taken along

SUNNYBROOK = "sunnybrook"
SUNNYBROOK_FOLDER = "sunnybrook_cc0"
SUNNYBROOK_LABELS = {"LV blood pool": 1, "LV myocardium": 2}  # named as in CMR, which it is compared with

OPEN_FOLDER = "open"
OPEN_SETS = {"open-ct": "totalseg_", "open-cord": "sct_", "open-heart": "SCD"}
"""Labelled open volumes that no weights learn from: name -> how their files begin."""

FAULTY = {("chaos", "31", "spleen"): (17, 18)}
"""(data set, study, structure) -> slices whose labels are nearly empty by mistake, and are not scored."""


@dataclass(frozen=True, eq=False)
class Study:
    """One labelled volume and how it is sliced. A stack has the shape (S, H, W), slices first.

    Attributes:
        name: from the file name.
        volume: (K, J, I) float32 with its real matrix.
        labels: (K, J, I) int32 on the same grid.
        plane: "axial", "coronal" or "sagittal", the canonical plane nearest to the slices.
        orientation: from native to canonical axes.
        labelled: (S,) bool, slices whose labels an expert has drawn.
    """

    name: str
    volume: Volume
    labels: np.ndarray
    plane: str
    orientation: Orientation
    labelled: np.ndarray

    def stack(self, array: np.ndarray) -> np.ndarray:
        """(K, J, I) array of any dtype -> (S, H, W) view."""
        return np.moveaxis(self.orientation.apply(array), PLANES[self.plane], 0)

    def native(self, stack: np.ndarray) -> np.ndarray:
        """Inverse of `stack`, contiguous."""
        return np.ascontiguousarray(self.orientation.back(np.moveaxis(stack, 0, PLANES[self.plane])))

    def file_index(self, index: int) -> int:
        """The index that a slice of the stack has in the study's own file."""
        axis = PLANES[self.plane]
        count = self.volume.shape[self.orientation.axes[axis]]
        return count - 1 - index if self.orientation.flips[axis] else index

    def mask(self, label: int) -> np.ndarray:
        """(S, H, W) bool: one structure."""
        return np.ascontiguousarray(self.stack(self.labels) == label)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm along (S, H, W)."""
        turned = [self.volume.spacing[axis] for axis in self.orientation.axes]
        normal = turned.pop(PLANES[self.plane])
        return normal, turned[0], turned[1]

    def turned_like(self, other: Study) -> Study:
        """The same study sliced in the plane of another patient's and shown the same way up."""
        axes = array_axes(canonical(other.volume)[0])
        _, orientation = canonical(self.volume, axes)
        turned = replace(self, plane=other.plane, orientation=orientation)
        if turned.stack(self.labels).shape[0] != len(self.labelled):  # a plane that nobody has labelled in
            return replace(turned, labelled=np.ones(turned.stack(self.labels).shape[0], bool))
        return turned

    def crop(self, first: int, last: int) -> Study:
        """Only the slices `first` to `last` of the stack, both included, at their place in space."""
        numbers = np.zeros(self.volume.shape, bool)
        self.stack(numbers)[first : last + 1] = True
        low = [int(np.flatnonzero(numbers.any(axis=tuple({0, 1, 2} - {axis})))[0]) for axis in range(3)]
        shape = self.native(self.stack(self.labels)[first : last + 1]).shape
        box = tuple(slice(start, start + count) for start, count in zip(low, shape, strict=True))
        matrix = self.volume.ijk_to_ras.copy()
        matrix[:3, 3] += matrix[:3, :3] @ np.array(low[::-1], float)
        volume = Volume(np.ascontiguousarray(self.volume.array[box]), matrix, self.volume.name)
        return replace(self, volume=volume, labels=self.labels[box], labelled=self.labelled[first : last + 1])


def make_study(
    name: str,
    volume: Volume,
    labels: np.ndarray,
    plane: str | None = None,
    partly_labelled: bool = False,
) -> Study:
    """A study sliced along its thickest axis, or in a plane of choice.

    Args:
        name: what result files call it.
        volume: the image.
        labels: (K, J, I) int32 on the volume's grid, 0 is background.
        plane: None for the plane of the slices as acquired; axial where no axis is clearly the thickest.
        partly_labelled: slices without any label were not looked at by the expert.
    """
    _, orientation = canonical(volume, ANATOMICAL_AXES)
    plane = plane or _acquired_plane(volume, orientation)
    study = Study(name, volume, labels, plane, orientation, np.ones(0, bool))
    stack = study.stack(labels)
    labelled = np.asarray(stack.any(axis=(1, 2)) if partly_labelled else np.ones(len(stack), bool))
    return replace(study, labelled=labelled)


def _acquired_plane(volume: Volume, orientation: Orientation) -> str:
    spacing = [volume.spacing[axis] for axis in orientation.axes]
    thickest = int(np.argmax(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != thickest]
    if spacing[thickest] <= THICK * max(others):
        return "axial"
    return next(name for name, axis in PLANES.items() if axis == thickest)


@dataclass(frozen=True)
class Collection:
    """Studies that share their labels.

    Attributes:
        name: as given by the user; a folder's bare name.
        files: study name -> (image, labels).
        structures: name -> label value.
        partly_labelled: only the slices that hold a label were looked at by an expert.
        plane: see `make_study`.
    """

    name: str
    files: dict[str, tuple[Path, Path]]
    structures: dict[str, int]
    partly_labelled: bool = False
    plane: str | None = None

    def load(self, name: str) -> Study:
        """Read one study. Raises a `QNetSegmentError` that says what is wrong with it."""
        image, labels = self.files[name]
        volume = read_volume(image)
        return make_study(
            name, volume, on_grid_of(read_labelmap(labels), volume).array, self.plane, self.partly_labelled
        )

    def scored(self, study: Study, structure: str) -> Study:
        """The study with only those slices as labelled that count for a structure."""
        faulty = FAULTY.get((self.name, study.name, structure))
        if not faulty:
            return study
        labelled = study.labelled.copy()
        labelled[list(faulty)] = False
        return replace(study, labelled=labelled)

    def lengths(self) -> dict[str, dict[str, float]]:
        """structure -> study -> mm from its first to its last slice; unreadable studies are left out."""
        found: dict[str, dict[str, float]] = {structure: {} for structure in self.structures}
        for name in self.files:
            try:
                study = self.load(name)
            except QNetSegmentError:
                continue  # named when the study itself is scored
            for structure, label in self.structures.items():
                occupied = np.flatnonzero(study.mask(label).any(axis=(1, 2)))
                if len(occupied):
                    found[structure][name] = float(occupied[-1] - occupied[0] + 1) * study.spacing[0]
        return found


def collection(
    name: str,
    labels: dict[str, int] | None = None,
    cases: Sequence[str] = (),
    partly_labelled: bool = False,
    plane: str | None = None,
) -> Collection:
    """The studies of a known data set or of a folder.

    Args:
        name: "chaos", "cmr", "sunnybrook", one of `OPEN_SETS`, or a folder with X.nii.gz and X_seg.nii.gz.
        labels: names and values of the structures to score; None for all there are.
        cases: only these studies; empty for all.
        partly_labelled: of a folder, see `Collection`.
        plane: see `make_study`.

    Raises:
        DatasetError: there is no such data set, study or label.
    """
    if name in CATALOGUE:
        files, structures = _catalogue_files(name), dict(dataset(name).labels)
    elif name == SUNNYBROOK:
        files = folder_files(data_root() / SUNNYBROOK_FOLDER)
        structures, partly_labelled = SUNNYBROOK_LABELS, True
    elif name in OPEN_SETS:
        files = folder_files(data_root() / OPEN_FOLDER)
        files = {key: value for key, value in files.items() if key.startswith(OPEN_SETS[name])}
        structures, partly_labelled = _discovered(files), True
    else:
        files = folder_files(Path(name))
        structures, name = _discovered(files), Path(name).resolve().name
    if missing := sorted(set(cases) - set(files)):
        raise DatasetError(f"There is no study {missing[0]!r} in {name}.", f"There are {', '.join(files)}.")
    files = {key: files[key] for key in files if not cases or key in cases}
    return Collection(name, files, _chosen(structures, labels, name), partly_labelled, plane)


def _catalogue_files(name: str) -> dict[str, tuple[Path, Path]]:
    data = dataset(name)
    return {
        case: (data.path(data.images, case), data.path(data.annotations, case)) for case in data.case_names()
    }


def folder_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """study name -> (X.nii.gz, X_seg.nii.gz) of a folder. Raises `DatasetError` where there are none."""
    if not folder.is_dir():
        raise DatasetError(
            f"There is no data set or folder '{folder}'.",
            f"Known are {', '.join([*CATALOGUE, SUNNYBROOK, *OPEN_SETS])}; or name a folder with X.nii.gz and"
            " X_seg.nii.gz.",
        )
    files = {
        volume.stem.name: (volume.path, volume.labels)
        for volume in volumes_in(folder)
        if volume.labels is not None
    }
    if not files:
        raise DatasetError(
            f"The folder '{folder}' holds no labelled study.",
            "Every image X.nii.gz needs its label map beside it, named X_seg.nii.gz.",
        )
    return files


def _discovered(files: dict[str, tuple[Path, Path]]) -> dict[str, int]:
    """All label values of readable label maps, named after the segments where the files name them."""
    names: dict[int, str] = {}
    for _, labels in files.values():
        try:
            found = read_labelmap(labels)
        except QNetSegmentError:
            continue  # named when the study itself is scored
        present = set(np.unique(found.array).tolist()) - {0}
        names |= {s.label: s.name for s in found.segments if s.label in present and s.label not in names}
    if not names:
        raise DatasetError("No label map of the folder holds a label.", "Check the files X_seg.nii.gz.")
    return {names[value]: value for value in sorted(names)}


def _chosen(structures: dict[str, int], labels: dict[str, int] | None, name: str) -> dict[str, int]:
    if labels is None:
        return structures
    for structure, value in labels.items():
        if value not in structures.values():
            known = ", ".join(f"{key}={label}" for key, label in structures.items())
            raise DatasetError(
                f"The label {value} ({structure}) occurs nowhere in {name}.", f"There are {known}."
            )
    return dict(labels)
