"""Another patient's volume on the first page: how right, how long, and whether the structure is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..evaluation.whole_volume.aggregate import paired
from ..evaluation.whole_volume.presence_fit import case_name
from .benchmarks import computer
from .markdown import interval, number, table
from .names import OURS, short
from .runs import Results, of_protocol

WRONG = 50  # Dice in per cent, below which less than half of a result and its outline overlap


def sentences(results: Results) -> Iterator[str]:
    """Sentences on another patient's volume: how long it takes, and how right it is, the best first."""
    times = [
        f"{r['first_seconds']:.0f} s for the first volume, {r['kept_seconds']:.0f} s for each further one, on"
        f" {computer(r)}, {r['precision']}"
        for r in results
        if r.get("bench") == "another patient" and r["device"] == "cpu"
    ]
    if times:
        yield f"Time in another patient's volume: {'; '.join(times)}."
    seen = {True: " (measured on images that Q-Net was trained on)"}
    single = sorted(_single(results), key=lambda r: -r["summary"][OURS]["structures"]["mean"]["dice"])
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


def all_results(results: Results) -> str:
    """The table of all results."""
    found = [
        [
            *(_drawn_on(r), figures["rows"], _r3_cell(r), number(figures["doubted"], 0)),
            *(number(figures["dice_doubted"], 0), number(_unwarned(r), 0)),
            *(f"{figures['seconds']:.0f}, {r['machine']['cores']} cores", _seen(r)),
        ]
        for r in _r3(results, absent=False)
        if (figures := r["summary"][OURS])
    ]
    head = ("drawn in one patient, found in another", "results", "Dice", "with a warning, %", "Dice of those")
    more = (f"below {WRONG} without a warning, %", "seconds", "trained on images of these patients")
    return table((*head, *more), found)


def of_several(results: Results) -> list[str]:
    """Sentences on examples of several patients, beside one of them alone."""
    found, one = [], {_r3_key(r): r for r in _single(results)}
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


def without_it(results: Results) -> list[str]:
    """Sentences on volumes without the structure, and on those that are taken for such.

    The engine's weights for it were found on these very results. What is told of a data set is, where that is
    known, what weights that were found on the others make of it.
    """
    judged = {
        row["dataset"]: row
        for result in of_protocol(results, "PRESENCE")
        for row in result["judges"]["WHOLE"]["measured"]
    }
    empty, warned, sentences = [], [], []
    for r in _r3(results, absent=True):
        name, figures, own = short(r["dataset"]), r["summary"][OURS], judged.get(case_name(r))
        if own:
            empty.append(f"{own['absent_refused']:.0f} % ({name})")
            warned.append(f"{own['absent_refused'] + own['absent_doubted']:.0f} % ({name})")
        else:
            sentences.append(
                f"Another patient's volume that does not hold the structure ({name}):"
                f" {figures['left_empty']:.0f} % are left empty, {figures['doubted']:.0f} % are empty or come"
                f" with a warning; {figures['false_ml']:.0f} ml are marked wrongly (median)."
            )
    refused = [
        f"{own['present_refused']:.0f} % ({_drawn_on(r)})"
        for r in _single(results)
        if (own := judged.get(case_name(r)))
    ]
    parts = [f"of those without it, {_and(empty)}; empty or with a warning, {_and(warned)}"] * bool(empty)
    parts += [f"of those with it, {_and(refused)}"] * bool(refused)
    if parts:
        sentences.append(
            "Another patient's volume stays empty where the structure seems not to be there:"
            f" {'; '.join(parts)}. (Judged with limits that were found on the other images.)"
        )
    return sentences


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _unwarned(r: dict[str, Any]) -> float:
    """Share of results in per cent that are wrong and do not say so."""
    own = [row for row in r["rows"] if row["method"] == OURS]
    return 100 * float(np.mean([100 * row["dice"] < WRONG and not row["doubted"] for row in own]))


def _r3_key(r: dict[str, Any]) -> tuple[str, str | None]:
    return r["dataset"], r["support_dataset"]


def _r3(results: Results, absent: bool) -> Results:
    return [r for r in of_protocol(results, "R3") if r["absent"] == absent and OURS in r["summary"]]


def _single(results: Results) -> Results:
    """Those after an example of one patient."""
    return [r for r in _r3(results, absent=False) if r.get("examples", 1) == 1]


def _r3_cell(r: dict[str, Any]) -> str:
    figures = r["summary"][OURS]
    return f"{figures['structures']['mean']['dice']:.0f} ({figures['worst_tenth']:.0f})"


def _drawn_on(r: dict[str, Any]) -> str:
    source = r["support_dataset"]
    drawn = short(r["dataset"]) + (f", drawn in {short(source)}" if source else "")
    return drawn + (f", {r['examples']} patients drawn" if r.get("examples", 1) > 1 else "")


def _seen(r: dict[str, Any]) -> str:
    return {True: "yes", False: "no"}.get(r["trained_on_scored_cases"], "unknown")
