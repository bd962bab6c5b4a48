"""Beside the tables' Dice: its intervals, the other measures, and the distance to goals and lower bounds."""

from __future__ import annotations

from typing import Any, cast

from ..data import CATALOGUE
from ..data.catalogue import FOLDS
from ..evaluation.summary import FACTORS, Figures, Row, summarise
from .markdown import NONE, number, section, table
from .paper_tables import of_method
from .published import GOALS, METHODS, TABLE1, TITLES
from .runs import Results, Run, find_runs

MEASURES = (
    "The runs of Table 1 over their patients, every patient once: Dice in per cent with its 95 % bootstrap"
    " interval over patients, IoU and surface Dice (at the larger of 2 mm and the slice thickness) in per"
    " cent, HD95 in mm. An empty prediction has no HD95: it counts as 0 in the other measures, is left out"
    " of the HD95, which makes that too good, and is counted in the last column, in pairs of patients. A cell"
    " is empty where a result of the run lacks the measure: older versions had fewer, and sweeps, which rows"
    " with refinement may be from, have Dice alone."
)
GOAL_TEXT = (
    "Mean Dice of Q-Net in per cent, and its distance to the project's goals, which are set for `strict`, and"
    " to a lower bound that needs no image: the masks drawn on the support, pasted on the query's slices"
    " (`qnetseg evaluate p-floor`, all folds). Every run is here that was not trained on scored cases;"
    " runs of different folds are of different patients, and not to be compared."
)


def _runs(results: Results, dataset: str, setting: int, method: str) -> list[Run]:
    return [run for run in find_runs(results, "P", dataset, setting, of_method(method)) if run.counts()]


def goals(results: Results) -> str:
    """Goals and lower bounds as a section, a line for each run and what it is measured against."""
    bounds = {
        (r["dataset"], r["scheme"]): r["summary"]["mean"]["dice"]
        for r in results
        if r.get("protocol") == "P-floor"
    }
    rows: list[list[Any]] = []
    for (dataset, setting), goal in GOALS.items():
        for run in _runs(results, dataset, setting, "qnet"):
            (folds, _), v = run.across("mean"), run.variant
            if not folds:
                continue
            mean, bound = sum(folds) / len(folds), bounds.get((dataset, v.scheme))
            row = [TITLES[dataset], setting, v.scheme, run.name(), v.steps, v.refinement()]
            row += [f"{len(folds)} of {FOLDS}", f"{mean:.1f}"]
            row += [f"{mean - goal:+.1f}" if v.scheme == "strict" else None]
            rows.append([*row, None if bound is None else f"{mean - bound:+.1f}"])
    head = ["data set", "setting", "scheme", "model", "steps", "refinement", "folds", "mean"]
    text = table([*head, "to the goal", "to the lower bound"], rows)
    named = [f"{TITLES[d]} `{s}` {value:.1f}" for (d, s), value in sorted(bounds.items())]
    sought = [f"{TITLES[d]} Setting {s} {value:.1f}" for (d, s), value in GOALS.items()]
    limits = f"Goals: {', '.join(sought)}." + (f" Lower bounds: {', '.join(named)}." if named else "")
    return section("Goals and lower bounds", GOAL_TEXT, text or NONE, limits)


def measures(results: Results) -> str:
    """All measures of the runs of Table 1 as a section, a table a data set and setting."""
    parts = []
    for dataset, setting in TABLE1:
        rows = [
            row
            for method in METHODS
            for run in _runs(results, dataset, setting, method)
            for row in _rows(METHODS[method], run)
        ]
        if rows:
            head = ["method", "model", "scheme", "steps", "refinement", "folds", "structure", "patients"]
            head += ["Dice (95 % interval)", "IoU", "surface Dice", "HD95", "without HD95"]
            parts += [f"### {TITLES[dataset]}, Setting {setting}", table(head, rows)]
    return section("All measures of Table 1's runs", MEASURES, *(parts or [NONE]))


def _rows(method: str, run: Run) -> list[list[Any]]:
    """A line for each structure of a run and, where all were scored, their mean."""
    rows = run.on(run.folds()).rows()
    if not rows:
        return []
    measured = {key for key in FACTORS if all(key in row for row in rows)}
    names, variant = CATALOGUE[run.files[0]["dataset"]].labels, run.variant
    head = [method, run.name(), variant.scheme, variant.steps, variant.refinement(), len(run.folds())]
    kept = [{k: v for k, v in row.items() if k in measured or k not in FACTORS} for row in rows]
    summary = summarise(cast(list[Row], kept), names)
    if len(summary) <= len(names):
        del summary["mean"]
    return [[*head, name, entry["patients"], *_cells(entry)] for name, entry in summary.items()]


def _cells(entry: Figures) -> list[str | None]:
    low, high = entry["interval"]
    without = f"{entry['hd95_undefined']} of {entry['pairs']}"
    if entry["hd95"] is None and not entry["hd95_undefined"]:
        without = ""  # by an old version
    cells = map(number, (entry["iou"], entry["surface_dice"], entry["hd95"]))
    return [f"{entry['dice']:.1f} ({low:.1f} to {high:.1f})", *cells, without]
