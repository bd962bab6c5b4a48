"""The real volumes that windows are cut out of, with their supervoxels, which are computed once a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qnetseg.atomic import replacing
from qnetseg.errors import DatasetError, OutputError, why
from qnetseg.parsing import parsing
from qnetseg.volume import Volume, normalise, read_labelmap, read_volume

from ...data import dataset, open_volumes
from .tissue import Division, Tissue

SIZES = (1 / 1000, 1 / 150)  # smallest supervoxels, as shares of the volume: parts of organs, and organs
OPEN = "open"
THREADS = 8  # that compute supervoxels, of about 0.5 kB a voxel each


@dataclass(frozen=True)
class _Study:
    """One volume: what its supervoxels are kept as, and how it and a whole segmentation are read."""

    name: str
    volume: Callable[[], Volume]
    segmentation: Callable[[Volume], np.ndarray] | None


def load_tissues(
    sources: Sequence[str], folder: Path, device: torch.device, report: Callable[[str], None] = print
) -> list[Tissue]:
    """Volumes of the sources, on the device.

    Args:
        sources: "open", or data sets of `qnetseg_lab.data`.
        folder: where supervoxels are kept for the next call.
        device: where windows are made.
        report: receives a line before the slow part.

    Raises:
        DatasetError: a source is unknown, or a volume is missing. OutputError: the folder cannot be written.
    """
    return [_tissue(study, folder, device) for study in keep_supervoxels(sources, folder, report)]


def _studies(source: str) -> list[_Study]:
    if source == OPEN:
        return [
            _Study(name, _reader(image), None if segmentation is None else _label_reader(segmentation))
            for name, image, segmentation in open_volumes()
        ]
    data = dataset(source)

    def study(case: str) -> _Study:
        labels = None if case in data.unlabelled else lambda volume: data.annotation(case, volume)
        return _Study(f"{data.name}-{case}", lambda: data.image(case), labels)

    return [study(case) for case in data.case_names()]


def _reader(image: Path) -> Callable[[], Volume]:
    return lambda: read_volume(image)


def _label_reader(segmentation: Path) -> Callable[[Volume], np.ndarray]:
    return lambda volume: read_labelmap(segmentation).array


def keep_supervoxels(
    sources: Sequence[str], folder: Path, report: Callable[[str], None] = print
) -> list[_Study]:
    """The studies of the sources; their supervoxels are in the folder now, computed on all cores.

    Raises as `load_tissues`.
    """
    studies = [study for source in sources for study in _studies(source)]
    missing = [study for study in studies if not _kept(study, folder).is_file()]
    if not missing:
        return studies
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({why(error)}).", "Choose another output folder."
        ) from error
    report(f"Computing the supervoxels of {len(missing)} volumes.")
    with ThreadPoolExecutor(min(os.cpu_count() or 1, THREADS)) as pool:  # the slow part leaves Python's lock
        for _ in pool.map(lambda study: _keep(study, folder), missing):
            pass
    return studies


def _kept(study: _Study, folder: Path) -> Path:
    return folder / f"{study.name}.npz"


def _keep(study: _Study, folder: Path) -> None:
    """Compute and write one division for each of SIZES."""
    from ..supervoxels import divisions  # needs numba

    volume = study.volume()
    smallest, largest = np.percentile(volume.array, (0.5, 99.5))  # air and metal would take the whole scale
    cut = np.clip(volume.array, smallest, largest)
    made = divisions(cut, volume.spacing, [max(30, round(cut.size * share)) for share in SIZES])
    with replacing(_kept(study, folder), ".npz") as part:
        np.savez_compressed(part, **{f"size{number}": labels for number, labels in enumerate(made)})  # type: ignore[arg-type]


def _tissue(study: _Study, folder: Path, device: torch.device) -> Tissue:
    volume = study.volume()
    segmented = [] if study.segmentation is None else [study.segmentation(volume)]
    path = _kept(study, folder)
    with (
        parsing(
            path.name,
            DatasetError,
            f"The supervoxels {path} are damaged.",
            "Delete them; they are computed again.",
        ),
        np.load(path, allow_pickle=False) as archive,
    ):
        computed = [archive[key] for key in sorted(archive.files)]
    for labels in segmented + computed:
        if labels.shape != volume.shape:
            raise DatasetError(
                f"{study.name} has labels of the shape {labels.shape}, but its image has {volume.shape}.",
                f"Repair its segmentation, or delete {_kept(study, folder)}, which is computed again.",
            )
    return Tissue(
        study.name,
        torch.from_numpy(normalise(volume.array)).to(device),
        volume.spacing,
        tuple(Division.of(labels, device) for labels in segmented + computed),
        len(segmented),
    )
