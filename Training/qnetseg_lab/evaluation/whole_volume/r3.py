"""Protocol R3: one drawn slice of one patient, another patient's whole volume."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.errors import DatasetError, InputError, QNetSegmentError

from ..summary import summarise
from .aggregate import average, by_method, median, paired, worst_tenth
from .collections import Collection, Study, collection
from .drawn_slices import largest, pairs
from .methods import METHODS, Answer, Task, draw
from .methods.transfer import transferred
from .parallel import Report, Unit
from .rows import AbsentFigures, R3Figures, R3Row, Score
from .runner import Findings, WholeVolumeRun, answer, execute, loaded_study, prepared
from .scoring import score
from .worst_cases import Redone

LEAST_SLICES = 2  # of a query without the structure


@dataclass(frozen=True)
class R3(WholeVolumeRun):
    """R3.

    Attributes:
        support_dataset: where the drawn slices come from; None for the queries' own data set.
        support_labels: names and values of its structures; None for all.
        pairs: size of the stratified subset of ordered pairs; None for all.
        seed: of the subset.
        absent: crop every query to the slices without the structure: all that is found is false.
        examples: patients that are drawn on for each query: that of the pair, and others by the seed.
        sources: what `supports` gives, found once.
    """

    support_dataset: str | None = None
    support_labels: dict[str, int] | None = None
    pairs: int | None = None
    seed: int = 0
    absent: bool = False
    examples: int = 1
    sources: Collection | None = None

    protocol = "r3"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs is not None and self.pairs < 1:
            raise InputError("The number of pairs must be at least 1.")
        if self.examples < 1:
            raise InputError("The number of examples must be at least 1.")

    def supports(self) -> Collection:
        """The studies that are drawn on, with the structures that the queries have, too."""
        if self.sources is not None:
            return self.sources
        queries = self.collection()
        if self.support_dataset is None:
            return queries
        supports = collection(self.support_dataset, self.support_labels, (), self.partly_labelled)
        if not set(supports.structures) & set(queries.structures):
            raise DatasetError(
                f"{supports.name} and {queries.name} have no structure of the same name.",
                "Name them alike with --labels and --support-labels.",
            )
        return supports


def run(run: R3, output: Path | None = None, jobs: int = 1, report: Report = print) -> dict[str, Any]:
    """Score the pairs; returns the content of the result file. See `run.execute`."""
    run = prepared(run)
    run = replace(run, sources=run.supports())
    queries = list(run.collection().files)
    own = run.support_dataset is None
    chosen = pairs(list(run.supports().files), None if own else queries, run.seed, run.pairs)
    units: list[Unit] = [{"support": support, "query": query} for support, query in chosen]
    if not units:
        raise DatasetError(f"{run.dataset} holds no two patients.", "R3 draws on one and scores another.")
    summary = figures_absent if run.absent else figures
    return execute(run, units, partial(score_pair, run), summary, output, jobs, report)


def score_pair(run: R3, unit: Unit) -> Findings[R3Row]:
    """All structures and methods of one (support, query)."""
    found: Findings[R3Row] = Findings()
    supports, queries = run.supports(), run.collection()
    support = loaded_study(supports, unit["support"], found)
    query = loaded_study(queries, unit["query"], found) if support is not None else None
    if support is None or query is None:
        return found
    for structure, label in queries.structures.items():
        if structure not in supports.structures:
            continue
        source, truth = support.mask(supports.structures[structure]), query.mask(label)
        if not source.any() or not (truth.any() or run.absent):
            continue
        drawings = (_drawing(structure, support, source), *_further(run, unit, structure))
        try:
            asked = without(query, truth) if run.absent else query
            found.rows += _score_structure(run, structure, drawings, asked, asked.mask(label))
        except QNetSegmentError as error:
            found.skipped.append(f"{query.name}, {structure}: {error}")
    return found


def without(query: Study, truth: np.ndarray) -> Study:
    """The longest run of slices without the structure. Raises `DatasetError` where it is too short."""
    if not query.labelled.all():
        raise DatasetError("It is not labelled on every slice, so nobody knows where it ends.")
    occupied = np.flatnonzero(truth.any(axis=(1, 2)))
    if not len(occupied):
        return query
    borders = np.array([-1, *occupied, len(truth)])
    gap = int(np.diff(borders).argmax())
    first, last = int(borders[gap]) + 1, int(borders[gap + 1]) - 1
    if last - first + 1 < LEAST_SLICES:
        raise DatasetError(f"It is on nearly every slice of {query.name}, so it cannot be cropped away.")
    return query.crop(first, last)


def _score_structure(
    run: R3, structure: str, drawings: tuple[Task, ...], query: Study, truth: np.ndarray
) -> list[R3Row]:
    rows: list[R3Row] = []
    for name in run.methods:
        found, seconds = _answered(run, structure, drawings, query, truth, name)
        rows.append(
            {
                "query": query.name,
                "support": drawings[0].study.name,
                "structure": structure,
                "method": name,
                **_measured(found.mask, truth, query, run.absent),
                "doubted": found.doubted,
                "presence": found.presence,
                "signs": found.signs,
                "seconds": seconds,
            }
        )
    return rows


def _answered(
    run: R3, structure: str, drawings: tuple[Task, ...], query: Study, truth: np.ndarray, name: str
) -> tuple[Answer, float]:
    """What a method finds in the query, with a mask of the query's own (S, H, W), and its seconds."""
    usual = run.usual_length(structure, query.name)
    task = Task(query, structure, np.zeros_like(truth), (), usual, drawings[0], drawings[1:])
    if METHODS[name].options is None:  # what does not look at the image gets the drawing put in place
        task = transferred(task)
    found, seconds = answer(run, name, task)
    return replace(found, mask=query.stack(task.study.native(found.mask))), seconds


