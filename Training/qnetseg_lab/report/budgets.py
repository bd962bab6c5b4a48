"""Budgets: what the rows of a table have in common is said once, and in a row only what it has otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..data.catalogue import FOLDS
from ..evaluation.plan import ROWS
from .benchmarks import computer
from .recipes import Entries
from .runs import Run

Value = TypeVar("Value")

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
    start = str(recipe.get("start") or "").rpartition(":")[2]
    if start == f"radiology{model.get('depth')}":
        start = "radiology"  # as a file, which `pack.py` names so
    words = {
        "start": start and f"start `{start}`",
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
        scheme: as most of them have it.
        folds: those that all rows of the scheme have, so that they are of the same cases there; where they
            have none in common, those of most.
        patients: on these folds, as most of them have them.
    """

    runs: tuple[Run, ...]
    entries: Entries
    data: bool
    scheme: str
    folds: frozenset[int]
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
        scheme = _usual(run.variant.scheme for run in most)
        like = [run for run in most if run.variant.scheme == scheme]
        whole = [run for run in like if run.complete()] or like
        folds = frozenset.intersection(*(frozenset(run.folds()) for run in whole))
        folds = folds or _usual(frozenset(run.folds()) for run in like)
        patients = _usual(run.on(folds).patients() for run in like if run.folds() >= folds)
        return cls(tuple(most), entries, data, scheme, folds, patients)

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
        machines = sorted({computer(c) for c in contents if c.get("machine")})
        revisions = sorted({str(c["revision"]) for c in contents if c.get("revision")})
        known = [
            *described(recipe).values(),
            *stands_on(len(self.folds), self.patients, f"`{self.scheme}` "),
        ]
        known += [more] * bool(more)
        code = f"; scored by revision {', '.join(revisions)}" if revisions else ""
        code += f"; computed on {' and '.join(machines)}" if machines else ""
        name = f" (recipe `{first.variant.recipe}`)" if first.variant.recipe else ""
        return f"Equal budget{name}: {', '.join(known)}, where a {part} says nothing else{code}."


def shown(run: Run, common: Common | None) -> list[Run]:
    """A run as rows: one of the budget on the common folds, and again on all where it has more."""
    if common and common.has(run) and run.variant.scheme == common.scheme and run.folds() > common.folds:
        return [run.on(common.folds), run]
    return [run]


def cell(run: Run, common: Common | None) -> str:
    """What a row has otherwise than the sentence above its table says; all of it where there is none."""
    v, parts = run.variant, []
    if common and common.has(run):
        parts.append("equal budget")
    else:
        parts += [f"`{v.recipe}`"] * bool(v.recipe) + [f"{v.steps} steps"] * (v.steps is not None)
    scheme = f"`{v.scheme}` " if common is None or v.scheme != common.scheme else ""
    if common is None or (run.folds(), run.patients()) != (common.folds, common.patients):
        parts += stands_on(len(run.folds()), run.patients(), scheme)
    elif scheme:
        parts.append(f"{scheme}folds")
    if common and run.folds() != common.folds and len(run.folds()) == len(common.folds):
        parts.append(f"others: {', '.join(map(str, sorted(run.folds())))}")
    parts += [f"refinement `{v.mode}`"] if v.mode != "none" else []
    return ", ".join(parts + ([f"alpha {v.alpha:g}"] if v.alpha is not None else []))


def name(run: Run, common: Common | None) -> str:
    """A row's name with its links; without the recipe and the scheme where the table has said them."""
    if common is None or not common.has(run):
        return run.name()
    return run.name(f"{run.variant.recipe}-", f"-{run.variant.scheme}")


def _usual(values: Iterable[Value]) -> Value:
    """The most frequent one, the first of several."""
    return Counter(values).most_common(1)[0][0]


def stands_on(folds: int, patients: int | None, scheme: str = "") -> list[str]:
    """How many folds, of which scheme, and patients a figure is of, in words."""
    return [f"{folds} of {FOLDS} {scheme}folds"] + [f"{patients} patients"] * (patients is not None)
