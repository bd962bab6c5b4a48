"""Studies of your own as training volumes: reoriented, resampled, cropped, and divided into supervoxels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.atomic import replacing
from qnetseg.errors import DatasetError, InputError, OutputError, QNetSegmentError
from qnetseg.parsing import parse_json, read_text
from qnetseg.volume import (
    InPlaneGrid,
    LabelMap,
    Volume,
    canonical,
    on_grid_of,
    read_labelmap,
    read_volume,
    write_labelmap,
    write_volume,
)
from qnetseg.volume.normalise import TOP_PERCENT, padding_floor
from qnetseg.volume.volume import axis_directions

from ..data import CaseDescription, Description
from .body import body_box, foreground_mask
from .own_studies import Study

PERPENDICULAR = 1e-4  # largest cosine between two axes that NIfTI can hold
THICK = 1.5  # times the finest spacing: from here on the coarsest axis is the one that slices follow


@dataclass(frozen=True)
class Preparation:
    """How volumes are made; a prepared study is made again when one of these changes.

    Attributes:
        spacing: in-plane mm (paper: 1.25); coarsened for a body that would not fit.
        size: edge of the square slices in pixels, a multiple of 8 (paper: 256).
        supervoxel_size: smallest supervoxel in voxels; None decides by the body's size.
    """

    spacing: float = 1.25
    size: int = 256
    supervoxel_size: int | None = None

    def __post_init__(self) -> None:
        if not (self.spacing > 0 and self.size > 0 and self.size % 8 == 0):
            raise InputError(
                "The studies cannot be prepared with these numbers.",
                "The spacing is above 0, the size a multiple of 8.",
            )
        if self.supervoxel_size is not None and self.supervoxel_size < 1:
            raise InputError("A supervoxel has at least one voxel.")


@dataclass(frozen=True)
class Prepared:
    """What became of a folder of studies: how many are ready, and a sentence for each that is not."""

    ready: int
    kept: int
    problems: tuple[str, ...]


def prepare_studies(
    studies: list[Study],
    folder: Path,
    settings: Preparation,
    labels: dict[str, int] | None = None,
    report: Callable[[str], None] = print,
) -> Prepared:
    """Prepare every study that is not prepared yet, then write `dataset.json`.

    A study that cannot be used is reported by name and left out. labels: structure name -> value; by default
    the names in the label files, or "label N".
    Raises `OutputError` where the folder cannot be written, `DatasetError` where no study could be used.
    """
    for part in ("images", "labels", "supervoxels", "studies"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cases: list[CaseDescription] = []
    problems: list[str] = []
    kept = 0
    names = {value: name for name, value in (labels or {}).items()}
    for number, study in enumerate(studies, start=1):
        record = folder / "studies" / f"{study.name}.json"
        done = _read_record(record, study, settings) if _has_files(folder, study) else None
        try:
            if done is None:
                done = _prepare_study(study, folder, settings, record)
                report(f"{number}/{len(studies)}  {study.name}  {done['supervoxels']} supervoxels")
            else:
                kept += 1
            if labels is None:
                _add_names(names, done["labels"])
        except OutputError:
            raise
        except QNetSegmentError as error:
            problems.append(f"{study.name}: {error.message}")
            report(f"{number}/{len(studies)}  {problems[-1]}")
            continue
        cases.append(CaseDescription(study.name, study.labels is not None, done["spacing"]))
    if not cases:
        raise DatasetError("No study could be prepared.", problems[0] if problems else "Check the folder.")
    named = {name: value for value, name in sorted(names.items())}
    description = Description(
        folder.resolve().name, named, settings.spacing, settings.supervoxel_size, tuple(cases)
    )
    description.write(folder)
    return Prepared(len(cases), kept, tuple(problems))


def _add_names(names: dict[int, str], found: dict[str, int]) -> None:
    """Add a study's names of label values. Raises `DatasetError` where another study has others."""
    for name, value in found.items():
        plain = f"label {value}"
        known = names.get(value, plain)
        if name != plain and any(
            (known not in (name, plain), any(name == other and value != at for at, other in names.items()))
        ):
            raise DatasetError(f"It has {name!r} as label {value}, which other studies contradict.")
        names[value] = name if known == plain else known


def _prepare_study(study: Study, folder: Path, settings: Preparation, record: Path) -> dict[str, Any]:
    """Write one study's files, its record last; returns the record."""
    from .supervoxels import supervoxels  # needs numba

    volume = read_volume(study.image)
    axes = axis_directions(volume.ijk_to_ras)
    if np.abs(axes.T @ axes - np.eye(3)).max() > PERPENDICULAR:
        raise DatasetError("Its axes are not perpendicular, as with a tilted gantry.", "Resample it first.")
    labelmap = read_labelmap(study.labels) if study.labels else None
    if labelmap is not None:
        labelmap = on_grid_of(labelmap, volume)
    image, annotation = to_training_grid(volume, labelmap, settings)
    if len(image.array) < 2:
        raise DatasetError("It has a single slice, and episodes need two adjacent ones.")
    found = supervoxels(image.array, image.spacing, settings.supervoxel_size)
    if not found.any():
        raise DatasetError("No body was found in it that supervoxels could divide.")
    file = f"{study.name}.nii.gz"
    write_volume(folder / "images" / file, image)
    write_labelmap(folder / "supervoxels" / file, LabelMap(found, image.ijk_to_ras, ()))
    if annotation is not None:
        write_labelmap(folder / "labels" / file, annotation)
    content = {
        **_fingerprint(study, settings),
        "spacing": image.spacing[1],
        "supervoxels": int(found.max()),
        "labels": {info.name: info.label for info in annotation.segments} if annotation else {},
    }
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return content


