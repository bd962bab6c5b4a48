"""Masks that are kept only where they are not empty.

A drawing of a few slices occupies a sliver of a volume of 80 million voxels. Everything that is done after
each stroke of the user works on that sliver, never on arrays of the volume's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Box:
    """The part of a mask that holds its voxels.

    mask: (k, j, i) bool, of size 0 if the mask is empty.
    start: (k, j, i) where it begins on its grid; it may begin before 0 and end beyond the grid.
    """

    mask: np.ndarray
    start: Triple

    @classmethod
    def empty(cls) -> Box:
        """No voxel at all."""
        return cls(np.zeros((0, 0, 0), bool), (0, 0, 0))

    @classmethod
    def around(cls, array: np.ndarray, label: int | None = None, start: Triple = (0, 0, 0)) -> Box:
        """The smallest box around the voxels of a (K, J, I) array that have `label`, or are not 0."""
        # Slice by slice: each stays in the processor's cache, and there is no temporary of the array's size.
        occupied = []
        footprint = np.zeros(array.shape[1:], bool)
        for k, part in enumerate(array):
            if label is not None and part.max() < label:
                continue  # the quickest way over the empty slices of a shared label map
            drawn = part != 0 if label is None else part == label
            if drawn.any():
                occupied.append(k)
                footprint |= drawn
        if not occupied:
            return cls.empty()
        rows, columns = (np.flatnonzero(footprint.any(axis=axis)) for axis in (1, 0))
        bounds = [(found[0], found[-1] + 1) for found in (occupied, rows, columns)]
        part = array[tuple(slice(low, high) for low, high in bounds)]
        mask = part != 0 if label is None else part == label
        k, j, i = (int(low) + begin for (low, _), begin in zip(bounds, start, strict=True))
        return cls(mask, (k, j, i))

    @property
    def is_empty(self) -> bool:
        """Whether there is no voxel."""
        return self.mask.size == 0

    @property
    def stop(self) -> Triple:
        """(k, j, i) behind its last voxel."""
        k, j, i = (begin + count for begin, count in zip(self.start, self.mask.shape, strict=True))
        return k, j, i

    @property
    def where(self) -> tuple[slice, slice, slice]:
        """Its part of an array of the whole grid; it must lie inside."""
        k, j, i = (slice(low, high) for low, high in zip(self.start, self.stop, strict=True))
        return k, j, i

    @property
    def count(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.mask))

    def values(self, array: np.ndarray, start: Triple = (0, 0, 0)) -> np.ndarray:
        """(count,) what an array that begins at `start` of the grid holds at the voxels, in their order."""
        k, j, i = (a - b for a, b in zip(self.start, start, strict=True))
        return array[Box(self.mask, (k, j, i)).where][self.mask]

    def moved(self, steps: np.ndarray) -> Box:
        """The box on another grid; steps: (4, 4) whole numbers, from its (i, j, k, 1) to the other's.

        `steps` must only permute, flip and shift the axes (see `lattice.whole_steps`).
        """
        if self.is_empty:
            return self
        # Coordinate c (i, j, k) is the array axis 2 - c.
        sources = [int(np.abs(steps[coordinate, :3]).argmax()) for coordinate in (2, 1, 0)]
        mask = self.mask.transpose([2 - source for source in sources])
        start, turns = [], []
        for coordinate, source in zip((2, 1, 0), sources, strict=True):
            flipped = steps[coordinate, source] < 0
            edge = -(self.stop[2 - source] - 1) if flipped else self.start[2 - source]
            start.append(int(steps[coordinate, 3]) + edge)
            turns.append(slice(None, None, -1 if flipped else 1))
        return Box(mask[tuple(turns)], (start[0], start[1], start[2]))

    def clipped(self, shape: Triple) -> Box:
        """The smallest box around the voxels inside a grid of that shape."""
        low = [max(begin, 0) for begin in self.start]
        high = [min(end, count) for end, count in zip(self.stop, shape, strict=True)]
        if low == list(self.start) and high == list(self.stop):
            return self
        if any(begin >= end for begin, end in zip(low, high, strict=True)):
            return Box.empty()
        inside = self.mask[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, self.start, strict=True))]
        return Box.around(inside, start=(low[0], low[1], low[2]))

    def placed(self, shape: Triple) -> np.ndarray:
        """(K, J, I) bool array of that shape with the voxels that are inside it."""
        whole = np.zeros(shape, bool)
        inside = self.clipped(shape)
        whole[tuple(slice(a, b) for a, b in zip(inside.start, inside.stop, strict=True))] = inside.mask
        return whole

    def joined(self, other: Box) -> Box:
        """The box around the voxels of both."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        start = [min(a, b) for a, b in zip(self.start, other.start, strict=True)]
        stop = [max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        mask = np.zeros([b - a for a, b in zip(start, stop, strict=True)], bool)
        for box in (self, other):
            where = [slice(a - s, b - s) for a, b, s in zip(box.start, box.stop, start, strict=True)]
            mask[tuple(where)] |= box.mask
        return Box(mask, (start[0], start[1], start[2]))

    def meeting(self, other: Box) -> Box:
        """The box around the voxels that both have."""
        low = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        high = [min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return Box.empty()
        parts = [
            box.mask[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, box.start, strict=True))]
            for box in (self, other)
        ]
        return Box.around(parts[0] & parts[1], start=(low[0], low[1], low[2]))

    def without(self, other: Box) -> Box:
        """The voxels that `other` does not have."""
        if self.is_empty or other.is_empty:
            return self
        mask = self.mask.copy()
        low = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        high = [max(a, b) for a, b in zip(low, map(min, self.stop, other.stop), strict=True)]
        ours = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, self.start, strict=True))
        theirs = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, other.start, strict=True))
        mask[ours] &= ~other.mask[theirs]
        return Box.around(mask, start=self.start)

    def on_slice(self, axis: int, at: int) -> Box:
        """The voxels whose index along an array axis is `at`."""
        if not self.start[axis] <= at < self.stop[axis]:
            return Box.empty()
        return Box.around(self.mask[self._slab(axis, at)], start=self._moved_start(axis, at))

    def _slab(self, axis: int, at: int) -> tuple[slice, ...]:
        where = [slice(None)] * 3
        where[axis] = slice(at - self.start[axis], at - self.start[axis] + 1)
        return tuple(where)

    def _moved_start(self, axis: int, at: int) -> Triple:
        k, j, i = (at if other == axis else begin for other, begin in enumerate(self.start))
        return k, j, i
