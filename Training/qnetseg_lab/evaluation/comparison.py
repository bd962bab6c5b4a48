"""Paired comparison of two sets of result files of protocol P."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from qnetseg.errors import InputError, why
from qnetseg.parsing import parse_json, read_text

from .metrics import bootstrap_mean_interval
from .summary import FACTORS, Measure, PairRow

SAME = ("protocol", "dataset", "setting", "scheme")  # what both sides must have in common
UNITS: dict[Measure, str] = {"dice": "points", "iou": "points", "surface_dice": "points", "hd95": "mm"}
# With fewer, a bootstrap interval is far too narrow, and differences of one sign may be chance (sign test).
LEAST_PATIENTS = 6
NOISE = 2.0  # points; a smaller gain on 20 patients is noise unless its interval excludes zero


class Difference(TypedDict, total=False):  # empty where there are no pairs
    difference: float
    interval: list[float]  # 95 %
    patients: int
    excludes_zero: bool


def read_side(pattern: str) -> list[dict[str, Any]]:
    """Result files of protocol P by a path or a glob pattern, e.g. those of all folds.

    Raises:
        InputError: there are none, one cannot be read, they do not belong together, or a row is there twice.
    """
    paths = [Path(pattern)] if Path(pattern).is_file() else sorted(map(Path, glob.glob(pattern)))
    if not paths:
        raise InputError(
            f"There is no result file {pattern}.", "Name a file, or a pattern in quotes for several folds."
        )
    files = [_read(path) for path in paths]
    _require_same(files, *SAME, "method")
    seen: set[tuple[str, str, str]] = set()
    for path, content in zip(paths, files, strict=True):
        for row in content["rows"]:
            if _key(row) in seen:
                raise InputError(
                    f"{path.name} repeats rows of another file of {pattern}: {row['structure']} of case"
                    f" {row['query']} from case {row['support']}.",
                    "Name one file a fold, all of one model and variant.",
                )
            seen.add(_key(row))
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path))
        if content["protocol"] == "P" and all(key in content for key in SAME):
            for row in content["rows"]:
                _key(row), float(row["dice"])
            return dict(content)
    except OSError as error:
        raise InputError(f"The result file {path} cannot be read ({why(error)}).", "Check it.") from error
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{path.name} is not a result file of protocol P.",
        "Make one with: qnetseg evaluate p ... --output DIR.",
    )


def _key(row: PairRow) -> tuple[str, str, str]:
    return row["structure"], row["query"], row["support"]


def _require_same(files: list[dict[str, Any]], *keys: str) -> None:
    for key in keys:
        values = sorted({str(content.get(key)) for content in files})
        if len(values) > 1:
            raise InputError(
                f"The result files differ in their {key}: {' and '.join(values)}.",
                "Compare results of the same protocol, data set, setting and scheme.",
            )


def compare(
    first: list[dict[str, Any]], second: list[dict[str, Any]], metric: Measure = "dice"
) -> dict[str, Any]:
    """First minus second, paired by structure, query and support, patient by patient.

    A patient's value is the mean over supports; the interval resamples patients, with all their structures.

    Args:
        first, second: contents of result files, several for several folds; see `read_side`.
        metric: "dice", "iou" or "surface_dice" (in points, per cent), or "hd95" (in mm).

    Returns:
        {first, second: names; metric, unit; structures: {name: entry}; mean: entry; patients; pairs;
        unpaired; trained_on_scored_cases; sentence}; an entry is a `Difference`.

    Raises:
        InputError: the sides do not belong together or have no row in common.
    """
    if metric not in FACTORS:
        raise InputError(f"There is no measure {metric!r}.", f"Use one of {', '.join(FACTORS)}.")
    _require_same([*first, *second], *SAME)
    tables: list[dict[tuple[str, str, str], PairRow]] = [
        {_key(row): row for content in side for row in content["rows"]} for side in (first, second)
    ]
    both = [key for key in tables[0] if key in tables[1]]
    values: dict[tuple[str, str], list[float]] = {}
    for key in both:
        one, other = (table[key].get(metric) for table in tables)
        if one is not None and other is not None:
            values.setdefault((key[1], key[0]), []).append((one - other) * FACTORS[metric])
    if not values:
        raise InputError(
            f"The results have no case in common that has a value of {metric}.", "Compare the same folds."
        )
    patients = list(dict.fromkeys(patient for patient, _ in values))
    structures = list(dict.fromkeys(structure for _, structure in values))
    table = np.array([[np.mean(values.get((p, s), [np.nan])) for s in structures] for p in patients])
    entries = {name: difference(table[:, [column]]) for column, name in enumerate(structures)}
    overall = difference(table)
    names = [_name(side) for side in (first, second)]
    return {
        "comparison": "P",
        **{key: first[0][key] for key in SAME[1:]},
        "first": names[0],
        "second": names[1],
        "metric": metric,
        "unit": UNITS[metric],
        "structures": entries,
        "mean": overall,
        "patients": len(patients),
        "pairs": len(both),
        "unpaired": len(tables[0]) + len(tables[1]) - 2 * len(both),
        "trained_on_scored_cases": any(c.get("trained_on_scored_cases") for c in (*first, *second)),
        "sentence": _sentence(names, overall, metric),
    }


def difference(table: np.ndarray) -> Difference:
    """That of a table of differences.

    table: (patients, structures), not a number where a patient lacks a structure; at least one number. The
    difference is the mean over structures of their means over patients.
    """
    table = table[~np.isnan(table).all(axis=1)]
    low, high = bootstrap_mean_interval(table)
    columns = table[:, ~np.isnan(table).all(axis=0)]
    return {
        "difference": float(np.nanmean(columns, axis=0).mean()),
        "interval": [low, high],
        "patients": len(table),
        "excludes_zero": len(table) >= LEAST_PATIENTS and not low <= 0 <= high,
    }


def _name(side: list[dict[str, Any]]) -> str:
    """Models of a side, several folds as one, and what was done at test time."""
    options = side[0].get("options") or {}
    mode = (options.get("refinement") or {}).get("mode", "none")
    alpha = options.get("alpha")
    models = [str(content.get("model")) for content in side]
    if len(models) > 1:
        models = [re.sub(r"-fold\d$", "", model) for model in models]
    name = " + ".join(dict.fromkeys(models))
    return (
        name + (f", {mode}" if mode != "none" else "") + (f", alpha {alpha:g}" if alpha is not None else "")
    )


def _sentence(names: list[str], overall: Difference, metric: Measure) -> str:
    difference, (low, high), unit = overall["difference"], overall["interval"], UNITS[metric]
    figures = (
        f"{difference:+.1f} {unit} (95 % interval {low:+.1f} to {high:+.1f}, {overall['patients']} patients)"
    )
    if overall["patients"] < LEAST_PATIENTS:
        return f"Too few patients to claim a difference: {names[0]} minus {names[1]} is {figures}."
    if not overall["excludes_zero"]:
        return f"No difference can be claimed: {names[0]} minus {names[1]} is {figures}, which includes zero."
    better = (difference > 0) != (metric == "hd95")
    verdict = "better" if better else "worse"
    small = (
        f" Below {NOISE:g} points it is a small one." if unit == "points" and abs(difference) < NOISE else ""
    )
    return f"{names[0]} is {verdict} than {names[1]}: {figures}, which excludes zero.{small}"
