"""Beside the tables' Dice: its intervals, the other measures, and the distance to goals and floors."""

from __future__ import annotations

from typing import Any

from ..data import CATALOGUE
from ..data.catalogue import FOLDS
from ..evaluation.summary import summarise
from .markdown import section, table
from .paper_tables import NOT_RUN, counts, of_method
from .published import GOALS, METHODS, TABLE1, TITLES
from .runs import Question, Run, find_runs

MEASURES = (
    "The runs of Table 1 over their patients, every patient once: Dice in per cent with its 95 % bootstrap"
    " interval over patients, IoU and surface Dice (at the larger of 2 mm and the slice thickness) in per"
    " cent, HD95 in mm. An empty prediction has no HD95: it counts as 0 in the other measures, is left out"
    " of the HD95, which makes that too good, and is counted in the last column, in pairs of patients."
)
GOAL_TEXT = (
    "Mean Dice of Q-Net in per cent and its distance to the project's goals, which are set for `strict`, and"
    " to the image-free floor of `qnetseg evaluate p-floor`: the support's masks pasted on the query's"
    " slices, all folds. No run is chosen: all are here that were not trained on scored cases."
)


def _runs(results: list[dict[str, Any]], dataset: str, setting: int, method: str) -> list[Run]:
    found = find_runs(results, Question("P", dataset, setting, of_method(method)))
    return [run for run in found if counts(run)]


def goals(results: list[dict[str, Any]]) -> str:
    """Goals and floors as a section, a line for each run and what it is measured against."""
    rows: list[list[Any]] = []
    targets = [("goal", dataset, setting, "strict", target) for (dataset, setting), target in GOALS.items()]
    for title, dataset, setting, scheme, target in [*targets, *_floors(results)]:
        row = [TITLES[dataset], setting, scheme, title, f"{target:.1f}"]
        runs = [r for r in _runs(results, dataset, setting, "qnet") if r.variant.scheme == scheme]
        rows += [[*row, *_distance(run, target)] for run in runs if run.dice("mean")]
        if not any(run.dice("mean") for run in runs):
            rows.append([*row, "", "", "", f"0 of {FOLDS}", NOT_RUN, ""])
    head = ["data set", "setting", "scheme", "what", "Dice", "recipe", "steps", "refinement", "folds"]
    return section("Goals and floors", GOAL_TEXT, table([*head, "mean", "distance"], rows))


def _floors(results: list[dict[str, Any]]) -> list[tuple[str, str, int, str, float]]:
    """The measured ones; they do not depend on what was left out of training."""
    found = {
        (r["dataset"], r["scheme"]): r["summary"]["mean"]["dice"]
        for r in results
        if r.get("protocol") == "P-floor"
    }
    return [
        ("floor", dataset, setting, scheme, found[dataset, scheme])
        for dataset, setting in GOALS
        for scheme in ("released", "strict")
        if (dataset, scheme) in found
    ]


def _distance(run: Run, target: float) -> list[Any]:
    folds = run.dice("mean")
    mean = sum(folds) / len(folds)
    done = f"{len(folds)} of {FOLDS}"
    variant = run.variant
    what = [run.training(), variant.steps, variant.refinement(), done]
    return [*what, f"{mean:.1f}", f"{mean - target:+.1f}"]


def measures(results: list[dict[str, Any]]) -> str:
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
            head = ["method", "scheme", "recipe", "steps", "refinement", "folds", "structure", "patients"]
            head += ["Dice (95 % interval)", "IoU", "surface Dice", "HD95", "without HD95"]
            parts += [f"### {TITLES[dataset]}, Setting {setting}: all measures", table(head, rows)]
    return section("All measures of Table 1's runs", MEASURES, *(parts or ["None has been run yet."]))


def _rows(method: str, run: Run) -> list[list[Any]]:
    """A line for each structure of a run and, where all were scored, their mean."""
    if not run.rows():
        return []
    names, variant = CATALOGUE[run.files[0]["dataset"]].labels, run.variant
    head = [method, variant.scheme, run.training(), variant.steps, variant.refinement(), run.folds()]
    summary = summarise(run.rows(), names)
    if len(summary) <= len(names):
        del summary["mean"]
    return [[*head, name, entry["patients"], *_cells(entry)] for name, entry in summary.items()]


def _cells(entry: dict[str, Any]) -> list[str]:
    low, high = entry["interval"]
    others = [entry[key] for key in ("iou", "surface_dice", "hd95")]
    cells = ["not measured" if value is None else f"{value:.1f}" for value in others]
    without = f"{entry['hd95_undefined']} of {entry['pairs']}"
    if entry["hd95"] is None and not entry["hd95_undefined"]:
        without = "not measured"  # by an old version
    return [f"{entry['dice']:.1f} ({low:.1f} to {high:.1f})", *cells, without]
