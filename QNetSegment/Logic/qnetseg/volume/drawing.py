"""What a user drew of one structure, without the image: the drawn voxels, and on which slices they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..boxes import Box, Triple
from ..errors import InputError, MaskError
from .orientation import PLANES, Orientation
from .strays import count_drawn, sorted_slices
from .volume import Volume

DEFAULT_COLOR = (128 / 255, 174 / 255, 128 / 255)
"""Slicer's colour of unspecified tissue."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A structure as it was drawn on the slices of a volume.

    box: the drawn voxels on the volume's own grid (K, J, I), not empty.
    color: red, green, blue from 0 to 1. terminology: a Slicer terminology entry, or empty.
    plane: "axial", "coronal" or "sagittal" of the canonical volume; None to take it from the drawing: the
    axis with the fewest drawn slices is the normal, between equals the one with the thickest slices.
    not_here: slices of the canonical volume, along the plane's normal, on which the user says that the
    structure is not; those that are drawn on do not count.
    """

    box: Box
    name: str = "structure"
    color: tuple[float, float, float] = DEFAULT_COLOR
    terminology: str = ""
    plane: str | None = None
    not_here: Sequence[int] = ()

    @classmethod
    def of_mask(cls, mask: np.ndarray, shape: Triple, **described: Any) -> Drawing:
        """What is not 0 in a mask on the grid of a volume of that (K, J, I) shape.

        described: name, color, terminology, plane and not_here. Raises MaskError for a mask that is empty,
        not finite, of another shape or of several labels.
        """
        mask = np.asarray(mask)
        if mask.shape != shape:
            raise MaskError(
                f"The drawing has the shape {mask.shape} but the volume {shape} (k, j, i).",
                "Use a mask that was drawn on this volume.",
            )
        if mask.dtype.kind not in "biuf":
            raise MaskError(f"The drawing has values of type {mask.dtype}, which is not a real number.")
        if mask.dtype.kind == "f" and not np.isfinite(mask).all():
            raise MaskError("The drawing contains values that are not finite numbers.")
        _require_one_label(mask)
        box = Box.around(mask)
        if box.is_empty:
            raise _nothing_drawn()
        return cls(box, **described)

    def slices(self, grid: Volume, orientation: Orientation) -> DrawnSlices:
        """Its slices on a canonical grid, whose array is not looked at; orientation: from native axes.

        Raises MaskError for a drawing outside of the grid or a slice that the grid does not have, InputError
        for an unknown plane.
        """
        k, j, i = (grid.shape[orientation.axes.index(axis)] for axis in range(3))
        inside = self.box.clipped((k, j, i))
        if inside.is_empty:
            raise MaskError(
                f"The drawing '{self.name}' lies outside of the volume.",
                "Choose the volume that it was drawn on.",
            )
        box = orientation.apply_to_box(inside, (k, j, i))
        plane, occupied = occupied_slices(box.mask, grid.spacing, self.plane)
        axis = PLANES[plane]
        rows, columns = (mm for other, mm in enumerate(grid.spacing) if other != axis)
        along = np.moveaxis(box.mask, axis, 0)
        sorts = sorted_slices(along, occupied, (grid.spacing[axis], rows, columns))
        first = box.start[axis]
        together = dict(_put_together(along, run, first) for run in sorts.tilted)
        outlines = {index + first: along[index] for index in sorts.finished} | together
        empty = sorted(set(self.not_here) - set(outlines))
        if empty and not 0 <= empty[0] <= empty[-1] < grid.shape[axis]:
            raise MaskError(
                "A slice that is named as free of the structure does not exist: the volume has the slices 0"
                f" to {grid.shape[axis] - 1}.",
                "Name slices of this volume.",
            )
        outlines |= {index: np.zeros_like(along[0]) for index in empty}
        at, shape = list(box.start), list(grid.shape)
        del at[axis], shape[axis]
        return DrawnSlices(
            plane,
            outlines,
            (at[0], at[1]),
            (shape[0], shape[1]),
            frozenset(together),
            tuple(index + first for index in sorts.strays),
        )


@dataclass(frozen=True, eq=False)
class DrawnSlices:
    """The slices of a drawing on a canonical volume.

    plane: of all of them. outlines: slice -> (h, w) bool, the drawn part; all False where the structure is
    not. start: (row, column) at which all outlines begin. shape: (H, W) of a whole slice.
    unfinished: slices that were put together from the strips of a drawing in a tilted view.
    strays: slices that hold a few drawn voxels and do not count as drawn.
    """

    plane: str
    outlines: dict[int, np.ndarray]
    start: tuple[int, int]
    shape: tuple[int, int]
    unfinished: frozenset[int]
    strays: tuple[int, ...]

    def outline(self, index: int) -> np.ndarray:
        """(H, W) uint8, 0 or 1: the whole slice."""
        whole, part = np.zeros(self.shape, np.uint8), self.outlines[index]
        row, column = self.start
        whole[row : row + part.shape[0], column : column + part.shape[1]] = part
        return whole


def occupied_slices(
    drawn: np.ndarray, spacing: tuple[float, float, float], plane: str | None = None
) -> tuple[str, np.ndarray]:
    """(plane, indices of its occupied slices) of a drawing on canonical axes.

    drawn: (K, J, I) bool, the whole canonical volume or any box around the drawing. spacing: mm of (k, j, i).
    plane: found by the rule of `Drawing` if None. Raises MaskError for an empty drawing, InputError for an
    unknown plane.
    """
    if plane is not None and plane not in PLANES:
        raise InputError(f"The plane '{plane}' is unknown.", f"Choose one of {', '.join(PLANES)}.")
    others = [tuple({0, 1, 2} - {axis}) for axis in range(3)]
    occupied = [np.flatnonzero(drawn.any(axis=other)) for other in others]
    if not len(occupied[0]):
        raise _nothing_drawn()
    counts = [len(slices) for slices in occupied]
    if plane is None and min(counts) > 1:  # clicks must not decide
        counts = [count_drawn(np.count_nonzero(drawn, axis=other)) for other in others]
    if plane is None:
        plane = min(PLANES, key=lambda p: (counts[PLANES[p]], -spacing[PLANES[p]]))
    return plane, occupied[PLANES[plane]]


def _nothing_drawn() -> MaskError:
    return MaskError("The drawing is empty.", "Draw the structure on at least one slice.")


def _require_one_label(mask: np.ndarray) -> None:
    """MaskError for a mask of several labels: merged they would be a structure that nobody drew."""
    values = mask[mask != 0]
    if values.size and values.min() != values.max():
        raise MaskError(
            f"The drawing has several labels, from {values.min():g} to {values.max():g}.",
            "Give one structure at a time, for example mask == 1.",
        )


def _put_together(along: np.ndarray, run: tuple[int, ...], first: int) -> tuple[int, np.ndarray]:
    """The middle one of slices that hold strips of one drawing, and the whole outline (h, w).

    first: the volume's index of slice 0.
    """
    areas = [int(along[index].sum()) for index in run]
    middle = round(float(np.average([index + first for index in run], weights=areas)))
    return middle, np.any([along[index] for index in run], axis=0)
