"""What the entries of a recipe may be, and the sentences for those that may not."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from dataclasses import dataclass
from typing import Any

from qnetseg.errors import RecipeError, WeightsError
from qnetseg.model import PropagationConfig, PropagationNet, QNetConfig

from ..baselines import METHODS
from ..data import FOLDS
from .recipe import AugmentationRecipe, DataRecipe, EpisodeRecipe, OptimiserRecipe, PropagationRecipe, Recipe
from .synthesis.windows import WindowRecipe

_CHOICES = {
    "method": (*METHODS, PropagationNet.name),
    "precision": ("fp32", "bf16"),
    "batch_norm": ("train", "frozen"),
    "schedule": ("step", "cosine"),
    "exclude_rule": ("any", "all"),
    "scheme": ("released", "strict"),
    "supervoxels": ("files", "felzenszwalb", "slic", "superpixels"),
    "partner": ("adjacent", "same"),
}


@dataclass(frozen=True)
class _Range:
    """Numbers that an entry may have; `open_low` leaves out the lowest. Those of a list must all be in it."""

    low: float
    high: float = math.inf
    open_low: bool = False

    def holds(self, value: Any) -> bool:
        values = value if isinstance(value, list | tuple) else [value]
        above = all(number > self.low or (number == self.low and not self.open_low) for number in values)
        return above and all(number <= self.high for number in values)

    def __str__(self) -> str:
        low = f" above {self.low:g}" if self.open_low else f" of at least {self.low:g}"
        return low + (f" and at most {self.high:g}" if self.high < math.inf else "")


_NOT_NEGATIVE, _ABOVE_0, _AT_LEAST_1 = _Range(0), _Range(0, open_low=True), _Range(1)
_RANGES: dict[type, dict[str, _Range]] = {
    Recipe: {"steps": _AT_LEAST_1, "seed": _NOT_NEGATIVE},
    PropagationRecipe: {
        **dict.fromkeys(("steps", "batches", "calibration"), _AT_LEAST_1),
        "seed": _NOT_NEGATIVE,
    },
    WindowRecipe: {
        **dict.fromkeys(("shallow", "moved", "second", "real", "segmented", "repainted"), _Range(0, 1)),
        **dict.fromkeys(("voxels", "sides", "depth"), _AT_LEAST_1),
        "often": _NOT_NEGATIVE,
    },
    PropagationConfig: {},
    DataRecipe: {"fold": _Range(-1, FOLDS - 1), "share": _NOT_NEGATIVE},
    EpisodeRecipe: dict.fromkeys(("pairs", "structures", "min_pixels"), _AT_LEAST_1),
    AugmentationRecipe: {
        "gamma": _ABOVE_0,
        "rotate": _Range(0, 180),
        "shear": _Range(0, 80),  # at 90 degrees nothing of the image is left
        "shift": _NOT_NEGATIVE,
        "scale": _ABOVE_0,
        "elastic_alpha": _NOT_NEGATIVE,
        "elastic_sigma": _ABOVE_0,
        "flip_rows": _Range(0, 1),
    },
    OptimiserRecipe: {
        "rate": _ABOVE_0,
        "momentum": _Range(0, 1),
        "decay": _NOT_NEGATIVE,
        "gamma": _Range(0, 1, open_low=True),
        "every": _AT_LEAST_1,
        "warmup": _NOT_NEGATIVE,
        "clip": _NOT_NEGATIVE,
    },
    QNetConfig: {},
}


def build(cls: type, values: Any, where: str) -> Any:
    """An instance of one of the recipes' classes from entries as TOML has them.

    Args:
        cls: dataclass.
        values: name -> value.
        where: what messages call the section.

    Raises:
        RecipeError: an entry is missing, unknown or impossible.
    """
    if not isinstance(values, dict):
        raise RecipeError(
            f"The recipe's {where} is not a section of entries.", f"Write the line {where} above them."
        )
    known = {f.name: f for f in dataclasses.fields(cls) if f.default_factory is dataclasses.MISSING}
    unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
    if unknown:
        raise RecipeError(
            f"The recipe has an unknown entry {unknown[0]!r} in {where}.",
            f"Known entries are {', '.join(sorted(known))}.",
        )
    missing = [key for key, f in known.items() if f.default is dataclasses.MISSING and key not in values]
    if missing:
        raise RecipeError(f"The recipe lacks the entry {missing[0]} in {where}.", "Add it.")
    for key in set(values) & set(known):
        allowed = _RANGES[cls].get(key)
        fits = _fits_list if isinstance(known[key].default, tuple) else _fits
        if not fits(values[key], known[key]) or not (allowed is None or allowed.holds(values[key])):
            raise RecipeError(
                f"The recipe's entry {key} in {where} is {reprlib.repr(values[key])}.",
                f"Write {_expected(known[key])}{allowed or ''}.",
            )
    for key, choices in _CHOICES.items():
        if key in values and values[key] not in choices:
            raise RecipeError(
                f"The recipe's entry {key} is {reprlib.repr(values[key])}.", f"Use {' or '.join(choices)}."
            )
    if cls is OptimiserRecipe and values.get("name", "sgd") not in ("sgd", "adamw"):
        raise RecipeError(
            f"The recipe asks for the optimiser {reprlib.repr(values['name'])}.", "Use sgd or adamw."
        )
    entries = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**entries)
    except WeightsError as error:  # configurations of networks check themselves
        raise RecipeError(error.message, error.advice) from error


def _fits(value: Any, entry: dataclasses.Field) -> bool:
    """Whether a value has the type of its field's default, or is text for a field without one."""
    return _is_like(value, entry.default)


def _fits_list(value: Any, entry: dataclasses.Field) -> bool:
    """Whether a value is a list of any length, or a rising pair, of entries like those of the default."""
    if not isinstance(value, list | tuple):
        return False
    default: Any = entry.default
    alike = all(_is_like(part, default[0]) for part in value if default)
    return alike and (_any_length(entry) or (len(value) == len(default) and list(value) == sorted(value)))


def _any_length(entry: dataclasses.Field) -> bool:
    return "..." in str(entry.type)


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, int if isinstance(default, int) else str)


def _expected(entry: dataclasses.Field) -> str:
    default = entry.default
    if isinstance(default, tuple):
        return "a list" if _any_length(entry) else "a list of two rising numbers"
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, float):
        return "a number"
    return "a whole number" if isinstance(default, int) else "text"
