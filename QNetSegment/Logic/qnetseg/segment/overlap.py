"""How far masks overlap, and voxels that several structures claim. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .result import Segmentation


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 0 where both are empty."""
    together = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / together if together else 0.0


class Overlay:
    """The structures of one volume, laid over each other as they come, so that no two have the same voxel.

    A voxel that several claim goes to the one with the highest confidence there, the first of equals. However
    many structures come, the memory is that of two.

    owner: (K, J, I) uint8 or, from the 256th structure on, uint16: which one has the voxel, counted from 1; 0
    for none.
    highest: (K, J, I) float32, the highest confidence of any structure; only with `keep_highest`.
    """

    def __init__(self, keep_highest: bool = False) -> None:
        self.owner = np.zeros((0, 0, 0), np.uint8)
        self.highest: np.ndarray | None = None
        self._keep_highest = keep_highest
        self._best = np.zeros((0, 0, 0), np.float32)  # confidence of the owner
        self._contested: np.ndarray | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, result: Segmentation) -> None:
        """Lay the next structure over those before; the array of its confidence is the overlay's now."""
        self._count += 1
        if self._count == 1:
            self.owner = (result.mask > 0).view(np.uint8)
            self._best = result.confidence
            self.highest = self._best if self._keep_highest else None
            return
        if self._contested is None:
            self._contested = np.zeros(self.owner.shape, bool)
            if self.highest is self._best or not self._best.flags.writeable:
                self._best = self._best.copy()
            if self.highest is not None and not self.highest.flags.writeable:
                self.highest = self.highest.copy()
        if self._count > np.iinfo(self.owner.dtype).max:
            self.owner = self.owner.astype(np.uint16)
        for index, confidence in enumerate(result.confidence):  # temporaries of a slice, not of a volume
            claimed, owner, best = result.mask[index] > 0, self.owner[index], self._best[index]
            self._contested[index] |= claimed & (owner > 0)
            wins = claimed & ((owner == 0) | (confidence > best))
            owner[wins] = self._count
            best[wins] = confidence[wins]
            if self.highest is not None:
                np.maximum(self.highest[index], confidence, out=self.highest[index])

    def finish(self, values: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """`labels`, and `highest`; the overlay then keeps no array, so that there is memory to write them."""
        found = self.labels(values), self.highest
        self.owner, self._best, self.highest = self.owner[:0].copy(), self._best[:0].copy(), None
        return found

    @property
    def contested(self) -> int:
        """Voxels that more than one structure claimed."""
        return 0 if self._contested is None else int(np.count_nonzero(self._contested))

    def mask(self, number: int) -> np.ndarray:
        """(K, J, I) uint8, 1 where the structure of this number, from 1, has the voxel."""
        return (self.owner == number).view(np.uint8)

    def labels(self, values: Sequence[int]) -> np.ndarray:
        """(K, J, I), for each voxel the value of its structure, of the smallest type that holds them all."""
        table = np.array([0, *values])
        kind = np.result_type(np.min_scalar_type(int(table.min())), np.min_scalar_type(int(table.max())))
        table = table.astype(kind)
        found = np.empty(self.owner.shape, kind)
        for index, owner in enumerate(self.owner):
            found[index] = table[owner]
        return found
