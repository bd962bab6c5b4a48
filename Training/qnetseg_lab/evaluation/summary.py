"""Means over patients of the rows of a protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict, cast

import numpy as np

from .metrics import Measures, bootstrap_interval, bootstrap_mean_interval

# Measures of a row, and what turns them into the units of tables: per cent, and mm.
Measure = Literal["dice", "iou", "surface_dice", "hd95"]
FACTORS: dict[Measure, float] = {"dice": 100.0, "iou": 100.0, "surface_dice": 100.0, "hd95": 1.0}


class Row(Measures):
    query: str
    structure: str


class PairKey(TypedDict):
    structure: str
    query: str
    support: str


class PairRow(PairKey, Measures, total=False):
    fold: int  # in a file of all folds


class Figures(Measures):
    interval: tuple[float, float]
    patients: int
    pairs: int
    hd95_undefined: int


Summary = dict[str, Figures]  # by structure, and "mean"


def summarise(rows: Sequence[Row], structures: Iterable[str]) -> Summary:
    """Per structure and overall: mean Dice, IoU and surface Dice in per cent, mean HD95 in mm, the 95 %
    interval of the Dice over patients, and their number; also the number of pairs and how many of them have
    an undefined HD95 (an empty prediction), which its mean leaves out.

    Every patient counts once: rows of the same query under several supports are averaged first, without
    undefined values.

    Args:
        rows: a measure that all lack is None in the result.
        structures: names in the order of the result; those without rows are left out.
    """
    names = list(structures)
    tables = {key: patient_table(rows, names, key) * factor for key, factor in FACTORS.items()}
    there = [not np.isnan(column).all() for column in tables["dice"].T]
    summary: Summary = {}
    for column, structure in enumerate(names):
        if there[column]:
            scores = tables["dice"][:, column]
            scores = scores[~np.isnan(scores)]
            values = {key: table[:, column] for key, table in tables.items()}
            own = [row for row in rows if row["structure"] == structure]
            summary[structure] = _figures(values, bootstrap_interval(scores.tolist()), len(scores), own)
    means = {key: np.array([entry[key] for entry in summary.values()], dtype=float) for key in FACTORS}
    interval = bootstrap_mean_interval(tables["dice"][:, there])
    summary["mean"] = _figures(means, interval, len(tables["dice"]), rows)
    return summary


def _figures(
    values: dict[Measure, np.ndarray], interval: tuple[float, float], patients: int, rows: Sequence[Row]
) -> Figures:
    return {
        **cast(Measures, {key: _mean(own) for key, own in values.items()}),
        "interval": interval,
        "patients": patients,
        "pairs": len(rows),
        "hd95_undefined": sum("hd95" in row and row["hd95"] is None for row in rows),
    }


def patient_table(
    rows: Sequence[Row], structures: Sequence[str], key: Measure, patients: Sequence[str] | None = None
) -> np.ndarray:
    """(patients, structures) means of a measure over supports; not a number where there is none.

    patients: in the order of the result; None for those of the rows.
    """
    if patients is None:
        patients = list(dict.fromkeys(row["query"] for row in rows))
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        value = row.get(key)
        if value is not None:
            cells.setdefault((row["query"], row["structure"]), []).append(value)
    return np.array([[np.mean(cells.get((p, s), [np.nan])) for s in structures] for p in patients])


def _mean(values: np.ndarray) -> float | None:
    """Mean of what is defined; None if nothing is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None
