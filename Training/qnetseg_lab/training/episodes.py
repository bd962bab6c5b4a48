"""Episodes: two slices, support and query, with the pseudo-labels that they share (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qnetseg.errors import DatasetError
from qnetseg.volume.normalise import normalise

from ..data import Case, dataset
from .checks import require_usable
from .pairs import adjacent_pairs, excluded_slices, same_slices
from .recipe import DataRecipe, EpisodeRecipe

_NONE = -1  # the label where a pair has fewer structures than the batch has room for


class Episodes(NamedTuple):
    """A batch of B pairs with up to N structures.

    Attributes:
        images: (B, 2, H, W) float32, support and query, z-scored.
        masks: (B, 2, N, H, W) float32, 0 or 1.
        valid: (B, N) float32, 0 where a pair has fewer than N structures.
    """

    images: Tensor
    masks: Tensor
    valid: Tensor


class PairPlan(NamedTuple):
    """What a pair shows: case, supervoxels (one drawn, the others beside it), two slices and a window."""

    case: TrainingCase
    labels: list[int]
    slices: tuple[int, int]
    window: tuple[slice, slice]

    @property
    def size(self) -> tuple[int, int]:
        """H and W of what is encoded."""
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start


@dataclass(frozen=True)
class TrainingCase:
    """One volume on the training device.

    Attributes:
        name: set and case, for messages.
        image: (K, H, W) float16 tensor, z-scored.
        supervoxels: (K, H, W) int32 tensor, 0 is background; 0 everywhere on excluded slices.
        pairs: supervoxel -> slice indices k of its usable pairs, k with k + `step`; see `adjacent_pairs` and
            `same_slices`.
        centres: (K, L, 2) float, mean row and column of every supervoxel on every slice.
        step: from the pair's first slice to its other one, 1 or 0.
    """

    name: str
    image: Tensor
    supervoxels: Tensor
    pairs: dict[int, list[int]]
    centres: np.ndarray
    step: int = 1


def prepare_case(
    case: Case,
    name: str,
    recipe: EpisodeRecipe,
    device: torch.device,
    exclude: tuple[list[int], str] = ([], "any"),
) -> TrainingCase:
    """Move one case to the device. Raises `DatasetError` where it cannot give an episode."""
    if case.supervoxels is None:
        raise DatasetError(
            f"{name} has no supervoxels.", 'Set supervoxels = "felzenszwalb" in the recipe\'s [episodes].'
        )
    supervoxels = case.supervoxels.copy()
    if exclude[0]:
        supervoxels[excluded_slices(case.labels, *exclude)] = 0
    same = recipe.partner == "same"
    pairs = (same_slices if same else adjacent_pairs)(supervoxels, recipe.min_pixels)
    if not pairs:
        raise DatasetError(
            f"{name} has no supervoxel of {recipe.min_pixels} pixels"
            f"{'' if same else ' on two adjacent slices'}.",
            "Lower min_pixels or leave the volume out.",
        )
    images = torch.from_numpy(np.ascontiguousarray(normalise(case.image))).half()
    labels = torch.from_numpy(np.ascontiguousarray(supervoxels, np.int32))
    return TrainingCase(
        name, images.to(device), labels.to(device), pairs, centres(supervoxels), 0 if same else 1
    )


def centres(supervoxels: np.ndarray) -> np.ndarray:
    """Mean row and column of every supervoxel on every slice of (K, H, W) labels: (K, L, 2) or NaN."""
    rows, columns = np.indices(supervoxels.shape[1:])
    size = int(supervoxels.max()) + 1
    found = np.empty((len(supervoxels), size, 2))
    with np.errstate(invalid="ignore"):
        for plane, own in zip(supervoxels, found, strict=True):
            area = np.bincount(plane.ravel(), minlength=size)
            for axis, position in enumerate((rows, columns)):
                own[:, axis] = np.bincount(plane.ravel(), position.ravel(), minlength=size) / area
    return found


def load_cases(source: DataRecipe, recipe: EpisodeRecipe, device: torch.device) -> list[TrainingCase]:
    """Training cases of one source: every case that is not in its test fold.

    Raises `DatasetError`, with the file's name, for the first thing that is wrong with the data.
    """
    data = dataset(source.name)
    test = set(data.fold(source.fold, source.scheme)) if source.fold >= 0 else set()
    unknown = sorted(set(source.exclude) - set(data.labels))
    if unknown:
        raise DatasetError(
            f"{data.name} has no structure {unknown[0]!r}.", f"It has {', '.join(data.labels)}."
        )
    values = [data.labels[name] for name in source.exclude]
    cases = []
    for name in data.case_names():
        if name in test:
            continue
        if values and name in data.unlabelled:
            raise DatasetError(
                f"{data.name} case {name} has no labels, so slices with {source.exclude[0]} would stay.",
                "Add its labels or take the case out of the data set.",
            )
        case = data.load(name)
        require_usable(data, case, recipe)
        case = _with_supervoxels(case, data.supervoxel_size, recipe.supervoxels)
        excluded = values, source.exclude_rule
        cases.append(prepare_case(case, f"{data.name} case {name}", recipe, device, excluded))
    if not cases:
        raise DatasetError(
            f"{data.name} has no case for training beside fold {source.fold}.", "Train without a fold."
        )
    return cases


def _with_supervoxels(case: Case, min_size: int | None, method: str) -> Case:
    """The case with its supervoxels from files, or computed as the recipe says."""
    if method == "files":
        return case
    if method == "superpixels":
        from .superpixels import superpixels

        return replace(case, supervoxels=superpixels(case.image))
    from .supervoxels import supervoxels  # needs numba, which files do without

    return replace(case, supervoxels=supervoxels(case.image, case.spacing, min_size, method))


class EpisodeSampler:
    """Draws the episodes of any step from the seed and the step alone, so that a run resumes exactly."""

    def __init__(
        self, sources: list[tuple[float, list[TrainingCase]]], recipe: EpisodeRecipe, seed: int
    ) -> None:
        self.sources, self.recipe, self.seed = sources, recipe, seed
        shares = np.array([share for share, _ in sources], dtype=float)
        self.shares = shares / shares.sum()

    def batch(self, step: int) -> Episodes:
        """Episodes of one step, on the cases' device."""
        return build(self.plan(step), self.recipe.structures)

    def plan(self, step: int) -> list[PairPlan]:
        """What the pairs of a step show."""
        rng = np.random.default_rng([self.seed, step])
        return [self._plan_pair(rng) for _ in range(self.recipe.pairs)]

    def _plan_pair(self, rng: np.random.Generator) -> PairPlan:
        _, cases = self.sources[rng.choice(len(self.sources), p=self.shares)]
        case = cases[rng.integers(len(cases))]
        anchor = int(rng.choice(list(case.pairs)))
        lower = int(rng.choice(case.pairs[anchor]))
        others = [label for label, lowers in case.pairs.items() if label != anchor and lower in lowers]
        labels = [anchor, *rng.permutation(others)[: self.recipe.structures - 1].tolist()]
        other = lower + case.step
        slices = (lower, other) if rng.random() < 0.5 else (other, lower)
        return PairPlan(case, labels, slices, self._window(rng, case, anchor, lower))

    def _window(
        self, rng: np.random.Generator, case: TrainingCase, anchor: int, lower: int
    ) -> tuple[slice, slice]:
        """Rows and columns that are encoded: all, or a square around the drawn supervoxel's centre."""
        size = np.array(case.image.shape[1:])
        if not self.recipe.crop:
            return slice(0, size[0]), slice(0, size[1])
        side = np.minimum(self.recipe.crop, size)
        wanted = case.centres[lower, anchor] - side / 2 + side / 4 * rng.uniform(-1, 1, 2)
        first = np.clip(np.round(wanted).astype(int), 0, size - side)
        rows, columns = (slice(start, start + extent) for start, extent in zip(first, side, strict=True))
        return rows, columns


def build(plans: list[PairPlan], structures: int) -> Episodes:
    """Episodes of planned pairs, with room for `structures` in each.

    Nothing here waits for a GPU: slices are taken by number, labels are compared all at once.
    """
    shown = [(plan.case, (k, *plan.window)) for plan in plans for k in plan.slices]
    supervoxels = torch.stack([case.supervoxels[where] for case, where in shown])
    images = torch.stack([case.image[where] for case, where in shown]).float()
    padded = [plan.labels + [_NONE] * (structures - len(plan.labels)) for plan in plans]
    labels = to_device(torch.tensor(padded, dtype=supervoxels.dtype), images.device)
    size = images.shape[-2:]
    masks = supervoxels.view(-1, 2, 1, *size) == labels[:, None, :, None, None]
    return Episodes(images.view(-1, 2, *size), masks.float(), (labels != _NONE).float())


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, without waiting for what a GPU is still computing."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
