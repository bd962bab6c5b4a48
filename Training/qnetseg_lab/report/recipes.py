"""Recipes compared: what the folds of one run must have in common, and what tells two rows apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Entries = frozenset[tuple[str, str]]  # names as in `qnetseg train --set`, and values as text


def entries(recipe: dict[str, Any] | None, dataset: str | None = None) -> Entries | None:
    """A recipe's entries but for its name, its folds, and the fold in its start; None without a recipe.

    dataset: in Setting 2 the one that is scored. Its two groups of structures are trained apart: each leaves
    out other structures, and perhaps a second data set that shows them. Their common entries are the others.
    """
    if not recipe:
        return None
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        if key == "data":
            for source in value:
                found |= {f"data.{source['name']}.{name}": entry for name, entry in source.items()}
        elif isinstance(value, dict):
            found |= {f"{key}.{name}": entry for name, entry in value.items()}
        elif key == "start":
            found[key] = re.sub(r"fold(\$\w+|\d)", "fold{fold}", value)
        elif key != "name":
            found[key] = value
    return frozenset((key, _text(value)) for key, value in found.items() if _is_common(key, dataset))


def _is_common(key: str, dataset: str | None) -> bool:
    section, _, entry = key.rpartition(".")
    if not section.startswith("data."):
        return True
    if entry in ("name", "fold"):
        return False
    return dataset is None or (section == f"data.{dataset}" and entry != "exclude")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{float(value):.12g}" if number else str(value)


def differences(recipes: Iterable[Entries | None]) -> dict[Entries | None, str]:
    """For each recipe, in a few words, what some of the others have otherwise; "" where all are equal.

    A data set that is not in every recipe is told by its share alone. Other entries that a recipe lacks are
    those of a later version, and are not told of it.
    """
    kinds = set(recipes)
    known = [kind for kind in kinds if kind is not None]
    common = frozenset.intersection(*known) if known else frozenset()
    names = sorted({key for kind in known for key, _ in kind - common})
    sources = [{_source(key) for key, _ in kind} for kind in known]
    everywhere = {None}.union(set.intersection(*sources) if sources else set())
    notes: dict[Entries | None, str] = {None: "details not recorded" if known else ""}
    for kind in known:
        own = dict(kind)
        told = [n for n in names if _is_share(n) or (n in own and _source(n) in everywhere)]
        notes[kind] = ", ".join(f"{name} {own.get(name, 'absent')}" for name in told)
    return notes


def _is_share(name: str) -> bool:
    return name.startswith("data.") and name.split(" for ")[0].endswith(".share")


def _source(name: str) -> str | None:
    """The data set that an entry is of, or None."""
    return name.split(".")[1] if name.startswith("data.") else None
