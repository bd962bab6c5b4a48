"""From rows to figures, beyond what `summary` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..comparison import difference
from ..summary import patient_table

Row = dict[str, Any]
Value = Callable[[Row], float | None]


def by_method(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each method, in the order in which the methods occur."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def paired(rows: Sequence[Row], other: Sequence[Row], structures: Sequence[str]) -> dict[str, Any]:
    """Difference in points of Dice, first minus other, on the patients and structures that both have.

    An entry of `comparison.difference`, with a patient's drawings averaged; empty where nothing is shared.
    """
    patients = list(dict.fromkeys(row["query"] for row in rows))
    first, second = (patient_table(side, structures, "dice", patients) for side in (rows, other))
    table = 100 * (first - second)
    return {} if np.isnan(table).all() else difference(table)


def worst_tenth(rows: Iterable[Row]) -> float:
    """Mean Dice in per cent of the worst tenth of the rows, at least of one."""
    dice = 100 * np.sort([row["dice"] for row in rows])
    return float(dice[: max(1, round(len(dice) / 10))].mean())


def average(rows: Iterable[Row], value: Value) -> float | None:
    """Mean of a figure over all rows that have it."""
    known = [number for row in rows if (number := value(row)) is not None]
    return float(np.mean(known)) if known else None


def median(rows: Iterable[Row], value: Value) -> float | None:
    """Median of a figure over all rows that have it."""
    known = [number for row in rows if (number := value(row)) is not None]
    return float(np.median(known)) if known else None
