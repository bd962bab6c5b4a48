"""A recipe: one readable TOML file that says how a model is made."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..model import QNetConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataRecipe:
    """One source of episodes.

    Attributes:
        name: data set of `qnetseg.data`.
        fold: test fold whose cases are left out; -1 leaves none out.
        scheme: "released" or "strict" folds.
        share: relative number of episodes.
        exclude: structures that must be unseen (Setting 2).
        exclude_rule: "any" removes a slice with any of them, "all" (released code) only one with all.
    """

    name: str
    fold: int = -1
    scheme: str = "released"
    share: float = 1.0
    exclude: tuple[str, ...] = ()
    exclude_rule: str = "any"


@dataclass(frozen=True)
class EpisodeRecipe:
    """What an episode holds: `pairs` pairs of adjacent slices with up to `structures` supervoxels each."""

    pairs: int = 1
    structures: int = 1
    min_pixels: int = 200


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
    """Everything that decides a training run.

    Attributes:
        name: file name without its ending.
        start: "random", "radiology" (see `qnetseg.model.starts`), "torchvision:<weights>" or a file.
        batch_norm: "train" (released code) or "frozen" statistics of the start.
        precision: "fp32" or "bf16" mixed precision.
    """

    name: str
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, kept in checkpoints and in the provenance of the weights."""
        return dataclasses.asdict(self)


_SECTIONS = {"model": QNetConfig, "episodes": EpisodeRecipe, "augmentation": AugmentationRecipe,
             "optimiser": OptimiserRecipe}
_CHOICES = {"precision": ("fp32", "bf16"), "batch_norm": ("train", "frozen"), "schedule": ("step", "cosine"),
            "exclude_rule": ("any", "all"), "scheme": ("released", "strict")}


def _build(cls: type, values: dict[str, Any], where: str) -> Any:
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise RecipeError(f"The recipe has an unknown entry {unknown[0]!r} in {where}.",
                          f"Known entries are {', '.join(sorted(known))}.")
    for key, allowed in _CHOICES.items():
        if key in values and values[key] not in allowed:
            raise RecipeError(f"The recipe's entry {key} is {values[key]!r}.", f"Use {' or '.join(allowed)}.")
    if cls is OptimiserRecipe and values.get("name", "sgd") not in ("sgd", "adamw"):
        raise RecipeError(f"The recipe asks for the optimiser {values['name']!r}.", "Use sgd or adamw.")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def read_recipe(path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: TOML file.
        overrides: entries at the top level that replace the file's, e.g. {"steps": 10}; "fold" replaces
            the fold of every data source.

    Raises:
        RecipeError: the file is missing, is not TOML or has an unknown or impossible entry.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read ({error.strerror}).", "Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.", "Correct that line.") from error
    overrides = dict(overrides or {})
    fold = overrides.pop("fold", None)
    values.update(overrides)
    sources = [dict(source, **({} if fold is None else {"fold": fold})) for source in values.pop("data", [])]
    if not sources:
        raise RecipeError(f"The recipe {path.name} names no data.", "Add a [[data]] section.")
    for name, cls in _SECTIONS.items():
        if name in values:
            values[name] = _build(cls, values[name], f"[{name}]")
    values["data"] = [_build(DataRecipe, source, "[[data]]") for source in sources]
    return _build(Recipe, {"name": path.stem, **values}, "its top level")
