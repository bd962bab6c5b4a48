"""Tables 1 and 2: published figures, ours below them, and what has not been run yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import CATALOGUE
from ..data.catalogue import FOLDS
from .markdown import section, table
from .published import METHODS, TABLE1, TABLE2, TITLES
from .queue import Planned
from .runs import SEEN, Question, Run, Variant, find_runs

NOT_RUN = "not run yet"
SCHEMES = ("released", "strict")
HEAD = ("row", "whose", "scheme", "recipe", "steps", "refinement", "folds", "patients")

INTRODUCTION = (
    "Protocol P: three drawn slices of one patient, Dice in per cent over the slices of another that hold"
    " the structure, mean over the folds there are. Each ± is what the published one is: in a structure's"
    " column the standard deviation over folds, in the mean's column that over all structures in all folds"
    " together, so that it holds the difference between structures, too (divided by their number, not by"
    " one less: so the paper's columns reproduce the ± of its means). One fold alone has none."
    " `released` is the authors' choice of folds and support, the one to hold against"
    " the published row; `strict` scores every patient once, with every support. Figures from fewer steps"
    " or another recipe than the paper's say so in their columns. Folds are one row only where their recipes"
    " are equal but for the fold; in Setting 2 the two groups of structures may leave out other structures"
    " and data sets. What a recipe has otherwise than another of its name stands behind the name. Results of"
    " models that saw scored cases in training are shown on rows of their own and count nowhere."
)

# Table 2: row -> whether a variant belongs to it. DP alone is "DS on Layer 4": the paper prints both rows.
Fits = Callable[[Variant], bool]


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


def table1(results: list[dict[str, Any]], queue: list[Planned] | None) -> str:
    """Table 1 as a section, a table a data set and setting."""
    parts = []
    for (dataset, setting), published in TABLE1.items():
        rows = []
        for method, figures in published.items():
            question = Question("P", dataset, setting, of_method(method))
            rows += _block(METHODS[method], figures, results, queue, question)
        parts += [f"### {TITLES[dataset]}, Setting {setting}", _table(dataset, rows)]
    return section("Table 1: Q-Net and its rivals", INTRODUCTION, *parts)


def table2(results: list[dict[str, Any]], queue: list[Planned] | None) -> str:
    """Table 2 as a section, a table a part."""
    parts = []
    for title, published in TABLE2.items():
        rows = []
        for name, figures in published.items():
            rows += _block(name, figures, results, queue, Question("P", "chaos", 2, ABLATIONS[name]))
        parts += [f"### {title}", _table("chaos", rows)]
    text = (
        "CHAOST2, Setting 2. DP: two paths; DS: the layer that halves the resolution last; TA: threshold"
        " from the query, else one learned number; PR: refinement at test time, in the mode of its column."
        " The paper prints DP twice, as such and as DS on Layer 4, with different figures; ours are the"
        " same runs."
    )
    return section("Table 2: ablation", text, *parts)


def _table(dataset: str, rows: list[list[Any]]) -> str:
    return table((*HEAD, *CATALOGUE[dataset].labels, "mean", "to run"), rows)


def _block(
    name: str,
    figures: tuple[str, ...],
    results: list[dict[str, Any]],
    queue: list[Planned] | None,
    question: Question,
) -> list[list[Any]]:
    """The published row and ours."""
    rival = name in METHODS.values() and name != METHODS["qnet"]
    steps = "not said" if rival else 30000
    rows = [[f"**{name}**", "published", "released", "paper", steps, "-", FOLDS, "-", *figures, ""]]
    runs = find_runs(results, question)
    planned = [plan for plan in queue or [] if plan.answers(question)]
    columns = [*CATALOGUE[question.dataset].labels, "mean"]
    for scheme in SCHEMES:
        own = [run for run in runs if run.variant.scheme == scheme]
        rows += [_run_row(run, columns, planned) for run in own]
        waiting = [p for p in planned if p.variant.scheme == scheme and not _begun(p, own)]
        for variant in dict.fromkeys(p.variant for p in waiting):
            entries = to_run([p for p in waiting if p.variant == variant])
            rows.append(_row(variant, variant.training(), "0", "", [NOT_RUN] * len(columns), entries))
        if not own and not waiting:
            note = "" if queue is None else "not in the queue"
            rows.append(["", "ours", scheme, "", "", "", "0", "", *[NOT_RUN] * len(columns), note])
    return rows


def _begun(plan: Planned, runs: list[Run]) -> bool:
    return any(counts(run) and run.variant.trained_like(plan.variant) for run in runs)


def counts(run: Run) -> bool:
    """Whether a run's figures may stand for ours: no scored case was a training case."""
    return run.variant.seen is not True


def _run_row(run: Run, columns: list[str], planned: list[Planned]) -> list[Any]:
    values = {column: run.dice(column) for column in columns}
    complete = all(len(values[column]) == FOLDS for column in columns)
    rest = [] if complete or not counts(run) else [p for p in planned if run.variant.trained_like(p.variant)]
    patients = run.patients()
    cells = [figure(values[column], run.values(column)) for column in columns]
    scored = "" if patients is None else str(patients)
    return _row(run.variant, run.training(), str(run.folds()), scored, cells, to_run(rest))


def _row(
    variant: Variant, training: str, folds: str, patients: str, cells: list[str], entries: str
) -> list[Any]:
    whose = "ours" + (f" ({SEEN[variant.seen]})" if SEEN[variant.seen] else "")
    done = f"{folds} of {FOLDS}"
    steps = "" if variant.steps is None else variant.steps
    head = ["", whose, variant.scheme, training, steps, variant.refinement(), done, patients]
    return [*head, *cells, entries]


def figure(folds: list[float], values: list[float]) -> str:
    """A cell: mean of the folds ± population standard deviation of the values; without ± for one fold."""
    if not folds:
        return NOT_RUN
    spread = f" ± {np.std(values):.1f}" if len(folds) > 1 else ""
    return f"{np.mean(folds):.1f}{spread}"


def to_run(planned: list[Planned]) -> str:
    """Minutes and entries of the queue that make what is missing."""
    entries = {plan.number: plan.minutes for plan in planned}
    if not entries:
        return ""
    word = "entry" if len(entries) == 1 else "entries"
    return f"{sum(entries.values()):g} GPU minutes, queue {word} {' and '.join(entries)}"


def missing(question: Question, scheme: str, queue: list[Planned] | None) -> str:
    """The sentence for a figure that does not exist."""

    def fits(v: Variant) -> bool:
        return v.scheme == scheme and question.fits(v)

    entries = to_run([p for p in queue or [] if p.answers(replace(question, fits=fits))])
    return f"{NOT_RUN}: {entries}" if entries else NOT_RUN + ("" if queue is None else ": not in the queue")
