"""Tables 1 and 2: published figures, ours below them, and what has not been run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import CATALOGUE
from ..data.catalogue import FOLDS
from ..evaluation.plan import plan
from . import budgets
from .budgets import Common
from .markdown import section, table
from .published import METHODS, RECIPE, TABLE1, TABLE2, TITLES
from .runs import Fits, Results, Run, Variant, find_runs

SCHEMES = ("released", "strict")
HEAD = ("method", "model", "run")
QUEUE = "../../Training/GPU_QUEUE.md"

INTRODUCTION = (
    "Protocol P: three drawn slices of one patient; Dice in per cent over the slices of another patient that"
    " hold the structure; mean over the folds that were run. ± is the standard deviation that the paper"
    " prints: in a structure's column over the folds, in the mean's column over all structures in all folds,"
    " so that it includes the difference between structures. One fold alone has none. `released` uses the"
    " authors' folds and support, as the published rows do; `strict` scores every patient once, with every"
    " support. Folds share a row only where their recipes are equal but for the fold. Rows of an equal budget"
    " are first of the folds that all of them have, so that they are comparable; a row with more folds"
    " follows once more over all of its own. Models that saw scored cases in training have rows of their own"
    " and count nowhere."
    f" Published rows: `released`, {FOLDS} folds, Q-Net after {RECIPE['steps']} steps; those of the"
    " others are not said."
)


# Table 2: row -> whether a variant belongs to it. DP alone is "DS on Layer 4": the paper prints both rows.
def _variant(paths: str, layer: int, adapted: bool = False, refined: bool = False) -> Fits:
    def fits(v: Variant) -> bool:
        model = v.method == "qnet" and v.paths == paths and v.layer == layer
        return (
            model
            and (v.threshold != "fixed") == adapted
            and (v.mode != "none") == refined
            and v.alpha is None
        )

    return fits


# Of which row of the plan, and in which form, a row of Table 1 or 2 is scored.
PLANNED = {
    **{title: (method, "p") for method, title in METHODS.items()},
    "DP (DS on Layer 2)": ("dp-layer2", "p"),
    "DP (DS on Layer 3)": ("dp-layer3", "p"),
    "DP (DS on Layer 4)": ("dp", "p"),
    "32 x 32": ("32x32", "p"),
    "64 x 64": ("64x64", "p"),
    "DP": ("dp", "p"),
    "DP + PR": ("dp", "p-iterations"),
    "DP + TA": ("qnet", "p"),
    "DP + TA + PR": ("qnet", "p-iterations"),
}
ABLATIONS: dict[str, Fits] = {
    "DP (DS on Layer 2)": _variant("dual", 2),
    "DP (DS on Layer 3)": _variant("dual", 3),
    "DP (DS on Layer 4)": _variant("dual", 4),
    "32 x 32": _variant("coarse", 2),  # that of ADNet, whose figures the paper prints in this row
    "64 x 64": _variant("fine", 4),
    "DP": _variant("dual", 4),
    "DP + PR": _variant("dual", 4, refined=True),
    "DP + TA": _variant("dual", 4, adapted=True),
    "DP + TA + PR": _variant("dual", 4, adapted=True, refined=True),
}


def of_method(name: str) -> Fits:
    """Whether a variant is a row's method in Table 1; Q-Net as a whole, with or without refinement."""
    if name != "qnet":
        return lambda v: v.method == name
    return lambda v: any(ABLATIONS[row](v) for row in ("DP + TA", "DP + TA + PR"))


def table1(results: Results) -> str:
    """Table 1 as a section, a table a data set and setting."""
    parts = []
    for (dataset, setting), published in TABLE1.items():
        asked = [(METHODS[method], row, of_method(method)) for method, row in published.items()]
        parts += [f"### {TITLES[dataset]}, Setting {setting}", *_table(results, dataset, setting, asked)]
    return section("Table 1: Q-Net and its baselines", INTRODUCTION, *parts)


def table2(results: Results) -> str:
    """Table 2 as a section, a table a part."""
    parts = []
    for title, published in TABLE2.items():
        asked = [(name, row, ABLATIONS[name]) for name, row in published.items()]
        parts += [f"### {title}", *_table(results, "chaos", 2, asked)]
    text = (
        "CHAOST2, Setting 2. DP: two paths; DS: the layer that halves the resolution last; TA: threshold"
        " from the query, else one learned number; PR: refinement at test time, in the row's mode."
        " The paper prints DP twice, as such and as DS on Layer 4, with different figures; ours are the"
        f" same runs. Published rows: `released`, {FOLDS} folds, {RECIPE['steps']} steps."
    )
    return section("Table 2: ablation", text, *parts)


Asked = tuple[str, tuple[str, ...], Fits]  # a row's name, its published figures, which runs of ours fit


def _table(results: Results, dataset: str, setting: int, asked: list[Asked]) -> list[str]:
    """What the rows have in common, published rows and ours below them, and those that have not been run."""
    columns = [*CATALOGUE[dataset].labels, "mean"]
    rows: list[list[Any]] = []
    lacking = Lacking()
    found = [find_runs(results, "P", dataset, setting, fits) for _, _, fits in asked]
    common = Common.of(run for runs in found for run in runs)
    for (name, figures, _), runs in zip(asked, found, strict=True):
        rows.append([f"**{name}**", "published", "", *figures])
        for scheme in SCHEMES:
            own = [run for run in runs if run.variant.scheme == scheme]
            rows += [_row(part, columns, common) for run in own for part in budgets.shown(run, common)]
            if not any(run.counts() for run in own):
                lacking.add(name, scheme, *PLANNED[name], dataset, setting)
    parts = [common.sentence() if common else "", table((*HEAD, *columns), rows), lacking.sentence()]
    return [part for part in parts if part]


class Lacking:
    """What a table lacks, by whether it is planned, then by scheme."""

    def __init__(self) -> None:
        self._names: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
        self._plan = {(s.training.row, s.training.scheme, s.form, s.dataset, s.setting) for s in plan()}

    def add(self, name: str, scheme: str, row: str, form: str, dataset: str, setting: int) -> None:
        """What is called `name` in the table has no result of `scheme`; the others are of the plan."""
        planned = (row, scheme, form, dataset, setting) in self._plan
        self._names[planned].setdefault(scheme, []).append(name)

    def sentence(self) -> str:
        """For below the table; "" where it lacks nothing."""
        parts = {
            planned: "; ".join(f"`{scheme}`: {', '.join(names)}" for scheme, names in schemes.items())
            for planned, schemes in self._names.items()
        }
        waiting = f"Not run yet, waiting in the [GPU queue]({QUEUE}): {parts[True]}." if parts[True] else ""
        return " ".join(filter(None, [waiting, f"Not planned: {parts[False]}." if parts[False] else ""]))


def _row(run: Run, columns: list[str], common: Common | None) -> list[Any]:
    head = ["", budgets.name(run, common), budgets.cell(run, common)]
    return [*head, *(figure(*run.across(column)) for column in columns)]


def figure(folds: list[float], values: list[float]) -> str:
    """A cell: mean of the folds ± population standard deviation of the values; without ± for one fold."""
    if not folds:
        return ""
    spread = f" ± {np.std(values):.1f}" if len(folds) > 1 else ""
    return f"{np.mean(folds):.1f}{spread}"
