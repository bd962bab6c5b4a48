"""Recipes compared: what the folds of one run must have in common."""

from __future__ import annotations

import re
from typing import Any

Entries = frozenset[tuple[str, str]]  # names as in `qnetseg train --set`, and values as text


def entries(recipe: dict[str, Any] | None, dataset: str | None = None) -> Entries | None:
    """A recipe's entries but for its name, its folds, and the fold in its initial weights; None without a
    recipe.

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
            found[key] = re.sub(r"fold\d", "fold{fold}", value)
        elif key != "name":
            found[key] = value
    return frozenset((key, _text(value)) for key, value in found.items() if _is_common(key, dataset))


def _text(value: Any) -> str:
    return f"{value:.12g}" if type(value) in (int, float) else str(value)  # 1 and 1.0 are the same entry


def _is_common(key: str, dataset: str | None) -> bool:
    section, _, entry = key.rpartition(".")
    if not section.startswith("data."):
        return True
    if entry in ("name", "fold"):
        return False
    return dataset is None or (section == f"data.{dataset}" and entry != "exclude")
