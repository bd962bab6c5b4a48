"""The first page: what a clinician gets, what else could be done instead, and where it fails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.whole_volume.aggregate import paired, worst_tenth
from ..evaluation.whole_volume.drawn_slices import LARGEST, RANDOM
from ..evaluation.whole_volume.methods import METHODS
from ..evaluation.whole_volume.r2 import FLAG, GOAL, WORST
from ..evaluation.whole_volume.rows import MethodRow, R1Figures, R1Row
from ..evaluation.whole_volume.scoring import WORST_FEW
from . import other_patients
from .benchmarks import computer, measured_so
from .markdown import NONE, interval, number, section, table
from .names import DATASETS, OURS, short
from .runs import Results, of_protocol

PAINTED = "growcut-ends"
BASELINES = (PAINTED, "growcut", "random-walker", "copy", "interpolation")
PICKS = {FLAG: "the slice that the software flags", WORST: "the worst slice"}
KINDS = {
    "compact": "compact (organs, chambers of the heart)",
    "shell": "hollow (heart muscle)",
    "many parts": "in several parts on one slice",
    "long and thin": "long and thin (vessels, spinal cord)",
}


@dataclass(frozen=True)
class Score:
    """One method on one data set, from one drawn slice of each structure.

    Attributes:
        dataset, method: their names in result files.
        structures: their names.
        rows: of the drawing of the largest area.
        random: of drawings of random slices; none where they were not scored.
        figures: the summary of `rows` in the result file.
    """

    dataset: str
    method: str
    structures: list[str]
    rows: list[R1Row]
    random: list[R1Row]
    figures: R1Figures

    def dice(self) -> float:
        """Mean over structures and patients in per cent."""
        return self.figures["structures"]["mean"]["dice"]

    def cell(self) -> str:
        """Mean, and that of the worst tenth."""
        return _cell(self.dice(), self.rows)

    def title(self) -> str:
        """What was scored, for a row."""
        short, content = DATASETS.get(self.dataset, (self.dataset, ", ".join(self.structures)))
        return f"{short} ({content})"

    def patients(self) -> int:
        """How many volumes were scored."""
        return len({row["query"] for row in self.rows})

    def ends(self) -> list[str | None]:
        """Median error of an end in mm, and the share of ends that are right within one slice in per cent;
        empty where experts did not outline every slice of most volumes."""
        known = [ends for row in self.rows if (ends := row["end_error_slices"]) is not None]
        if 2 * len(known) < len(self.rows):
            return [None, None]
        near = [abs(slices) <= 1 for ends in known for slices in ends]
        return [number(self.figures["end_error_mm"], 0), number(100 * float(np.mean(near)), 0)]

    def flagged(self) -> str | None:
        """Share of results in per cent whose least certain slice is one of the worst few."""
        sure = self.figures.get("reliability")
        return number(sure["least_sure_hits"], 0) if sure else None


def scores(results: Results) -> dict[tuple[str, str], Score]:
    """By data set and method, from whole data sets; the result with most rows where there are several."""
    found: dict[tuple[str, str], Score] = {}
    for r in results:
        if r.get("protocol") != "R1" or r["fold"] is not None or r["cases"] or LARGEST not in r["summary"]:
            continue
        if r["trained_on_scored_cases"]:
            continue
        for method, figures in r["summary"][LARGEST].items():
            own = [row for row in r["rows"] if row["method"] == method]
            drawn = {c: [row for row in own if row["choice"] == c] for c in (LARGEST, RANDOM)}
            score = Score(r["dataset"], method, r["structures"], drawn[LARGEST], drawn[RANDOM], figures)
            known = found.get((score.dataset, method))
            if known is None or len(score.rows) > len(known.rows):
                found[score.dataset, method] = score
    order = [*DATASETS, *sorted({dataset for dataset, _ in found} - set(DATASETS))]
    return {key: found[key] for key in sorted(found, key=lambda key: order.index(key[0]))}


def overview(results: Results) -> str:
    """The sections of the first page."""
    found = scores(results)
    parts = [_quality(_ours(found)), _instead(found, results), _effort(results)]
    return "\n\n".join([*parts, _failures(_ours(found), results)])


def readme(results: Results) -> str:
    """The key figures for the README, with failures."""
    found = scores(results)
    rows: list[list[Any]] = []
    for ours in _ours(found):
        other = found.get((ours.dataset, PAINTED))
        rows.append([ours.title(), ours.patients(), ours.cell(), other.cell() if other else None])
    times = [
        f"{r['first_seconds']:.1f} s for {r['slices']} slices on {computer(r)}, {r['precision']}"
        for r in _speed(results)
    ]
    lines = [f"Time without a GPU: {'; '.join(times)}."] * bool(times)
    kinds = _kinds(_ours(found))
    if len(kinds) > 1:
        title, own = min(kinds.items(), key=lambda entry: _mean(entry[1]))
        lines.append(f"It is worst on structures that are {title}: {_cell(_mean(own), own)}.")
    lines += [*other_patients.sentences(results), *other_patients.without_it(results)]
    text = (
        "Dice is the overlap with an expert's outline in per cent: 0 is none, 100 all. Here one slice was"
        " drawn and the others are scored; in brackets is the mean of the worst tenth."
    )
    head = ("images", "volumes", METHODS[OURS].title)
    beside = "Slicer's *Grow from seeds*, with background also painted beyond both ends"
    return "\n\n".join([text, table((*head, beside), rows) or NONE, _list(lines)])


def _ours(found: dict[tuple[str, str], Score]) -> list[Score]:
    return [score for (_, method), score in found.items() if method == OURS]


def _cell(mean: float, rows: Iterable[MethodRow]) -> str:
    return f"{mean:.0f} ({worst_tenth(rows):.0f})"


def _mean(rows: list[R1Row]) -> float:
    return 100 * float(np.mean([row["dice"] for row in rows]))


def _quality(ours: list[Score]) -> str:
    text = (
        "A user draws a structure once, on the slice where it is largest, and gets the whole volume. Dice is"
        " the overlap with an expert's outline in per cent, counted on the slices that nobody drew: 0 is"
        " none, 100 all. In brackets is the mean of the worst tenth of the results. An end is the first or"
        " last slice of a structure. The flag is right where the least certain slice of a result, the first"
        f" one that the software shows for review, is one of its {WORST_FEW} worst. None of these images was"
        " used in training; but how the training volumes are made was revised after a look at failures on"
        " CHAOST2 and CMR."
    )
    rows = [
        [
            *(s.title(), s.patients(), len(s.rows), s.cell()),
            *(_cell(_mean(s.random), s.random) if s.random else None, *s.ends(), s.flagged()),
        ]
        for s in ours
    ]
    head = ("images", "volumes", "structures scored", "Dice", "Dice from a random slice of the middle half")
    ends = ("end off by, mm (median)", "ends within one slice, %", "flag is right, %")
    return section("What one drawn slice gives", text, table((*head, *ends), rows) or NONE)


def _instead(found: dict[tuple[str, str], Score], results: Results) -> str:
    datasets = list(dict.fromkeys(dataset for dataset, method in found if method in BASELINES))
    methods = [m for m in (OURS, *BASELINES) if any((dataset, m) in found for dataset in datasets)]
    rows: list[list[str | None]] = []
    for m in methods:
        own = [found.get((dataset, m)) for dataset in datasets]
        rows.append([METHODS[m].title, METHODS[m].given, *(score.cell() if score else None for score in own)])
    for count in (2, 3):
        cells = [_after(results, dataset, count) for dataset in datasets]
        rows += [[METHODS[OURS].title, f"{count} slices, each time the worst", *cells]] * any(cells)
    text = (
        "Dice on the same volumes from what else a user could do. Grow-cut is Slicer's *Grow from seeds*, its"
        " seeds the drawn slice and its background."
    )
    gaps = [
        f"{short(ours.dataset)} {interval(paired(ours.rows, other.rows, ours.structures))}"
        for ours in _ours(found)
        if (other := found.get((ours.dataset, PAINTED)))
    ]
    beside = "QNetSegment minus grow-cut with painted ends, points of Dice by patient, with 95 % intervals: "
    head = ("method", "the user draws", *map(short, datasets))
    return section(
        "What else one could do",
        text,
        table(head, rows) or NONE,
        f"{beside}{'; '.join(gaps)}." if gaps else "",
    )


def _after(results: Results, dataset: str, count: int) -> str | None:
    """Our cell after some drawn slices, from R2."""
    for r in of_protocol(results, "R2"):
        if r["dataset"] == dataset and WORST in r["curves"] and count <= r["rounds"]:
            last: dict[tuple[str, str], MethodRow] = {}
            for row in r["rows"]:  # a structure with no slice left to draw keeps its last value
                if (row["method"], row["pick"]) == (OURS, WORST) and row["round"] <= count:
                    last[row["query"], row["structure"]] = row
            return _cell(r["curves"][WORST][OURS]["dice"][count - 1]["mean"]["dice"], last.values())
    return None


def _effort(results: Results) -> str:
    speed = [
        [
            *(computer(r), r["precision"], f"{r['slices']} slices, {r['size']} x {r['size']} pixels"),
            *(number(r[key]) for key in ("first_seconds", "correction_seconds")),
            number((r["growcut_seconds"] or [None])[0]),
        ]
        for r in _speed(results)
    ]
    head = ("computer, without a GPU", "arithmetic", "volume", "first result, s", "after a second slice, s")
    drawn = [
        [
            *(short(r["dataset"]), PICKS[pick]),
            number(headline["slices_for_goal"], 0) or f"over {r['rounds']}",
            *(f"{headline['reached']:.0f} within {r['rounds']}", number(headline["flag_hit"], 0)),
        ]
        for r in of_protocol(results, "R2")
        for pick, methods in r["headlines"].items()
        if (headline := methods.get(OURS))
    ]
    goal = f"{100 * GOAL:.0f}"
    columns = ("images", "drawn next", f"slices until Dice is {goal}, for half of the structures")
    more = (f"structures that reach {goal}, %", f"flagged slice is one of the {WORST_FEW} worst, %")
    return section(
        "How long it takes, and how many slices to draw",
        "The software computes in bf16 where the processor can, else in fp32." if speed else "",
        table((*head, "grow-cut, first result, s"), speed) or NONE,
        table((*columns, *more), drawn),
    )


def _speed(results: Results) -> Results:
    measured, _ = measured_so(results, "correction", "other_voxels_one_thread")
    return [r for r in measured if r["device"] == "cpu"]


def _failures(ours: list[Score], results: Results) -> str:
    shapes = [[title, len(own), _cell(_mean(own), own)] for title, own in _kinds(ours).items()]
    return section(
        "Where it fails",
        "By shape, all data sets above together:" if shapes else "",
        table(("shape", "structures scored", "Dice"), shapes),
        other_patients.all_results(results),
        _list([*other_patients.of_several(results), *other_patients.without_it(results)]),
    )


def _kinds(ours: list[Score]) -> dict[str, list[R1Row]]:
    """Rows of all data sets together by the shape of the structure."""
    rows = [row for score in ours for row in score.rows]
    by_kind = {title: [row for row in rows if row["kind"] == kind] for kind, title in KINDS.items()}
    return {title: own for title, own in by_kind.items() if own}


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
