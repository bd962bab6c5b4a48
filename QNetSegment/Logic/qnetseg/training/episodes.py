"""Episodes: pairs of adjacent slices with the supervoxels that they share (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data import Case, dataset
from ..errors import DatasetError
from ..volume.normalise import normalise
from .recipe import DataRecipe, EpisodeRecipe


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


@dataclass(frozen=True)
class TrainingCase:
    """One volume on the training device.

    Attributes:
        name: set and case, for messages.
        image: (K, H, W) float16 tensor, z-scored.
        supervoxels: (K, H, W) int16 tensor, 0 is background; 0 everywhere on excluded slices.
        pairs: supervoxel -> lower slice indices k such that k and k+1 hold it and one of them has at
            least `min_pixels` of it.
    """

    name: str
    image: Tensor
    supervoxels: Tensor
    pairs: dict[int, list[int]]


def excluded_slices(labels: np.ndarray, values: list[int], rule: str) -> np.ndarray:
    """Which slices Setting 2 removes: (K,) bool from (K, H, W) labels; rule "any" or "all"."""
    present = np.stack([(labels == value).any(axis=(1, 2)) for value in values])
    combine = np.any if rule == "any" else np.all
    return np.asarray(combine(present, axis=0))


def adjacent_pairs(supervoxels: np.ndarray, min_pixels: int) -> dict[int, list[int]]:
    """For each supervoxel of (K, H, W) labels the lower indices of its usable slice pairs."""
    flat = supervoxels.reshape(len(supervoxels), -1)
    area = np.stack([np.bincount(plane, minlength=flat.max() + 1) for plane in flat])
    usable = (area[:-1] > 0) & (area[1:] > 0) & (np.maximum(area[:-1], area[1:]) >= min_pixels)
    usable[:, 0] = False
    return {
        int(label): np.flatnonzero(usable[:, label]).tolist() for label in np.flatnonzero(usable.any(axis=0))
    }


def prepare_case(
    case: Case,
    name: str,
    recipe: EpisodeRecipe,
    device: torch.device,
    top_percent: float,
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
    pairs = adjacent_pairs(supervoxels, recipe.min_pixels)
    if not pairs:
        raise DatasetError(
            f"{name} has no supervoxel of {recipe.min_pixels} pixels on two adjacent slices.",
            "Lower min_pixels or leave the volume out.",
        )
    image = torch.from_numpy(normalise(case.image, top_percent)).half()
    labels = torch.from_numpy(supervoxels.astype(np.int16))
    return TrainingCase(name, image.to(device), labels.to(device), pairs)


def load_cases(
    source: DataRecipe, recipe: EpisodeRecipe, device: torch.device, top_percent: float
) -> list[TrainingCase]:
    """Training cases of one source: every case that is not in its test fold."""
    data = dataset(source.name)
    test = set(data.fold(source.fold, source.scheme)) if source.fold >= 0 else set()
    unknown = sorted(set(source.exclude) - set(data.labels))
    if unknown:
        raise DatasetError(
            f"{data.name} has no structure {unknown[0]!r}.", f"It has {', '.join(data.labels)}."
        )
    values = [data.labels[name] for name in source.exclude]
    return [
        prepare_case(
            _with_supervoxels(data.load(name), data.supervoxel_size, recipe.supervoxels),
            f"{data.name} case {name}",
            recipe,
            device,
            top_percent,
            (values, source.exclude_rule),
        )
        for name in data.case_names()
        if name not in test
    ]


def _with_supervoxels(case: Case, min_size: int, method: str) -> Case:
    """The case with its supervoxels from files, or computed as the recipe says."""
    if method == "files":
        return case
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
        rng = np.random.default_rng([self.seed, step])
        drawn = [self._pair(rng) for _ in range(self.recipe.pairs)]
        return Episodes(*(torch.stack(part) for part in zip(*drawn, strict=True)))

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        _, cases = self.sources[rng.choice(len(self.sources), p=self.shares)]
        case = cases[rng.integers(len(cases))]
        anchor = int(rng.choice(list(case.pairs)))
        lower = int(rng.choice(case.pairs[anchor]))
        others = [label for label, lowers in case.pairs.items() if label != anchor and lower in lowers]
        labels = [anchor, *rng.permutation(others)[: self.recipe.structures - 1].tolist()]
        order = [lower, lower + 1] if rng.random() < 0.5 else [lower + 1, lower]
        supervoxels = case.supervoxels[order]
        masks = torch.stack([supervoxels == label for label in labels], dim=1).float()
        missing = self.recipe.structures - len(labels)
        masks = torch.nn.functional.pad(masks, (0, 0, 0, 0, 0, missing))
        valid = torch.tensor([1.0] * len(labels) + [0.0] * missing, device=masks.device)
        return case.image[order].float(), masks, valid
