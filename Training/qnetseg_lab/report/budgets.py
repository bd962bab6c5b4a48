"""Budgets: what the rows of a table have in common is said once, and in a row only what it has otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..data.catalogue import FOLDS
from ..evaluation.plan import ROWS
from .recipes import Entries
from .runs import Run

# Entries of a recipe in which rows of a budget differ, because they make the row.
OWN = frozenset(key for row in ROWS.values() for key in row)


def budget(run: Run, data: bool = True) -> Entries | None:
    """The entries of a run's recipe that rows of an equal budget share; None where its files hold no recipe.

    data: False leaves out what the training data are, of which the settings differ.
    """
    if run.variant.entries is None:
        return None
    kept = (entry for entry in run.variant.entries if entry[0] not in OWN)
    return frozenset(
        (key, value)
        for key, value in kept
        if not key.startswith("data.") or (data and not key.endswith(".scheme"))
    )


def described(recipe: dict[str, Any]) -> dict[str, str]:
    """What a budget is, in words, as far as the recipe says it: "start", "steps", "batch", "images" and
    "encoder"."""
    episodes, model = recipe.get("episodes") or {}, recipe.get("model") or {}
    crop, size = episodes.get("crop"), model.get("size")
    words = {
        "start": recipe.get("start") and f"start `{str(recipe['start']).rpartition(':')[2]}`",
        "steps": recipe.get("steps") and f"{recipe['steps']} steps",
        "batch": episodes and f"{_batch(episodes)} a step",
        "images": (crop or size)
        and f"{'windows' if crop else 'slices'} of {crop or size} x {crop or size} pixels",
        "encoder": model.get("depth") and f"ResNet-{model['depth']}",
    }
    return {name: text for name, text in words.items() if text}


def _batch(episodes: dict[str, Any]) -> str:
    pairs, structures = episodes.get("pairs", 1), episodes.get("structures", 1)
    own = f"up to {structures} supervoxels" if structures > 1 else "1 supervoxel"
    return f"1 pair of slices with {own}" if pairs == 1 else f"{pairs} pairs of slices with {own} each"


@dataclass(frozen=True)
class Common:
    """What the rows of equal budget of a table have in common.

    Attributes:
        runs: those rows, two at least.
        entries, data: their budget, and whether it holds their data; see `budget`.
        scheme, folds, patients: as most of them have them.
    """

    runs: tuple[Run, ...]
    entries: Entries
    data: bool
    scheme: str
    folds: int
    patients: int | None

    @classmethod
    def of(cls, runs: Iterable[Run], data: bool = True) -> Common | None:
        """That of the budget that most of the runs have that count; None where no two have one."""
        by_budget: dict[Entries, list[Run]] = {}
        for run in runs:
            own = budget(run, data)
            if own is not None and run.counts():
                by_budget.setdefault(own, []).append(run)
        entries, most = max(by_budget.items(), key=lambda item: len(item[1]), default=(frozenset(), []))
        if len(most) < 2:
            return None
        counted = Counter((run.variant.scheme, run.folds(), run.patients()) for run in most)
        return cls(tuple(most), entries, data, *counted.most_common(1)[0][0])

    def has(self, run: Run) -> bool:
        """Whether a run is of the budget."""
        return budget(run, self.data) == self.entries

    def sentence(self, part: str = "row", more: str = "no refinement") -> str:
        """Above the table: the budget, what else is common, and the code.

        part: of the table that is a run; more: what else holds of all.
        """
        first = self.runs[0]
        recipe = next(content["recipe"] for content in first.files)
        contents = [content for run in self.runs for content in run.files]
        revisions = sorted({str(c["revision"]) for c in contents if c.get("revision")})
        known = [*described(recipe).values(), f"`{self.scheme}`", *stands_on(self.folds, self.patients)]
        known += [more] * bool(more)
        code = f"; code: revision {' and '.join(revisions)}" if revisions else ""
        name = f" (recipe `{first.variant.recipe}`)" if first.variant.recipe else ""
        return f"Equal budget{name}: {', '.join(known)}, where a {part} says nothing else{code}."


def cell(run: Run, common: Common | None) -> str:
    """What a row has otherwise than the sentence above its table says; all of it where there is none."""
    v, parts = run.variant, []
    if common and common.has(run):
        parts.append("equal budget")
    else:
        parts += [f"`{v.recipe}`"] * bool(v.recipe) + [f"{v.steps} steps"] * (v.steps is not None)
    if common is None or v.scheme != common.scheme:
        parts.append(f"`{v.scheme}`")
    if common is None or (run.folds(), run.patients()) != (common.folds, common.patients):
        parts += stands_on(run.folds(), run.patients())
    parts += [f"refinement `{v.mode}`"] if v.mode != "none" else []
    return ", ".join(parts + ([f"alpha {v.alpha:g}"] if v.alpha is not None else []))


def name(run: Run, common: Common | None) -> str:
    """A row's name with its links; without the recipe and the scheme where the table has said them."""
    if common is None or not common.has(run):
        return run.name()
    return run.name(f"{run.variant.recipe}-", f"-{run.variant.scheme}")


def stands_on(folds: int, patients: int | None) -> list[str]:
    """How many folds and patients a figure is of, in words."""
    return [f"{folds} of {FOLDS} folds"] + [f"{patients} patients"] * (patients is not None)
