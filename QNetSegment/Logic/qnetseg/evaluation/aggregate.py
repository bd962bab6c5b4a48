"""From rows to figures: every patient counts once, intervals come from resampling patients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .metrics import BOOTSTRAP_DRAWS

Row = dict[str, Any]
Value = Callable[[Row], float | None]


def per_patient(rows: Iterable[Row], structures: Sequence[str], value: Value) -> dict[str, np.ndarray]:
    """patient -> (C,) float64: mean over the patient's rows for each structure, NaN where there are none."""
    found: dict[str, list[list[float]]] = {}
    for row in rows:
        number = value(row)
        if number is not None and row["structure"] in structures:
            cells = found.setdefault(row["study"], [[] for _ in structures])
            cells[structures.index(row["structure"])].append(number)
    return {
        patient: np.array([np.mean(cell) if cell else np.nan for cell in cells])
        for patient, cells in found.items()
    }


def mean_with_interval(values: np.ndarray, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Mean over structures of the means over patients, and its 95 % interval over patients.

    values: (P, C), NaN where a patient lacks the structure; a draw of patients in which a structure does not
    occur at all averages the others.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(values), size=(BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(_means(values[draws]), [2.5, 97.5])
    return float(_means(values[None])[0]), (float(low), float(high))


def _means(values: np.ndarray) -> np.ndarray:
    """(D, P, C) -> (D,)."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0).sum(axis=1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.asarray(np.nanmean(means, axis=1))


def dice_summary(rows: Sequence[Row], structures: Sequence[str], key: str = "dice") -> dict[str, Any]:
    """structure, and "mean" -> {dice in per cent, interval, patients}; only what occurs in the rows."""
    patients = per_patient(rows, structures, lambda row: row[key])
    summary: dict[str, Any] = {}
    if not patients:
        return summary
    table = 100 * np.stack(list(patients.values()))
    for column, structure in enumerate(structures):
        own = table[~np.isnan(table[:, column])][:, [column]]
        if len(own):
            summary[structure] = _entry(own)
    summary["mean"] = _entry(table)
    return summary


def _entry(table: np.ndarray) -> dict[str, Any]:
    mean, interval = mean_with_interval(table)
    return {"dice": mean, "interval": interval, "patients": len(table)}


def paired(
    rows: Sequence[Row], other: Sequence[Row], structures: Sequence[str], key: str = "dice"
) -> dict[str, Any]:
    """Difference in points of Dice, first minus other, on the patients and structures that both have."""
    first, second = (per_patient(side, structures, lambda row: row[key]) for side in (rows, other))
    shared = [patient for patient in first if patient in second]
    if not shared:
        return {}
    table = 100 * np.stack([first[patient] - second[patient] for patient in shared])
    table = table[~np.isnan(table).all(axis=1)]
    if not len(table):
        return {}
    mean, interval = mean_with_interval(table)
    return {"difference": mean, "interval": interval, "patients": len(table)}


def average(rows: Iterable[Row], value: Value) -> float | None:
    """Mean of a figure over all rows that have it."""
    known = [number for row in rows if (number := value(row)) is not None]
    return float(np.mean(known)) if known else None


def median(rows: Iterable[Row], value: Value) -> float | None:
    """Median of a figure over all rows that have it."""
    known = [number for row in rows if (number := value(row)) is not None]
    return float(np.median(known)) if known else None


def worst_tenth(rows: Iterable[Row], key: str = "dice") -> float | None:
    """Mean Dice in per cent of the worst tenth of the rows, at least one row."""
    known = np.sort([row[key] for row in rows])
    return float(100 * known[: max(1, round(len(known) / 10))].mean()) if len(known) else None
