"""From rows to figures, beyond what `summary` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from ..comparison import Difference, difference
from ..summary import Row, patient_table
from .rows import MethodRow

Own = TypeVar("Own", bound=MethodRow)
Item = TypeVar("Item")


def by_method(rows: Iterable[Own]) -> dict[str, list[Own]]:
    """The rows of each method, in the order in which the methods occur."""
    found: dict[str, list[Own]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def paired(rows: Sequence[Row], other: Sequence[Row], structures: Sequence[str]) -> Difference:
    """Difference in points of Dice, first minus other, on the patients and structures that both have.

    A patient's drawings are averaged; empty where nothing is shared.
    """
    patients = list(dict.fromkeys(row["query"] for row in rows))
    first, second = (patient_table(side, structures, "dice", patients) for side in (rows, other))
    table = 100 * (first - second)
    return {} if np.isnan(table).all() else difference(table)


def worst_tenth(rows: Iterable[Row]) -> float:
    """Mean Dice in per cent of the worst tenth of the rows, at least of one."""
    dice = 100 * np.sort([row["dice"] for row in rows])
    return float(dice[: max(1, round(len(dice) / 10))].mean())


def average(rows: Iterable[Item], value: Callable[[Item], float | None]) -> float | None:
    """Mean of a figure over all rows that have it."""
    known = [number for row in rows if (number := value(row)) is not None]
    return float(np.mean(known)) if known else None


def median(rows: Iterable[Item], value: Callable[[Item], float | None]) -> float | None:
    """Median of a figure over all rows that have it."""
    known = [number for row in rows if (number := value(row)) is not None]
    return float(np.median(known)) if known else None
