"""Which slices the simulated users draw. Every choice depends on the seed and the names only."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from qnetseg.errors import DatasetError

from .collections import Study

LARGEST, RANDOM = "largest", "random"
CHOICES = (LARGEST, RANDOM)


def occupied_slices(study: Study, truth: np.ndarray) -> np.ndarray:
    """Ascending indices of the slices that hold a structure. Raises `DatasetError` for fewer than two."""
    occupied = np.flatnonzero(truth.any(axis=(1, 2)))
    if len(occupied) < 2:
        held = "one slice" if len(occupied) else "no slice"
        raise DatasetError(f"It is on {held} of {study.name}, so nothing would be left to score.")
    return occupied


def largest(truth: np.ndarray) -> int:
    """The slice with the largest area, the first of equals."""
    return int(truth.sum(axis=(1, 2)).argmax())


def from_the_middle(occupied: np.ndarray, seed: int, *names: str) -> int:
    """A random slice of the middle half of a structure, always the same for one seed and names."""
    count = len(occupied)
    half = occupied[count // 4 : max(count // 4 + 1, count - count // 4)]
    return int(half[_generator(seed, *names).integers(len(half))])


def pairs(
    supports: Sequence[str], queries: Sequence[str] | None, seed: int, count: int | None = None
) -> list[tuple[str, str]]:
    """Ordered pairs (support, query) of patients, in an order that is fair after any number.

    Each round gives every query once, with another support than in the rounds before; supports are spread as
    evenly. A stratified subset is the beginning of the list.

    Args:
        supports: names.
        queries: names in another collection; None for the supports themselves, never paired with themselves.
        seed: of the order.
        count: how many pairs; None for all.
    """
    rng = np.random.default_rng(seed)
    order = [supports[i] for i in rng.permutation(len(supports))]
    if queries is None:
        asked = list(order)
        shifts = 1 + rng.permutation(len(order) - 1)
    else:
        asked = [queries[i] for i in rng.permutation(len(queries))]
        shifts = rng.permutation(len(order))
    found = [
        (order[(position + int(shift)) % len(order)], query)
        for shift in shifts
        for position, query in enumerate(asked)
    ]
    return found[:count]


def _generator(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])
