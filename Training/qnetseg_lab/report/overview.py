"""The first page: what a clinician gets, what else could be done instead, and where it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.whole_volume.aggregate import paired, worst_tenth
from ..evaluation.whole_volume.drawn_slices import LARGEST, RANDOM
from ..evaluation.whole_volume.methods import METHODS
from ..evaluation.whole_volume.presence_fit import case_name
from ..evaluation.whole_volume.r2 import FLAG, GOAL, WORST
from ..evaluation.whole_volume.rows import MethodRow, R1Figures, R1Row
from ..evaluation.whole_volume.scoring import WORST_FEW
from .benchmarks import measured_so, where
from .markdown import NONE, interval, number, section, table
from .runs import Results

OURS = "qnet"
PAINTED = "growcut-ends"
BASELINES = (PAINTED, "growcut", "random-walker", "copy", "interpolation")
PICKS = {FLAG: "the slice that the software flags", WORST: "the worst slice"}
KINDS = {
    "compact": "compact (organs, chambers of the heart)",
    "shell": "hollow (heart muscle)",
    "many parts": "in several parts on one slice",
    "long and thin": "long and thin (vessels, spinal cord)",
}
DATASETS = {  # what it is called in short, and what it shows
    "chaos": ("abdominal MR", "CHAOST2: liver, kidneys, spleen"),
    "cmr": ("cardiac MR", "CMR: left ventricle, its muscle, right ventricle"),
    "sunnybrook": ("cardiac MR of another scanner", "Sunnybrook: left ventricle, its muscle"),
    "open-heart": ("contracted hearts", "Sunnybrook: left ventricle"),
    "open-ct": ("body CT", "organs, vessels, bones, outlined by another program"),
    "open-cord": ("neck MR", "spinal cord"),
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
    rows: list[list[str | None]] = []
    for ours in _ours(found):
        other = found.get((ours.dataset, PAINTED))
        rows.append([ours.title(), ours.cell(), other.cell() if other else None])
    lines = [
        f"Time: {r['first_seconds']:.1f} s for {r['slices']} slices on {where(r)}, without a GPU."
        for r in _speed(results)[-1:]
    ]
    kinds = _kinds(_ours(found))
    if len(kinds) > 1:
        title, own = min(kinds.items(), key=lambda entry: _mean(entry[1]))
        lines.append(f"It is worst on structures that are {title}: {_cell(_mean(own), own)}.")
    lines += [*_elsewhere(results), *_absent(results)]
    head = (
        *("Dice in per cent from one drawn slice (mean of the worst tenth)", METHODS[OURS].title),
        "Slicer's *Grow from seeds*, background painted beyond both ends, too",
    )
    return "\n\n".join([table(head, rows) or NONE, _list(lines)])


def _elsewhere(results: Results) -> Iterator[str]:
    """Sentences on another patient's volume: how long it takes, and how right it is, the best first."""
    times = [
        f"{r['kept_seconds']:.0f} s on {where(r)}, {r['precision']}"
        for r in results
        if r.get("bench") == "another patient" and r["device"] == "cpu"
    ]
    if times:
        yield f"Time in another patient's volume, after the first one: {'; '.join(times)}."
    seen = {True: " (its training images)"}
    single = [r for r in _r3(results, absent=False) if r.get("examples", 1) == 1]
    single.sort(key=lambda r: -r["summary"][OURS]["structures"]["mean"]["dice"])
    for source, said in (
        (False, "In another patient's volume it fails more often"),
        (True, "It fails most often where the patient that was drawn on has images of another kind"),
    ):
        told = [
            f"{_drawn_on(r)} {_r3_cell(r)}{seen.get(r['trained_on_scored_cases'], '')}"
            for r in single
            if bool(r["support_dataset"]) == source
        ]
        if told:
            yield f"{said}: {'; '.join(told)}."


def _ours(found: dict[tuple[str, str], Score]) -> list[Score]:
    return [score for (_, method), score in found.items() if method == OURS]


def _short(dataset: str) -> str:
    return DATASETS.get(dataset, (dataset, ""))[0]


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
        f"{_short(ours.dataset)} {interval(paired(ours.rows, other.rows, ours.structures))}"
        for ours in _ours(found)
        if (other := found.get((ours.dataset, PAINTED)))
    ]
    beside = "QNetSegment minus grow-cut with painted ends, points of Dice by patient, with 95 % intervals: "
    head = ("method", "the user draws", *map(_short, datasets))
    return section(
        "What else one could do",
        text,
        table(head, rows) or NONE,
        f"{beside}{'; '.join(gaps)}." if gaps else "",
    )


