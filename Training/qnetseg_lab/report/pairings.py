"""Paired differences between runs: which runs may be compared, and how the difference is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import CATALOGUE
from ..evaluation.comparison import LEAST_PATIENTS, NOISE, Difference, compare, difference
from ..evaluation.summary import FACTORS, Row, patient_table
from .budgets import budget, stands_on
from .markdown import interval
from .published import TITLES
from .runs import Fits, Results, Run, find_runs

USUAL = "strict"  # the scheme that need not be named

Place = tuple[str, int]  # data set and setting


@dataclass(frozen=True)
class Finding:
    """A paired difference of mean Dice in points.

    Attributes:
        run: the first side, after which the finding is named.
        entry: the difference over all structures.
        folds: how many it stands on.
        structures: those that both sides have.
    """

    run: Run
    entry: Difference
    folds: int
    structures: tuple[str, ...]

    def verdict(self) -> str:
        """What may be said of it."""
        if self.entry["fewest"] < LEAST_PATIENTS:
            return "too few to tell"
        if not self.entry["shown"]:
            return "no difference shown"
        change = self.entry["difference"]
        return ("slightly " if abs(change) < NOISE else "") + ("better" if change > 0 else "worse")

    def figures(self) -> str:
        """The difference with its interval, and what it stands on."""
        known = stands_on(self.folds, self.entry["fewest"])
        if len(self.structures) < len(CATALOGUE[self.run.files[0]["dataset"]].labels):
            known.append(f"{' and '.join(self.structures)} only")
        return f"{interval(self.entry)[:-1]}; {', '.join(known)})"

    def __str__(self) -> str:
        return f"{self.verdict()}, {self.figures()}"


def place_name(place: Place) -> str:
    """A data set and setting in short."""
    return f"{TITLES[place[0]].partition(' (')[0]} Setting {place[1]}"


def where(run: Run, recipe: str) -> str:
    """Data set and setting of a run; its scheme and recipe where they are not `strict` and the given one."""
    first, v = run.files[0], run.variant
    parts = [place_name((first["dataset"], first["setting"]))]
    parts += [f"`{v.scheme}`"] * (v.scheme != USUAL)
    if v.recipe != recipe:
        parts.append(f"`{v.recipe}`" if v.recipe else f"model {run.name()}")
    return ", ".join(parts)


def at_equal_budget(results: Results, place: Place, first: Fits, second: Fits) -> Iterator[Finding]:
    """Runs of one variant minus those of another, where start, steps, batch and data are equal."""
    others = counting(results, place, second)
    for run in counting(results, place, first):
        own = budget(run)
        like = (o for o in others if own is not None and budget(o) == own)
        same = (o.files for o in like if o.variant.scheme == run.variant.scheme)
        found = next(filter(None, (_paired(run, run.files, files) for files in same)), None)
        if found:
            yield found


def at_another_budget(
    results: Results, place: Place, fits: Fits, recipe: str
) -> Iterator[tuple[Finding, Run]]:
    """The run of most folds that another recipe than the given one made, minus the first of the given one, on
    the whole folds that both have; and that first one."""
    runs = [run for run in counting(results, place, fits) if run.variant.scheme == USUAL]
    runs = [run for run in runs if run.variant.entries and run.variant.recipe]
    usual = next((run for run in runs if run.variant.recipe == recipe), None)
    others = [run for run in runs if run.variant.recipe != recipe]
    other = max(others, key=lambda run: len(run.folds()), default=None)
    if usual and other:
        shared = usual.complete() & other.complete()
        run, first = other.on(shared), usual.on(shared)
        found = _paired(run, run.files, first.files)
        if found:
            yield found, first


def on_the_same_weights(results: Results, place: Place, first: Fits, second: Fits) -> Iterator[Finding]:
    """Runs of one variant minus those of another that differ only in what is done at test time."""
    others = [content for run in counting(results, place, second) for content in run.files]
    for run in counting(results, place, first):
        own = {_weights(content) for content in run.files} - {None}
        like = [o for o in others if o["scheme"] == run.variant.scheme and _weights(o) in own]
        found = _paired(run, run.files, like)
        if found:
            yield found


def between_alphas(run: Run, first: float, second: float) -> Finding:
    """The same weights with one weight of the fine path minus with another, of a run of the sweep."""
    run = run.on(run.folds())
    names = list(CATALOGUE[run.files[0]["dataset"]].labels)
    tables = [patient_table(_at_alpha(run, alpha), names, "dice") for alpha in (first, second)]
    table = (tables[0] - tables[1]) * FACTORS["dice"]
    there = [name for name, column in zip(names, table.T, strict=True) if not np.isnan(column).all()]
    return Finding(run, difference(table), len(run.folds()), tuple(there))


def _at_alpha(run: Run, alpha: float) -> list[Row]:
    return [
        {
            "query": row["query"],
            "structure": row["structure"],
            "dice": row["dice"][content["alphas"].index(alpha)],
        }
        for content in run.files
        for row in content["rows"]
    ]


def counting(results: Results, place: Place, fits: Fits) -> list[Run]:
    """Runs that count, of the folds that make their figures."""
    return [run.on(run.folds()) for run in find_runs(results, "P", *place, fits) if run.counts()]


def _weights(content: dict[str, Any]) -> tuple[str, int] | None:
    digest = content.get("weights_sha256")
    return (digest, content["fold"]) if digest else None


def _paired(run: Run, first: Results, second: Results) -> Finding | None:
    """None where no case is in both."""
    sides = [{_key(row) for content in side for row in content.get("rows", [])} for side in (first, second)]
    both = sides[0] & sides[1]
    if not both:
        return None
    kept, others = ([c for c in side if both & {*map(_key, c.get("rows", []))}] for side in (first, second))
    compared = compare(kept, others)
    folds = {content["fold"] for content in kept}
    return Finding(run, compared["mean"], len(folds), tuple(compared["structures"]))


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["structure"], row["query"], row["support"]
