"""A recipe: one readable TOML file that says how a model is made."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data import FOLDS
from ..errors import RecipeError, WeightsError
from ..methods import METHODS
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
    """Everything that decides a training run.

    Attributes:
        name: file name without its ending.
        method: name in `qnetseg.methods`.
        start: "random", "radiology" (see `qnetseg.model.starts`), "torchvision:<weights>" or a file.
        batch_norm: "train" (released code) or "frozen" statistics of the start.
        precision: "fp32" or "bf16" mixed precision.
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


_SECTIONS = {
    "model": QNetConfig,
    "episodes": EpisodeRecipe,
    "augmentation": AugmentationRecipe,
    "optimiser": OptimiserRecipe,
}
_CHOICES = {
    "method": tuple(METHODS),
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
    """Numbers that an entry may have; `open_low` leaves out the lowest. Both ends of a pair must be in it."""

    low: float
    high: float = math.inf
    open_low: bool = False

    def holds(self, value: Any) -> bool:
        values = value if isinstance(value, list | tuple) else [value]
        above = all(number > self.low or (number == self.low and not self.open_low) for number in values)
        return above and max(values) <= self.high and list(values) == sorted(values)

    def __str__(self) -> str:
        low = f" above {self.low:g}" if self.open_low else f" of at least {self.low:g}"
        return low + (f" and at most {self.high:g}" if self.high < math.inf else "")


_NOT_NEGATIVE, _ABOVE_0, _AT_LEAST_1 = _Range(0), _Range(0, open_low=True), _Range(1)
_RANGES: dict[type, dict[str, _Range]] = {
    Recipe: {"steps": _AT_LEAST_1, "seed": _NOT_NEGATIVE},
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
    QNetConfig: {
        **dict.fromkeys(("feature_channels", "threshold_hidden"), _AT_LEAST_1),
        **dict.fromkeys(("cosine_scale", "sharpness", "input_scale", "spacing"), _ABOVE_0),
        "alpha": _Range(0, 1),
        "size": _Range(8),
        "top_percent": _Range(0, 99),
    },
}


def _build(cls: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise RecipeError(
            f"The recipe's {where} is not a section of entries.", f"Write the line {where} above them."
        )
    known = {f.name: f.default for f in dataclasses.fields(cls) if f.default_factory is dataclasses.MISSING}
    unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
    if unknown:
        raise RecipeError(
            f"The recipe has an unknown entry {unknown[0]!r} in {where}.",
            f"Known entries are {', '.join(sorted(known))}.",
        )
    missing = [key for key, default in known.items() if default is dataclasses.MISSING and key not in values]
    if missing:
        raise RecipeError(f"The recipe lacks the entry {missing[0]} in {where}.", "Add it.")
    for key in set(values) & set(known):
        allowed = _RANGES[cls].get(key)
        if not _fits(values[key], known[key]) or not (allowed is None or allowed.holds(values[key])):
            raise RecipeError(
                f"The recipe's entry {key} in {where} is {values[key]!r}.",
                f"Write {_expected(known[key])}{allowed or ''}.",
            )
    for key, choices in _CHOICES.items():
        if key in values and values[key] not in choices:
            raise RecipeError(f"The recipe's entry {key} is {values[key]!r}.", f"Use {' or '.join(choices)}.")
    if cls is OptimiserRecipe and values.get("name", "sgd") not in ("sgd", "adamw"):
        raise RecipeError(f"The recipe asks for the optimiser {values['name']!r}.", "Use sgd or adamw.")
    entries = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**entries)
    except WeightsError as error:  # QNetConfig checks itself
        raise RecipeError(error.message, error.advice) from error


def _fits(value: Any, default: Any) -> bool:
    """Whether a value has the type of its field's default, or is text for a field without one."""
    if isinstance(default, tuple):  # an empty default is a list of any length
        listed = isinstance(value, list | tuple) and len(value) == (len(default) or len(value))
        return listed and all(_fits(entry, default[0]) for entry in value if default)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, int if isinstance(default, int) else str)


def _expected(default: Any) -> str:
    if isinstance(default, tuple):
        return "a list of two rising numbers" if default else "a list"
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, float):
        return "a number"
    return "a whole number" if isinstance(default, int) else "text"


def parse_setting(text: str) -> tuple[str, Any]:
    """Key and value of "section.key=value" for `read_recipe`'s overrides.

    The value is TOML; a bare word, for which TOML wants quotes that a shell removes, is text.

    Raises:
        RecipeError: it is not of this form.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        parsed = {"value": value} if re.fullmatch(r"[A-Za-z][\w.:/+-]*", value) else {}
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key) or len(parsed) != 1:
        raise RecipeError(
            f"The setting {text!r} is not of the form section.key=value.",
            "Write, for example, model.depth=101, data.exclude='[\"liver\"]' or steps=500.",
        )
    return key, parsed["value"]


def _override(values: dict[str, Any], sources: list[Any], key: str, value: Any) -> None:
    """Replace one entry of a recipe's content, in place; what it may be is checked later."""
    section, _, entry = key.rpartition(".")
    if key in ("fold", "scheme"):
        section, entry = "data", key
    if not section:
        values[entry] = value
    elif section in _SECTIONS:
        place = values.setdefault(section, {})
        if isinstance(place, dict):  # anything else is refused later
            place[entry] = value
    else:
        group, _, name = section.partition(".")
        chosen = [s for s in sources if isinstance(s, dict) and name in ("", s.get("name"))]
        if group != "data" or not chosen:
            raise RecipeError(
                f"The recipe has no section {section!r} for the setting {key!r}.",
                f"Use {', '.join(_SECTIONS)}, data, or data.NAME for one of several sources.",
            )
        for source in chosen:
            source[entry] = value


def read_recipe(path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: TOML file.
        overrides: entries that replace the file's by their names: {"steps": 10} at the top level,
            {"model.depth": 101} in a section, {"data.share": 1} in every source, {"data.cmr.share": 0} in
            the source of that name; "fold" and "scheme" are those of every source.

    Raises:
        RecipeError: the file is missing, is not TOML or has an unknown or impossible entry.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"The recipe {path} cannot be read ({error.strerror}).", "Check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.", "Correct that line.") from error
    sources = values.pop("data", [])
    if not sources or not isinstance(sources, list):
        raise RecipeError(f"The recipe {path.name} names no list of data.", "Add a [[data]] section.")
    for key, value in (overrides or {}).items():
        _override(values, sources, key, value)
    for name, cls in _SECTIONS.items():
        if name in values:
            values[name] = _build(cls, values[name], f"[{name}]")
    built = [_build(DataRecipe, source, "[[data]]") for source in sources]
    values["data"] = [source for source in built if source.share]
    if not values["data"]:
        raise RecipeError(
            f"The recipe {path.name} leaves out all of its data.", "Give a source a share above 0."
        )
    return _build(Recipe, {"name": path.stem, **values}, "its top level")
