"""Protocol R1: one drawn slice, the same patient's whole volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError, InputError, QNetSegmentError
from . import aggregate
from .drawings import CHOICES, LARGEST, RANDOM, from_the_middle, largest, occupied_slices
from .protocol_r import Findings, RealRun, answer, execute, loaded_study, prepared, unit_work
from .rivals import METHODS, draw
from .scoring import score
from .studies import Study
from .sweep import Report, Unit


@dataclass(frozen=True)
class R1(RealRun):
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

    def drawn_slices(self, truth: np.ndarray, occupied: np.ndarray, *names: str) -> Iterator[Any]:
        """(choice, seed, slice) of every drawing."""
        if LARGEST in self.choices:
            yield LARGEST, None, largest(truth)
        for seed in range(self.seeds if RANDOM in self.choices else 0):
            yield RANDOM, seed, from_the_middle(occupied, seed, *names)


def run(run: R1, output: Path | None = None, jobs: int = 1, report: Report = print) -> dict[str, Any]:
    """Score all studies; returns the content of the result file. See `protocol_r.execute`."""
    run = prepared(run)
    units = [(name,) for name in run.collection().files]
    return execute(run, units, unit_work(score_study, run), summarise, output, jobs, report)


def score_study(run: R1, unit: Unit) -> Findings:
    """All structures, drawings and methods of one study."""
    found, studies = Findings(), run.collection()
    study = loaded_study(studies, unit[0], found)
    if study is None:
        return found
    for structure, label in studies.structures.items():
        truth = study.mask(label)
        if not truth.any():
            continue  # this patient lacks it; nothing is wrong
        try:
            found.rows += _score_structure(run, study, structure, truth)
        except QNetSegmentError as error:
            found.skipped.append(f"{study.name}, {structure}: {error}")
    return found


def _score_structure(run: R1, study: Study, structure: str, truth: np.ndarray) -> list[dict[str, Any]]:
    rows, occupied = [], occupied_slices(study, truth)
    usual = run.usual_length(structure, study.name)
    for choice, seed, index in run.drawn_slices(truth, occupied, study.name, structure):
        for name in run.methods:
            task = draw(study, truth, structure, METHODS[name].pick(occupied, index, len(truth)), usual)
            if not set(occupied) - set(task.slices):
                raise DatasetError(f"{METHODS[name].title} would have every slice of it drawn.")
            found, seconds = answer(run, name, task)
            figures = score(found.mask, truth, study.spacing, {index, *task.slices}, study.labelled)
            rows.append(
                {
                    "study": study.name,
                    "structure": structure,
                    "method": name,
                    "choice": choice,
                    "seed": seed,
                    "slice": index,
                    "drawn": list(task.slices),
                    **figures,
                    "seconds": seconds,
                }
            )
    return rows


def summarise(rows: list[dict[str, Any]], structures: list[str]) -> dict[str, Any]:
    """summary: choice -> method -> Dice by structure and further means; paired: choice -> other -> difference
    of the first method to it."""
    summary: dict[str, Any] = {}
    compared: dict[str, Any] = {}
    for choice in dict.fromkeys(row["choice"] for row in rows):
        of = {
            name: [row for row in rows if row["choice"] == choice and row["method"] == name]
            for name in dict.fromkeys(row["method"] for row in rows)
        }
        summary[choice] = {name: _figures(own, structures) for name, own in of.items()}
        first, *others = of
        compared[choice] = {name: aggregate.paired(of[first], of[name], structures) for name in others}
    return {"summary": summary, "paired": compared}


def _figures(rows: list[dict[str, Any]], structures: list[str]) -> dict[str, Any]:
    """Dice and surface Dice in per cent, lengths in mm; ends and false volume as medians over rows."""
    ends = [{"mm": abs(mm), "slices": abs(count)} for row in rows for mm, count in _ends(row)]
    surface = aggregate.average(rows, lambda row: row["surface_dice"])
    return {
        "structures": aggregate.dice_summary(rows, structures),
        "surface_dice": None if surface is None else 100 * surface,
        "hd95": aggregate.average(rows, lambda row: row["hd95"]),
        "volume_error": aggregate.average(
            rows, lambda row: None if row["volume_error"] is None else abs(row["volume_error"])
        ),
        "end_error_slices": aggregate.median(ends, lambda end: end["slices"]),
        "end_error_mm": aggregate.median(ends, lambda end: end["mm"]),
        "false_ml": aggregate.median(rows, lambda row: row["false_ml"]),
        "seconds": aggregate.average(rows, lambda row: row["seconds"]),
        "rows": len(rows),
    }


def _ends(row: dict[str, Any]) -> list[tuple[float, int]]:
    if row["end_error_mm"] is None:
        return []
    return list(zip(row["end_error_mm"], row["end_error_slices"], strict=True))
