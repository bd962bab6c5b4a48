"""What is wrong with a data set, in one sentence a problem with the file's name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnetseg.errors import DatasetError

from ..data import FOLDS, Case, DataSet
from .pairs import adjacent_pairs, same_slices
from .recipe import EpisodeRecipe

SPACING_TOLERANCE = 0.01  # relative
MULTIPLE = 8  # of pixels, which the encoder's coarse path takes together
MIN_FOLD = 2  # a support and a query


def dataset_problems(data: DataSet, recipe: EpisodeRecipe) -> Iterator[str]:
    """Every problem of a data set: files, their contents, and folds that leave nothing to score."""
    names = data.case_names()
    for name in names:
        yield from _file_problems(data, name, recipe)
    if any(name not in data.unlabelled for name in names):
        for index in range(FOLDS):
            count = len(data.fold(index, "strict"))
            if count < MIN_FOLD:
                yield f"{data.name}: fold {index} has {count} of {MIN_FOLD} cases that scoring it needs."


def require_usable(data: DataSet, case: Case, recipe: EpisodeRecipe) -> None:
    """Raise `DatasetError` with the first problem of a case that was read."""
    for problem in case_problems(data, case, recipe):
        raise DatasetError(problem, "Repair the file or leave it out; see qnetseg data validate.")


def require_spacing(data: DataSet, spacing: float) -> None:
    """Raise `DatasetError` where a model of this in-plane spacing in mm would see the data at another one.

    Training takes slices as they are stored; whoever uses the model resamples to its spacing.
    """
    if not np.isclose(data.spacing, spacing, rtol=SPACING_TOLERANCE):
        raise DatasetError(
            f"{data.name} has pixels of {data.spacing:g} mm, but the recipe's model works at {spacing:g} mm.",
            f"Train with --set model.spacing={data.spacing:g}, or prepare it with --spacing {spacing:g}.",
        )


def _file_problems(data: DataSet, name: str, recipe: EpisodeRecipe) -> Iterator[str]:
    """Problems of one case's files; labels and supervoxels are judged even where the other is unusable."""
    try:
        volume = data.image(name)
        yield from _image_problems(data, name, volume.array, volume.spacing, recipe)
    except DatasetError as error:
        yield error.message
        return
    try:
        yield from _label_problems(data, name, data.annotation(name, volume))
    except DatasetError as error:
        yield error.message
    try:
        yield from _supervoxel_problems(data, name, data.pseudo_labels(name, volume), recipe)
    except DatasetError as error:
        yield error.message


def case_problems(data: DataSet, case: Case, recipe: EpisodeRecipe) -> Iterator[str]:
    """Problems in what the files of one case hold, one sentence each."""
    yield from _image_problems(data, case.name, case.image, case.spacing, recipe)
    yield from _label_problems(data, case.name, case.labels)
    yield from _supervoxel_problems(data, case.name, case.supervoxels, recipe)


def _image_problems(
    data: DataSet, name: str, image: np.ndarray, spacing: tuple[float, float, float], recipe: EpisodeRecipe
) -> Iterator[str]:
    file = data.path(data.images, name).name
    slices, *size = image.shape
    if slices < 2 and recipe.partner == "adjacent":
        yield f"{data.name}: {file} has a single slice, and episodes need two adjacent ones."
    if any(side % MULTIPLE for side in size):
        yield f"{data.name}: {file} has slices of {size[0]} x {size[1]} pixels, no multiples of {MULTIPLE}."
    expected = data.spacings.get(name, data.spacing)
    if not np.allclose(spacing[1:], expected, rtol=SPACING_TOLERANCE):
        found = " x ".join(f"{width:g}" for width in spacing[1:])
        yield f"{data.name}: {file} has pixels of {found} mm, not of {expected:g} mm."


def _label_problems(data: DataSet, name: str, labels: np.ndarray) -> Iterator[str]:
    file = data.path(data.annotations, name).name
    unknown = sorted(set(np.unique(labels).tolist()) - {0, *data.labels.values()})
    if unknown:
        yield f"{data.name}: {file} has the label {unknown[0]}, which is not in the data set's list."


def _supervoxel_problems(
    data: DataSet, name: str, supervoxels: np.ndarray | None, recipe: EpisodeRecipe
) -> Iterator[str]:
    if recipe.supervoxels != "files":
        return
    file, same = data.path(data.supervoxels, name).name, recipe.partner == "same"
    if supervoxels is None:
        yield f"{data.name}: the supervoxel file {file} is missing."
    elif supervoxels.min() < 0:
        yield f"{data.name}: {file} has negative labels."
    elif not supervoxels.any():
        yield f"{data.name}: {file} is empty."
    elif not (same_slices if same else adjacent_pairs)(supervoxels, recipe.min_pixels):
        where = "on a slice" if same else "on two adjacent slices"
        yield f"{data.name}: {file} has no supervoxel of {recipe.min_pixels} pixels {where}."
