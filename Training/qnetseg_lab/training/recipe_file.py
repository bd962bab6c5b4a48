"""Recipes from readable TOML files."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from pathlib import Path
from typing import Any

from qnetseg.errors import DatasetError, RecipeError, why
from qnetseg.model import PropagationConfig, PropagationNet, QNetConfig
from qnetseg.parsing import parsing, read_text

from ..data import dataset
from ..toml import parse_toml
from .entries import build
from .recipe import (
    AnyRecipe,
    AugmentationRecipe,
    DataRecipe,
    EpisodeRecipe,
    OptimiserRecipe,
    PropagationRecipe,
    Recipe,
)
from .synthesis import OPEN
from .synthesis.windows import WindowRecipe

_SECTIONS = {
    "model": QNetConfig,
    "episodes": EpisodeRecipe,
    "augmentation": AugmentationRecipe,
    "optimiser": OptimiserRecipe,
}
_PROPAGATION_SECTIONS = {
    "model": PropagationConfig,
    "windows": WindowRecipe,
    "optimiser": OptimiserRecipe,
}


def parse_setting(text: str) -> tuple[str, Any]:
    """Key and value of "section.key=value" for `read_recipe`'s overrides.

    The value is TOML; a bare word, for which TOML wants quotes that a shell removes, is text.

    Raises:
        RecipeError: it is not of this form.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    try:
        parsed = parse_toml(f"value = {value}")
    except ValueError:
        parsed = {"value": value} if re.fullmatch(r"[A-Za-z][\w.:/+-]*", value) else {}
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key) or len(parsed) != 1:
        raise RecipeError(
            f"The setting {text!r} is not of the form section.key=value.",
            "Write, for example, model.depth=101, data.exclude='[\"liver\"]' or steps=500.",
        )
    return key, parsed["value"]


def read_recipe(path: str | Path, overrides: dict[str, Any] | None = None) -> AnyRecipe:
    """Read a recipe: a `PropagationRecipe` where its method is the propagation network, a `Recipe` otherwise.

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
        values = parse_toml(read_text(path))
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read ({why(error)}).", "Check the path.") from error
    except ValueError as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.", "Correct that line.") from error
    overrides = overrides or {}
    values["name"] = values.get("name", path.stem)
    method = overrides.get("method", values.get("method"))
    read = _read_propagation if method == PropagationNet.name else _read_episodes
    with parsing(
        path.name,
        RecipeError,
        f"The recipe {path} has an entry that cannot be used.",
        "Compare it with the recipes in Training/.",
    ):
        return read(values, overrides, path.name)


def _read_propagation(values: dict[str, Any], overrides: dict[str, Any], file: str) -> PropagationRecipe:
    for key, value in overrides.items():
        if key in ("fold", "scheme"):
            raise RecipeError(
                "The propagation network is trained without folds: it learns from whole sources of volumes.",
                "Leave out --fold and --scheme; choose volumes with --set 'volumes=[\"open\"]'.",
            )
        section, _, entry = key.rpartition(".")
        _require_section(section, key, ("", *_PROPAGATION_SECTIONS))
        _replace(values, section, entry, value)
    _build_sections(values, _PROPAGATION_SECTIONS, PropagationRecipe(""))
    recipe: PropagationRecipe = build(PropagationRecipe, values, "its top level")
    for source in recipe.volumes:
        if source != OPEN:
            _require_volumes(source)
    return recipe


def _require_volumes(source: str) -> None:
    try:
        dataset(source)
    except DatasetError as error:
        raise RecipeError(
            f"There is no source of volumes {reprlib.repr(source)}.",
            "Use open, chaos, cmr, or a folder that qnetseg data prepare has finished.",
        ) from error


def _read_episodes(values: dict[str, Any], overrides: dict[str, Any], file: str) -> Recipe:
    sources = values.pop("data", [])
    if not sources or not isinstance(sources, list):
        raise RecipeError(f"The recipe {file} names no list of data.", "Add a [[data]] section.")
    for key, value in overrides.items():
        _override(values, sources, key, value)
    _build_sections(values, _SECTIONS, Recipe(""))
    built = [build(DataRecipe, source, "[[data]]") for source in sources]
    values["data"] = [source for source in built if source.share]
    if not values["data"]:
        raise RecipeError(f"The recipe {file} leaves out all of its data.", "Give a source a share above 0.")
    recipe: Recipe = build(Recipe, values, "its top level")
    return recipe


def _override(values: dict[str, Any], sources: list[Any], key: str, value: Any) -> None:
    """Replace one entry of a recipe's content, in place; what it may be is checked later."""
    section, _, entry = key.rpartition(".")
    if key in ("fold", "scheme"):
        section, entry = "data", key
    group, _, name = section.partition(".")
    chosen = [s for s in sources if isinstance(s, dict) and name in ("", s.get("name"))]
    if group == "data" and chosen:
        for source in chosen:
            source[entry] = value
    else:
        _require_section(section, key, ("", *_SECTIONS), "data, or data.NAME for one of several sources")
        _replace(values, section, entry, value)


def _require_section(section: str, key: str, known: tuple[str, ...], more: str = "") -> None:
    if section not in known:
        listed = ", ".join([name for name in known if name] + [more] * bool(more))
        raise RecipeError(f"The recipe has no section {section!r} for the setting {key!r}.", f"Use {listed}.")


def _replace(values: dict[str, Any], section: str, entry: str, value: Any) -> None:
    place = values.setdefault(section, {}) if section else values
    if isinstance(place, dict):  # anything else is refused later
        place[entry] = value


def _build_sections(values: dict[str, Any], sections: dict[str, type], usual: AnyRecipe) -> None:
    """Build the sections that there are, in place; what one of them leaves out is as in `usual`."""
    for name, cls in sections.items():
        given = values.get(name)
        if isinstance(given, dict):
            given = dataclasses.asdict(getattr(usual, name)) | given
        if name in values:
            values[name] = build(cls, given, f"[{name}]")