def _further(run: R3, unit: Unit, structure: str) -> Iterator[Task]:
    """Drawings on further patients that have the structure."""
    supports = run.supports()
    others = [name for name in supports.files if name not in (unit["support"], unit["query"])]
    random.Random(f"{run.seed} {unit['support']} {unit['query']}").shuffle(others)
    wanted = run.examples - 1
    for name in others if wanted else []:
        study = supports.load(name)
        source = study.mask(supports.structures[structure])
        if source.any():
            yield _drawing(structure, study, source)
            wanted -= 1
        if not wanted:
            return


def _drawing(structure: str, study: Study, source: np.ndarray) -> Task:
    return draw(study, source, structure, [largest(source)])


def again(run: R3, row: R3Row) -> Redone:
    """A row's result, made again."""
    supports, queries, structure = run.supports(), run.collection(), row["structure"]
    support, query = supports.load(row["support"]), queries.load(row["query"])
    source = support.mask(supports.structures[structure])
    truth = query.mask(queries.structures[structure])
    if run.absent:
        query = without(query, truth)
        truth = query.mask(queries.structures[structure])
    unit = {"support": row["support"], "query": row["query"]}
    drawings = (_drawing(structure, support, source), *_further(run, unit, structure))
    found, _ = _answered(run, structure, drawings, query, truth, row["method"])
    return Redone(row, drawings[0], query, truth, found.mask)


def _measured(mask: np.ndarray, truth: np.ndarray, query: Study, absent: bool) -> Score:
    if absent:
        voxel_ml = float(np.prod(query.spacing)) / 1000
        return {"slices": len(mask), "false_ml": int(mask.sum()) * voxel_ml}
    return score(mask, truth, query.spacing, (), query.labelled)


def figures(rows: list[R3Row], structures: list[str]) -> dict[str, Any]:
    """summary: method -> `R3Figures`; paired: other -> difference of the first to it."""
    of = by_method(rows)
    summary: dict[str, R3Figures] = {}
    for name, own in of.items():
        dice = [100 * row["dice"] for row in own]
        summary[name] = {
            "structures": summarise(own, structures),
            "median": float(np.median(dice)),
            "worst_tenth": worst_tenth(own),
            "worst_decile": float(np.percentile(dice, 10)),
            "spread_over_supports": _spread(own),
            "doubted": 100 * float(np.mean([row["doubted"] for row in own])),
            "dice_doubted": average(own, lambda row: 100 * row["dice"] if row["doubted"] else None),
            "false_ml": median(own, _false_ml),
            "seconds": average(own, lambda row: row["seconds"]),
            "rows": len(own),
        }
    first, *others = of
    return {"summary": summary, "paired": {name: paired(of[first], of[name], structures) for name in others}}


def _spread(rows: list[R3Row]) -> float | None:
    """Mean standard deviation in points of Dice over the supports of one patient's structure."""
    cases: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        cases.setdefault((row["query"], row["structure"]), []).append(row["dice"])
    several = [100 * float(np.std(values, ddof=1)) for values in cases.values() if len(values) > 1]
    return float(np.mean(several)) if several else None


def figures_absent(rows: list[R3Row], structures: list[str]) -> dict[str, Any]:
    """summary: method -> `AbsentFigures`."""
    summary: dict[str, AbsentFigures] = {}
    for name, own in by_method(rows).items():
        by_structure = {
            structure: median((row for row in own if row["structure"] == structure), _false_ml)
            for structure in structures
        }
        summary[name] = {
            "false_ml": median(own, _false_ml),
            "false_ml_mean": average(own, _false_ml),
            "left_empty": 100 * float(np.mean([row["false_ml"] == 0 for row in own])),
            "doubted": 100 * float(np.mean([row["false_ml"] == 0 or row["doubted"] for row in own])),
            "structures": by_structure,
            "seconds": average(own, lambda row: row["seconds"]),
            "rows": len(own),
        }
    return {"summary": summary}


def _false_ml(row: R3Row) -> float | None:
    return row["false_ml"]
