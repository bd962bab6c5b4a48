"""Protocol R1: one drawn slice, the same patient's whole volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.errors import DatasetError, InputError

from ..comparison import Difference
from ..summary import summarise
from .aggregate import average, by_method, median, paired, worst_tenth
from .beside import rows_beside
from .collections import Study
from .drawn_slices import CHOICES, LARGEST, RANDOM, from_the_middle, largest, occupied_slices
from .kinds import kind_of
from .methods import METHODS, draw
from .parallel import Report, Unit
from .reliability import reliability, summarise_reliability
from .rows import R1Figures, R1Row
from .runner import Findings, WholeVolumeRun, answer, execute, prepared, score_structures
from .scoring import score
from .worst_cases import Redone

Drawing = tuple[str, int | None, int]  # choice, seed, slice


@dataclass(frozen=True)
class R1(WholeVolumeRun):
    """R1.

    Attributes:
        choices: "largest" (the slice with the largest area), "random" (of the structure's middle half).
        seeds: how many random slices.
    """

    choices: tuple[str, ...] = CHOICES
    seeds: int = 3

    protocol = "r1"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.choices or set(self.choices) - set(CHOICES):
            raise InputError("The drawn slice is chosen in an unknown way.", f"Use {', '.join(CHOICES)}.")
        if self.seeds < 1:
            raise InputError("The number of random slices must be at least 1.")

    def drawn_slices(self, truth: np.ndarray, occupied: np.ndarray, *names: str) -> Iterator[Drawing]:
        """Every drawing."""
        if LARGEST in self.choices:
            yield LARGEST, None, largest(truth)
        for seed in range(self.seeds if RANDOM in self.choices else 0):
            yield RANDOM, seed, from_the_middle(occupied, seed, *names)


def run(
    run: R1,
    output: Path | None = None,
    jobs: int = 1,
    report: Report = print,
    beside: Path | None = None,
) -> dict[str, Any]:
    """Score all studies; returns the content of the result file. See `run.execute`.

    beside: a result file of R1 whose other methods stand in the tables, too. Raises InputError where it does
    not fit.
    """
    origin, rows = rows_beside(beside, run) if beside is not None else ({}, [])
    run = prepared(run)
    units: list[Unit] = [{"query": name} for name in run.collection().files]

    def summarise(rows: list[R1Row], structures: list[str]) -> dict[str, Any]:
        return {**figures(rows, structures), "beside": origin}

    return execute(run, units, partial(score_study, run), summarise, output, jobs, report, rows)


def again(run: R1, row: R1Row) -> Redone:
    """A row's result, made again."""
    study = run.collection().load(row["query"])
    truth = study.mask(run.collection().structures[row["structure"]])
    usual = run.usual_length(row["structure"], study.name)
    task = draw(study, truth, row["structure"], row["drawn"], usual)
    return Redone(row, task, study, truth, answer(run, row["method"], task)[0].mask)


def score_study(run: R1, unit: Unit) -> Findings[R1Row]:
    """All structures, drawings and methods of one study."""
    return score_structures(run, unit, partial(_score_structure, run))


def _score_structure(run: R1, study: Study, structure: str, truth: np.ndarray) -> list[R1Row]:
    rows: list[R1Row] = []
    occupied = occupied_slices(study, truth)
    usual, kind = run.usual_length(structure, study.name), kind_of(truth, study.spacing)
    for choice, seed, index in run.drawn_slices(truth, occupied, study.name, structure):
        for name in run.methods:
            task = draw(study, truth, structure, METHODS[name].pick(occupied, index, len(truth)), usual)
            if not set(occupied) - set(task.slices):
                raise DatasetError(f"{METHODS[name].title} would have every slice of it drawn.")
            found, seconds = answer(run, name, task)
            drawn = {index, *task.slices}
            measured = score(found.mask, truth, study.spacing, drawn, study.labelled)
            scored = study.labelled.copy()
            scored[list(drawn)] = False
            sure = (
                None
                if found.probability is None
                else reliability(found.probability, found.mask, truth, found.confidence, scored)
            )
            rows.append(
                {
                    "query": study.name,
                    "structure": structure,
                    "kind": kind,
                    "method": name,
                    "choice": choice,
                    "seed": seed,
                    "slice": index,
                    "drawn": list(task.slices),
                    **measured,
                    "seconds": seconds,
                    "reliability": sure,
                }
            )
    return rows


def figures(rows: list[R1Row], structures: list[str]) -> dict[str, Any]:
    """summary: choice -> method -> figures by structure and further means; paired: choice -> other ->
    difference of the first method to it."""
    summary: dict[str, dict[str, R1Figures]] = {}
    compared: dict[str, dict[str, Difference]] = {}
    for choice in dict.fromkeys(row["choice"] for row in rows):
        of = by_method(row for row in rows if row["choice"] == choice)
        summary[choice] = {name: _figures(own, structures) for name, own in of.items()}
        first, *others = of
        compared[choice] = {name: paired(of[first], of[name], structures) for name in others}
    return {"summary": summary, "paired": compared}


def _figures(rows: list[R1Row], structures: list[str]) -> R1Figures:
    ends = [end for row in rows for end in _ends(row)]
    return {
        "structures": summarise(rows, structures),
        "kinds": by_kind(rows),
        "volume_error": average(
            rows, lambda row: None if row["volume_error"] is None else abs(row["volume_error"])
        ),
        "end_error_slices": median(ends, lambda end: abs(end[1])),
        "end_error_mm": median(ends, lambda end: abs(end[0])),
        "false_ml": median(rows, lambda row: row["false_ml"]),
        "seconds": average(rows, lambda row: row["seconds"]),
        "reliability": summarise_reliability(rows),
        "rows": len(rows),
    }


def by_kind(rows: list[R1Row]) -> dict[str, dict[str, float]]:
    """kind -> how many rows, mean Dice and that of the worst tenth, per cent."""
    found = {}
    for kind in sorted({row["kind"] for row in rows}):
        own = [row for row in rows if row["kind"] == kind]
        mean = 100 * float(np.mean([row["dice"] for row in own]))
        found[kind] = {"rows": len(own), "dice": mean, "worst_tenth": worst_tenth(own)}
    return found


def _ends(row: R1Row) -> list[tuple[float, int]]:
    return list(zip(row["end_error_mm"] or [], row["end_error_slices"] or [], strict=True))
