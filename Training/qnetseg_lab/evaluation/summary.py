"""Means over patients of the rows of a protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .metrics import bootstrap_interval, bootstrap_mean_interval

# Measures of a row, and what turns them into the units of tables: per cent, and mm.
FACTORS = {"dice": 100.0, "iou": 100.0, "surface_dice": 100.0, "hd95": 1.0}


def summarise(rows: Sequence[dict[str, Any]], structures: Iterable[str]) -> dict[str, Any]:
    """Per structure and overall: mean Dice, IoU and surface Dice in per cent, mean HD95 in mm, the 95 %
    interval of the Dice over patients, and their number; also the number of pairs and how many of them have
    an undefined HD95 (an empty prediction), which its mean leaves out.

    Every patient counts once: rows of the same query under several supports are averaged first, without
    undefined values.

    Args:
        rows: {query, structure, and measures: fractions, or mm}; a measure that rows lack is None.
        structures: names in the order of the result; those without rows are left out.
    """
    names = list(structures)
    tables = {key: patient_table(rows, names, key) * factor for key, factor in FACTORS.items()}
    there = [not np.isnan(column).all() for column in tables["dice"].T]
    summary: dict[str, Any] = {}
    for column, structure in enumerate(names):
        if there[column]:
            scores = tables["dice"][:, column]
            scores = scores[~np.isnan(scores)]
            summary[structure] = {key: _mean(table[:, column]) for key, table in tables.items()}
            summary[structure] |= {
                "interval": bootstrap_interval(scores.tolist()),
                "patients": len(scores),
                **_pairs([row for row in rows if row["structure"] == structure]),
            }
    summary["mean"] = {
        key: _mean(np.array([entry[key] for entry in summary.values()], dtype=float)) for key in FACTORS
    }
    summary["mean"]["interval"] = bootstrap_mean_interval(tables["dice"][:, there])
    summary["mean"] |= {"patients": len(tables["dice"]), **_pairs(rows)}
    return summary


def _pairs(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    undefined = sum("hd95" in row and row["hd95"] is None for row in rows)
    return {"pairs": len(rows), "hd95_undefined": undefined}


def patient_table(
    rows: Sequence[dict[str, Any]], structures: Sequence[str], key: str, patients: Sequence[str] | None = None
) -> np.ndarray:
    """(patients, structures) means of a measure over supports; not a number where there is none.

    patients: in the order of the result; None for those of the rows.
    """
    if patients is None:
        patients = list(dict.fromkeys(row["query"] for row in rows))
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.get(key) is not None:
            cells.setdefault((row["query"], row["structure"]), []).append(row[key])
    return np.array([[np.mean(cells.get((p, s), [np.nan])) for s in structures] for p in patients])


def _mean(values: np.ndarray) -> float | None:
    """Mean of what is defined; None if nothing is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None
