"""Protocol R2: what every further drawn slice is worth.

The first method is the software: its worst slice, or the one that it flags itself, is drawn next. The other
methods are scored on the same drawings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qnetseg.errors import InputError

from ..comparison import Difference
from ..metrics import dice
from ..summary import Row, Summary, summarise
from .aggregate import by_method, paired
from .collections import Study
from .drawn_slices import largest, occupied_slices
from .methods import Answer, draw
from .parallel import Report, Unit
from .rows import Flag, Headlines, R2Row
from .runner import Findings, WholeVolumeRun, answer, execute, prepared, score_structures
from .scoring import WORST_FEW, score, slice_dice

WORST, FLAG = "worst", "flag"
PICKS = (WORST, FLAG)
GOAL = 0.9  # Dice that the headline counts drawn slices for


@dataclass(frozen=True)
class R2(WholeVolumeRun):
    """R2.

    Attributes:
        rounds: drawn slices at the end.
        picks: "worst" (the next slice is the one with the worst Dice), "flag" (with the lowest confidence).
    """

    rounds: int = 6
    picks: tuple[str, ...] = PICKS

    protocol = "r2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.picks or set(self.picks) - set(PICKS):
            raise InputError("The next slice is chosen in an unknown way.", f"Use {', '.join(PICKS)}.")
        if self.rounds < 1:
            raise InputError("The number of rounds must be at least 1.")


def run(run: R2, output: Path | None = None, jobs: int = 1, report: Report = print) -> dict[str, Any]:
    """Score all studies; returns the content of the result file. See `run.execute`."""
    run = prepared(run)
    units: list[Unit] = [{"query": name} for name in run.collection().files]
    summary = partial(figures, rounds=run.rounds)
    return execute(run, units, partial(score_study, run), summary, output, jobs, report)


def score_study(run: R2, unit: Unit) -> Findings[R2Row]:
    """All structures, picks, rounds and methods of one study."""

    def rows(study: Study, structure: str, truth: np.ndarray) -> Iterator[R2Row]:
        for pick in run.picks:
            yield from _correct(run, study, structure, truth, pick)

    return score_structures(run, unit, rows)


def _correct(run: R2, study: Study, structure: str, truth: np.ndarray, pick: str) -> list[R2Row]:
    """All rounds of one simulated user. It ends early when no slice with the structure is left to score."""
    occupied = occupied_slices(study, truth)
    rows: list[R2Row] = []
    drawn = [largest(truth)]
    while len(drawn) <= run.rounds and set(occupied) - set(drawn):
        task = draw(study, truth, structure, sorted(drawn))
        following = None
        for name in run.methods:
            flagged: Flag = {}
            found, seconds = answer(run, name, task)
            if name == run.methods[0]:
                following, flagged = _next_slice(found, truth, study.labelled, drawn, pick)
            rows.append(
                {
                    "query": study.name,
                    "structure": structure,
                    "method": name,
                    "pick": pick,
                    "round": len(drawn),
                    "drawn": list(drawn),
                    **score(found.mask, truth, study.spacing, drawn, study.labelled),
                    "dice_with_drawn": dice(found.mask[study.labelled], truth[study.labelled]),
                    "seconds": seconds,
                    **flagged,
                }
            )
        if following is None:
            break
        drawn.append(following)
    return rows


def _next_slice(
    found: Answer, truth: np.ndarray, labelled: np.ndarray, drawn: list[int], pick: str
) -> tuple[int | None, Flag]:
    """The slice to draw next, and whether the flag points at one of the worst few.

    A flag on a slice that is as bad as the third worst counts. Where every slice is perfect there is nothing
    to hit, and it is not counted.
    """
    left = [index for index in np.flatnonzero(labelled).tolist() if index not in drawn]
    if not left:
        return None, {}
    quality = slice_dice(found.mask, truth)
    worst = min(left, key=lambda index: quality[index])
    if not set(left) <= set(found.confidence):
        if pick == FLAG:
            raise InputError(
                "The first method does not give its confidence in each slice.",
                "Name qnet first, or use --pick worst.",
            )
        return worst, {}
    flag = min(left, key=lambda index: found.confidence[index])
    limit = np.sort(quality[left])[min(WORST_FEW, len(left)) - 1]
    hit = None if quality[worst] == 1 else bool(quality[flag] <= limit and quality[flag] < 1)
    return flag if pick == FLAG else worst, {"flag": flag, "flag_hit": hit}


def figures(rows: list[R2Row], structures: list[str], rounds: int) -> dict[str, Any]:
    """curves: pick -> method -> measures by structure (see `summary.summarise`) for 1, 2, ... drawn slices,
    of all cases: one that has ended keeps its last value; "dice" of the slices that nobody drew,
    "dice_with_drawn" of all; headlines: pick -> method -> what the curve comes to; paired: pick -> other ->
    round -> difference of the first method to it."""
    curves: dict[str, dict[str, dict[str, list[Summary]]]] = {}
    headlines: dict[str, dict[str, Headlines]] = {}
    compared: dict[str, dict[str, list[Difference]]] = {}
    for pick in dict.fromkeys(row["pick"] for row in rows):
        picked = by_method(row for row in rows if row["pick"] == pick)
        of = {name: _carried_on(own, rounds) for name, own in picked.items()}
        curves[pick] = {
            name: {
                "dice": [summarise(drawn, structures) for drawn in own.values()],
                "dice_with_drawn": [summarise(_with_drawn(drawn), structures) for drawn in own.values()],
            }
            for name, own in of.items()
        }
        headlines[pick] = {name: _headlines(own) for name, own in of.items()}
        first, *others = of
        compared[pick] = {
            name: [paired(of[first][n], of[name][n], structures) for n in of[name]] for name in others
        }
    return {"curves": curves, "headlines": headlines, "paired": compared}


def _with_drawn(rows: list[R2Row]) -> list[Row]:
    """Rows with the Dice of all slices, and without measures of the slices that nobody drew."""
    return [
        {"query": row["query"], "structure": row["structure"], "dice": row["dice_with_drawn"]} for row in rows
    ]


def _carried_on(rows: list[R2Row], rounds: int) -> dict[int, list[R2Row]]:
    """round -> a row for every case."""
    cases: dict[tuple[str, str], dict[int, R2Row]] = {}
    for row in rows:
        cases.setdefault((row["query"], row["structure"]), {})[row["round"]] = row
    return {n: [case[min(n, max(case))] for case in cases.values()] for n in range(1, rounds + 1)}


def _headlines(own: dict[int, list[R2Row]]) -> Headlines:
    asked = [row.get("flag_hit") for n in own for row in own[n] if row["round"] == n]
    hits = [hit for hit in asked if hit is not None]
    needed, reached = _goal(own, "dice")
    needed_with, reached_with = _goal(own, "dice_with_drawn")
    return {
        "flag_hit": 100 * float(np.mean(hits)) if hits else None,
        "flags": len(hits),
        "slices_for_goal": needed,
        "reached": reached,
        "slices_for_goal_with_drawn": needed_with,
        "reached_with_drawn": reached_with,
    }


def _goal(own: dict[int, list[R2Row]], key: Literal["dice", "dice_with_drawn"]) -> tuple[float | None, float]:
    """Median number of drawn slices until the goal, and the share in per cent of cases that reach it."""
    curves = zip(*own.values(), strict=True)
    needed = [next((n for n, row in enumerate(curve, 1) if row[key] >= GOAL), np.inf) for curve in curves]
    middle = float(np.median(needed))
    return middle if np.isfinite(middle) else None, 100 * float(np.mean(np.isfinite(needed)))
