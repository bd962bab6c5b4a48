"""What windows have found so far, slice by slice."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .confidence import Trust
from .window import Box


@dataclass
class Found:
    """What was found in a stack.

    Attributes:
        probability: (S, H, W) float32.
        trust: what speaks for or against each slice.
    """

    probability: np.ndarray
    trust: Trust


@dataclass(frozen=True)
class _Plane:
    box: Box
    logits: Tensor
    presence: float


class Planes:
    """Log-odds of slices of a stack (S, H, W), each known within a box and sure to be background outside it.

    Slices between known ones are interpolated; those before the first and after the last hold nothing.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._planes: dict[int, _Plane] = {}

    def put(self, index: int, box: Box, logits: Tensor, presence: float) -> None:
        """A slice: (h, w) float32 log-odds in a box of (H, W), and the probability that it holds anything."""
        self._planes[index] = _Plane(box, logits.clone(), presence)

    def known(self) -> list[int]:
        """Slices that were put, rising."""
        return sorted(self._planes)

    def drop(self, first: int, last: int) -> None:
        """Forget the slices from `first` to `last`."""
        self._planes = {index: p for index, p in self._planes.items() if not first <= index <= last}

    def at(self, index: int) -> Tensor:
        """(H, W) float32 log-odds."""
        low, high, share = self._around(index)
        if low is None or high is None:
            return torch.full(self.shape[1:], -math.inf)
        if share == 0:
            return self._full(low)
        return self._full(low).mul_(1 - share).add_(self._full(high), alpha=share)

    def presence_at(self, index: int) -> float:
        """Probability that the slice holds any of the structure."""
        low, high, share = self._around(index)
        if low is None or high is None:
            return 0.0
        return (1 - share) * self._planes[low].presence + share * self._planes[high].presence

    def probability(self) -> np.ndarray:
        """(S, H, W) float32 of the whole stack."""
        probability = np.zeros(self.shape, np.float32)
        for index in range(self.shape[0]):
            if self._around(index)[0] is not None:
                probability[index] = torch.sigmoid(self.at(index)).numpy()
        return probability

    def presence(self) -> np.ndarray:
        """(S,) float32, `presence_at` of every slice."""
        return np.array([self.presence_at(index) for index in range(self.shape[0])], np.float32)

    def _around(self, index: int) -> tuple[int | None, int | None, float]:
        """The known slices below and above, and how far from the first the slice lies between them."""
        known = self.known()
        place = bisect_right(known, index)
        if place == 0:
            return None, None, 0.0
        low = known[place - 1]
        if low == index:
            return low, low, 0.0
        if place == len(known):
            return None, None, 0.0
        return low, known[place], (index - low) / (known[place] - low)

    def _full(self, index: int) -> Tensor:
        plane = self._planes[index]
        full = torch.full(self.shape[1:], -math.inf)
        full[slice(*plane.box[0]), slice(*plane.box[1])] = plane.logits
        return full