def _after(results: Results, dataset: str, count: int) -> str | None:
    """Our cell after some drawn slices, from R2."""
    for r in _of(results, "R2"):
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
            *(where(r), r["precision"], f"{r['slices']} slices, {r['size']} x {r['size']} pixels"),
            *(number(r[key]) for key in ("first_seconds", "correction_seconds")),
            number((r["growcut_seconds"] or [None])[0]),
        ]
        for r in _speed(results)
    ]
    head = ("computer, without a GPU", "arithmetic", "volume", "first result, s", "after a second slice, s")
    drawn = [
        [
            *(_short(r["dataset"]), PICKS[pick]),
            number(headline["slices_for_goal"], 0) or f"over {r['rounds']}",
            *(f"{headline['reached']:.0f} within {r['rounds']}", number(headline["flag_hit"], 0)),
        ]
        for r in _of(results, "R2")
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
    elsewhere = [
        [
            *(_drawn_on(r), figures["rows"], _r3_cell(r), number(figures["doubted"], 0)),
            *(
                number(figures["dice_doubted"], 0),
                f"{figures['seconds']:.0f}, {r['machine']['cores']} cores",
                _seen(r),
            ),
        ]
        for r in _r3(results, absent=False)
        if (figures := r["summary"][OURS])
    ]
    head = ("drawn in one patient, found in another", "results", "Dice", "with a warning, %", "Dice of those")
    return section(
        "Where it fails",
        "By shape, all data sets above together:" if shapes else "",
        table(("shape", "structures scored", "Dice"), shapes),
        table((*head, "seconds", "trained on images of these patients"), elsewhere),
        _list([*_several(results), *_absent(results)]),
    )


def _several(results: Results) -> list[str]:
    """Sentences on examples of several patients, beside one of them alone."""
    found, one = [], {_r3_key(r): r for r in _r3(results, absent=False) if r.get("examples", 1) == 1}
    for r in _r3(results, absent=False):
        if r.get("examples", 1) == 1 or (alone := one.get(_r3_key(r))) is None:
            continue
        rows, others = (
            {(row["query"], row["support"], row["structure"]): row for row in side["rows"]}
            for side in (r, alone)
        )
        both = [key for key in rows if key in others]
        if not both:
            continue
        gain = paired([rows[key] for key in both], [others[key] for key in both], r["structures"])
        found.append(
            f"With examples of {r['examples']} patients instead of one ({_drawn_on(alone)}): {interval(gain)}"
            f" points of Dice with the 95 % interval, {len(both)} results."
        )
    return found


def _r3_key(r: dict[str, Any]) -> tuple[str, str | None]:
    return r["dataset"], r["support_dataset"]


def _kinds(ours: list[Score]) -> dict[str, list[R1Row]]:
    """Rows of all data sets together by the shape of the structure."""
    rows = [row for score in ours for row in score.rows]
    by_kind = {title: [row for row in rows if row["kind"] == kind] for kind, title in KINDS.items()}
    return {title: own for title, own in by_kind.items() if own}


def _r3(results: Results, absent: bool) -> Results:
    return [r for r in _of(results, "R3") if r["absent"] == absent and OURS in r["summary"]]


def _r3_cell(r: dict[str, Any]) -> str:
    figures = r["summary"][OURS]
    return f"{figures['structures']['mean']['dice']:.0f} ({figures['worst_tenth']:.0f})"


def _drawn_on(r: dict[str, Any]) -> str:
    source = r["support_dataset"]
    drawn = _short(r["dataset"]) + (f", drawn in {_short(source)}" if source else "")
    return drawn + (f", {r['examples']} patients drawn" if r.get("examples", 1) > 1 else "")


def _seen(r: dict[str, Any]) -> str:
    return {True: "yes", False: "no"}.get(r["trained_on_scored_cases"], "unknown")


def _absent(results: Results) -> list[str]:
    """Sentences on volumes without the structure.

    The engine's weights for it were found on these very results. What is told of a data set is, where that is
    known, what weights that were found on the others make of it.
    """
    judged = {
        row["dataset"]: row
        for result in _of(results, "PRESENCE")
        for row in result["judges"]["WHOLE"]["measured"]
    }
    sentences = []
    for r in _r3(results, absent=True):
        figures, own = r["summary"][OURS], judged.get(case_name(r))
        empty, warned = figures["left_empty"], figures["doubted"]
        end = f"; {figures['false_ml']:.0f} ml are marked wrongly (median)"
        if own:
            empty, warned = own["absent_refused"], own["absent_refused"] + own["absent_doubted"]
            end = f" (of those that hold it, {own['present_refused']:.0f} % are left empty)"
        sentences.append(
            f"Another patient's volume that does not hold the structure ({_short(r['dataset'])}):"
            f" {empty:.0f} % are left empty, {warned:.0f} % are empty or come with a warning{end}."
        )
    return sentences


def _of(results: Results, protocol: str) -> Results:
    return [r for r in results if r.get("protocol") == protocol]


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