def to_training_grid(
    volume: Volume, labelmap: LabelMap | None, settings: Preparation
) -> tuple[Volume, LabelMap | None]:
    """A volume, and labels on its grid, as square slices of one resolution that are centred on the body.

    The axes become the nearest anatomical ones (superior, posterior, left), and the slices follow the thick
    axis, or the superior one of a volume without. Intensities are resampled linearly and their histogram is
    cut, labels take the nearest voxel. Outside the field of view lies the image's minimum.
    """
    turned, orientation = canonical(volume)
    axis = slice_axis(turned.spacing)
    stack = _cut(np.moveaxis(turned.array, axis, 0))
    # Coordinates i, j, k are the array axes 2, 1, 0.
    order = [axis, *(other for other in range(3) if other != axis)]
    matrix = turned.ijk_to_ras[:, [*(2 - other for other in reversed(order)), 3]]
    millimetres = [turned.spacing[other] for other in order[1:]]
    box = body_box(foreground_mask(stack))
    extents = [(part.stop - part.start) * mm for part, mm in zip(box, millimetres, strict=True)]
    spacing = max(settings.spacing, *(extent / settings.size for extent in extents))
    windows = [
        _Window.around(part, spacing * settings.size / mm, settings.size)
        for part, mm in zip(box, millimetres, strict=True)
    ]
    rows, columns = windows
    grid = InPlaneGrid((rows.count, columns.count), (millimetres[0], millimetres[1]), spacing, settings.size)
    low = float(stack.min())
    image = grid.to_model(_windowed(stack, windows, low), fill=low)
    to_world = _placed(matrix, windows, millimetres, spacing, settings.size)
    if labelmap is None:
        return Volume.checked(image, to_world, volume.name), None
    drawn = np.moveaxis(orientation.apply(labelmap.array), axis, 0)
    nearest = grid.to_model(_windowed(drawn, windows, 0), order=0).astype(np.int32)
    return Volume.checked(image, to_world, volume.name), LabelMap(nearest, to_world, labelmap.segments)


def slice_axis(spacing: tuple[float, float, float]) -> int:
    """Which canonical axis the slices follow: the thick one, or 0 (axial) where none is."""
    coarsest = int(np.argmax(spacing))
    return coarsest if spacing[coarsest] > THICK * sorted(spacing)[1] else 0


@dataclass(frozen=True)
class _Window:
    """`count` pixels of an axis from `start`, which may lie outside the image."""

    start: int
    count: int

    @classmethod
    def around(cls, part: slice, field: float, size: int) -> _Window:
        """The window of at least `field` pixels around the middle of `part`, even or odd like `size`."""
        count = math.ceil(field - 1e-6)
        count += (count - size) % 2
        return cls((part.start + part.stop - count) // 2, count)


def _windowed(stack: np.ndarray, windows: list[_Window], fill: float) -> np.ndarray:
    """(K, J, I) cropped and padded to the windows."""
    for axis, window in enumerate(windows, start=1):
        length = stack.shape[axis]
        first, last = max(window.start, 0), min(window.start + window.count, length)
        stack = np.take(stack, range(first, last), axis)
        padding = [(0, 0)] * 3
        padding[axis] = (first - window.start, window.start + window.count - last)
        stack = np.pad(stack, padding, constant_values=fill)
    return stack


def _placed(
    matrix: np.ndarray, windows: list[_Window], millimetres: list[float], spacing: float, size: int
) -> np.ndarray:
    """IJK-to-RAS of the windows' network images, whose centres the two grids share."""
    change = np.eye(4)
    for coordinate, window, mm in zip((1, 0), windows, millimetres, strict=True):
        scale = spacing / mm
        change[coordinate, coordinate] = scale
        change[coordinate, 3] = window.start + (window.count - 1) / 2 - scale * (size - 1) / 2
    placed: np.ndarray = matrix @ change
    return placed


def _cut(array: np.ndarray) -> np.ndarray:
    """Padding just below the image, and the brightest voxels at the value that TOP_PERCENT of all exceed, as
    `normalise` does before it z-scores; whole where nothing would be left."""
    low = float(array.min())
    floor = padding_floor(array, low)
    if floor > low:
        array = np.maximum(array, np.float32(floor))
    ceiling = np.percentile(array, 100 - TOP_PERCENT, method="lower")
    return np.minimum(array, ceiling) if ceiling > floor else array


def _fingerprint(study: Study, settings: Preparation) -> dict[str, Any]:
    """What a record is true for: settings and the sources' names, sizes and times."""
    return {"settings": asdict(settings), "sources": study.stamp()}


def _has_files(folder: Path, study: Study) -> bool:
    """Whether everything that was made of a prepared study is still there."""
    parts = ("images", "supervoxels", *(["labels"] if study.labels else []))
    return all((folder / part / f"{study.name}.nii.gz").is_file() for part in parts)


def _read_record(path: Path, study: Study, settings: Preparation) -> dict[str, Any] | None:
    """The record of a study that was prepared from the same files in the same way."""
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError):
        return None
    expected = json.loads(json.dumps(_fingerprint(study, settings)))
    matches = isinstance(content, dict) and all(content.get(key) == value for key, value in expected.items())
    return content if matches else None
