"""What `qnetseg segment` is given: the volume, what was drawn on it or on another one, prepared once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from ..boxes import Box
from ..errors import GeometryError, MaskError
from .common import telling_oddities
from .saved import is_saved, read_saved

if TYPE_CHECKING:
    from ..segment import Query
    from ..volume import Drawing, LabelMap, SegmentInfo, SupportSet, Volume


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure to find.

    info: its label in the output, name, colour and terminology. drawing: on the voxels of the volume that was
    drawn on; None for a saved example, of which these are not known.
    """

    info: SegmentInfo
    support: SupportSet
    drawing: Drawing | None = None

    @property
    def drawn(self) -> Box | None:
        """The drawn voxels."""
        return None if self.drawing is None else self.drawing.box


@dataclass(frozen=True, eq=False)
class Inputs:
    """volume: the query as it was read; drawn_on: None for a saved example; image: what it was read from."""

    volume: Volume
    query: Query
    drawn_on: Query | None
    structures: list[Structure]
    image: Volume | None = None

    @property
    def another(self) -> Query | None:
        """The volume that was drawn on, where it is another one than the query and known."""
        return None if self.drawn_on is self.query else self.drawn_on

    def others_than(self, structure: Structure) -> Box | None:
        """Where the other structures are drawn on the query; None where nothing is."""
        drawn = [
            other.drawn for other in self.structures if other is not structure and other.drawn is not None
        ]
        if not drawn or structure.drawn is None or self.drawn_on is not self.query:
            return None
        return reduce(Box.joined, drawn).without(structure.drawn)


def read_inputs(arguments: argparse.Namespace) -> Inputs:
    """Read and prepare everything. Raises InputError and its kinds."""
    from ..segment import Query
    from ..volume import SegmentInfo, read_volume

    with telling_oddities():
        volume = read_volume(arguments.query, arguments.series)
    if is_saved(arguments.mask):
        saved = read_saved(arguments)
        info = SegmentInfo(1, saved.name, saved.color, saved.terminology)
        return Inputs(volume, Query.of(volume), None, [Structure(info, saved)])
    with telling_oddities():
        other = arguments.support is not None
        image = read_volume(arguments.support, arguments.support_series) if other else volume
        drawings = read_drawings(arguments.mask, arguments.label, image, own_support=other)
    query = Query.of(volume)
    drawn_on = Query.of(image) if other else query
    structures = []
    for label, drawing in drawings:
        info = SegmentInfo(label, drawing.name, drawing.color, drawing.terminology)
        drawing = marked(drawn_on, drawing, arguments.not_here)
        structures.append(Structure(info, drawn_on.pack(drawing), drawing))
    return Inputs(volume, query, drawn_on, structures, image)


def marked(drawn_on: Query, drawing: Drawing, not_here: list[int]) -> Drawing:
    """A drawing with the slices that do not hold it, which are given by the file's own index."""
    from ..volume import file_slices

    if not not_here:
        return drawing
    support = drawn_on.pack(drawing)
    slices = file_slices(drawn_on.grid, support.plane)
    indices = tuple(slices.at(index) for index in not_here)
    return replace(drawing, plane=support.plane, not_here=indices)


def read_drawings(
    path: Path, labels: list[str] | None, grid: Volume, own_support: bool
) -> list[tuple[int, Drawing]]:
    """Label and drawing of the chosen structures of a mask, or of all that are not empty.

    Raises InputError or GeometryError.

    own_support: whether the support was named, so that advice does not name it.
    """
    from ..volume import Drawing, read_labelmap

    if labels is None:
        maps = [read_labelmap(path, drawn=True)]
    else:  # one by one, because the segments of a file may overlap
        maps = [read_labelmap(path, label, drawn=True) for label in dict.fromkeys(labels)]
    drawings: list[tuple[int, Drawing]] = []
    for labelmap in maps:
        if not labelmap.array.any():
            what = (
                f"mask '{path.name}'"
                if labels is None
                else f"segment '{labelmap.segments[0].name}' of '{path.name}'"
            )
            raise MaskError(f"The {what} is empty.", "Draw the structure on at least one slice.")
        labelmap = _on_grid(labelmap, grid, own_support)
        for info in labelmap.segments:
            box = Box.around(labelmap.array, info.label)
            if not box.is_empty:
                used = {label for label, _ in drawings}
                label = info.label if info.label not in used else max(used) + 1
                drawings.append((label, Drawing(box, info.name, info.color, info.terminology)))
    return drawings


def _on_grid(labelmap: LabelMap, grid: Volume, own_support: bool) -> LabelMap:
    """The labels on the grid that was drawn on. Slicer crops what it saves; others have the same voxels."""
    from ..volume import on_grid_of

    try:
        return on_grid_of(labelmap, grid, crop=labelmap.described)
    except GeometryError as error:
        if own_support:
            raise
        raise GeometryError(
            error.message, "If it was drawn on another image, name that with --support."
        ) from error
