"""Recipes: everything that decides how a network is made; `recipe_file` reads them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from qnetseg.errors import RecipeError
from qnetseg.model import PropagationConfig, PropagationNet, QNetConfig

from .synthesis.windows import WindowRecipe


@dataclass(frozen=True)
class DataRecipe:
    """One source of episodes.

    Attributes:
        name: data set of `qnetseg_lab.data`.
        fold: test fold whose cases are left out; -1 leaves none out.
        scheme: "released" or "strict" folds.
        share: relative number of episodes; 0 leaves the source out.
        exclude: structures that must be unseen (Setting 2).
        exclude_rule: "any" removes a slice with any of them, "all" (released code) only one with all.
    """

    name: str
    fold: int = -1
    scheme: str = "released"
    share: float = 1.0
    exclude: tuple[str, ...] = ()
    exclude_rule: str = "any"

    def __post_init__(self) -> None:
        if not all(isinstance(structure, str) for structure in self.exclude):
            raise RecipeError("The recipe's entry exclude is not a list of names.", 'Write, e.g., ["liver"].')


@dataclass(frozen=True)
class EpisodeRecipe:
    """What an episode holds: `pairs` pairs of adjacent slices with up to `structures` supervoxels each.

    Attributes:
        min_pixels: of a supervoxel on one of the two slices.
        supervoxels: "files" beside the images, or computed before training: "felzenszwalb" or "slic" in 3-D,
            "superpixels" by Felzenszwalb's method on each slice (SSL-ALPNet).
        partner: the query is the "adjacent" slice (ADNet, Q-Net) or the "same" slice, augmented (SSL-ALPNet).
        crop: side in pixels, a multiple of 8, of the window around the drawn supervoxel that is encoded; 0
            encodes whole slices.
    """

    pairs: int = 1
    structures: int = 1
    min_pixels: int = 200
    supervoxels: str = "files"
    partner: str = "adjacent"
    crop: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.crop % 8:
            raise RecipeError(
                f"The recipe crops slices to {self.crop} pixels.",
                "Write a multiple of 8, or 0 for whole slices.",
            )
        if self.supervoxels == "superpixels" and self.partner != "same":
            raise RecipeError(
                "The recipe asks for superpixels, which end with their slice, on adjacent slices.",
                'Write partner = "same".',
            )


@dataclass(frozen=True)
class AugmentationRecipe:
    """Released code's defaults: gamma on one slice of the pair, affine and elastic on one of them.

    Attributes:
        gamma: range of the exponent.
        rotate, shear: +- degrees; shift: +- pixels; scale: range of the isotropic factor.
        elastic_alpha, elastic_sigma: strength and smoothness of the random displacement in pixels.
        flip_rows: probability that both slices are flipped up-down together.
    """

    gamma: tuple[float, float] = (0.5, 1.5)
    rotate: float = 5.0
    shift: float = 5.0
    shear: float = 5.0
    scale: tuple[float, float] = (0.9, 1.2)
    elastic_alpha: float = 10.0
    elastic_sigma: float = 5.0
    flip_rows: float = 0.0


@dataclass(frozen=True)
class OptimiserRecipe:
    """Optimiser and learning rate.

    Attributes:
        name: "sgd" (released code) or "adamw".
        rate: learning rate; momentum of SGD; decay: weight decay.
        schedule: "step" multiplies by `gamma` every `every` steps (released code), "cosine" ends at 0.
        warmup: steps of linear warm-up.
        clip: largest gradient norm; 0 does not clip.
    """

    name: str = "sgd"
    rate: float = 1e-3
    momentum: float = 0.9
    decay: float = 5e-4
    schedule: str = "step"
    gamma: float = 0.98
    every: int = 1000
    warmup: int = 0
    clip: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run of Q-Net or a baseline.

    Attributes:
        name: file name without its ending.
        method: name in `qnetseg_lab.baselines`.
        start: "random", "radiology" (see `qnetseg_lab.training.starts`), "torchvision:<weights>" or a file.
        batch_norm: "train" (released code) or "frozen" statistics of the initial weights.
        precision: "fp32", or "bf16" for mixed precision where the hardware computes in it.
    """

    name: str
    method: str = "qnet"
    start: str = "random"
    steps: int = 30000
    seed: int = 0
    precision: str = "fp32"
    batch_norm: str = "train"
    model: QNetConfig = field(default_factory=QNetConfig)
    data: tuple[DataRecipe, ...] = ()
    episodes: EpisodeRecipe = field(default_factory=EpisodeRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)

    def __post_init__(self) -> None:
        if self.model.size % 8:
            raise RecipeError(
                f"The recipe's slices have an edge of {self.model.size} pixels.",
                "Write a multiple of 8: the features lie on a grid eight times as coarse.",
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, kept in checkpoints and in the provenance of the weights."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class PropagationRecipe:
    """Everything that decides a training run of the propagation network.

    Attributes:
        name: file name without its ending.
        method: always that of the network.
        start: "random", or a weights file of the same configuration to go on from.
        precision: "fp32", or "bf16" for mixed precision where the hardware computes in it.
        batches: of a step; several processes share them.
        calibration: batches that the confidence is fitted on after the last step.
        volumes: where real windows come from: "open", or data sets of `qnetseg_lab.data`; none for synthetic
            windows alone.
    """

    name: str
    method: str = PropagationNet.name
    start: str = "random"
    steps: int = 6000
    seed: int = 0
    precision: str = "bf16"
    batches: int = 1
    calibration: int = 40
    volumes: tuple[str, ...] = ("open",)
    model: PropagationConfig = field(default_factory=PropagationConfig)
    windows: WindowRecipe = field(default_factory=WindowRecipe)
    optimiser: OptimiserRecipe = field(
        default_factory=lambda: OptimiserRecipe(
            "adamw", 2e-3, decay=1e-3, schedule="cosine", warmup=50, clip=1.0
        )
    )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, kept in checkpoints and in the provenance of the weights."""
        return dataclasses.asdict(self)


AnyRecipe = Recipe | PropagationRecipe
