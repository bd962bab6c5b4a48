"""The slices that a user drew: listed after every stroke, cleared, copied, undone, taken for the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import MaskError

from .canonical import CanonicalGrid
from .layers import own_box, read_box, require_labelmaps, require_segment, segment_ids_of, write_box
from .marks import marks_of
from .segments import terminology_of
from .volumes import lattice_of

if TYPE_CHECKING:
    from qnetseg.volume import Drawing, Volume

# Letters of the directions that a canonical volume's array axes have: world axis, positive, negative.
LETTERS = {"axial": (2, "S", "I"), "coronal": (1, "A", "P"), "sagittal": (0, "R", "L")}


@dataclass(frozen=True)
class DrawnSlice:
    """One slice that a user drew."""

    segment_id: str
    structure: str
    plane: str  # "axial", "coronal" or "sagittal"
    index: int  # slice of the canonical volume along the plane's normal
    position: str  # see `slice_place`
    area_mm2: float
    center: tuple[float, float, float]  # world (R, A, S) in mm, the middle of what was drawn
    not_here: bool = False  # marked as free of the structure (see `not_here.py`), not drawn
    section: str = ""  # what people call the plane, "oblique" for one that is none of the three


def drawn_slices(segmentation_node: Any, volume_node: Any, plane: str | None = None) -> list[DrawnSlice]:
    """The drawn slices of every segment, in the order of the segments, then of the slices.

    plane: taken from each segment if None, by the rule of `qnetseg.volume.Drawing`. Empty segments
    and what lies outside of the volume give none. Called after every stroke, so it reads only the part of
    the label map that the segment occupies and makes no array of the volume's size.
    """
    grid = CanonicalGrid.of(volume_node)
    found = []
    for segment_id in segment_ids_of(segmentation_node):
        box = read_box(segmentation_node, segment_id, grid.lattice).clipped(grid.lattice.shape)
        if not box.is_empty:
            name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
            found += _described(segment_id, name, grid, grid.apply(box), plane, volume_node.GetName())
    return found


def further_slice(volume_node: Any, drawn: Sequence[DrawnSlice], distance_mm: float = 20.0) -> int:
    """Index of a slice worth drawing next: `distance_mm` beyond the last drawn one of a structure.

    drawn: at least one slice, all of one structure. At the end of the volume it is as far before the first
    drawn one, or else the volume's last slice.
    """
    grid = CanonicalGrid.of(volume_node)
    axis = grid.axis(drawn[0].plane)
    step = max(1, round(distance_mm / grid.turned.spacing[axis]))
    indices = [part.index for part in drawn]
    beyond, before = max(indices) + step, min(indices) - step
    last = grid.count(drawn[0].plane) - 1
    if beyond > last and before >= 0:
        return before
    return min(beyond, last)


def _described(
    segment_id: str, name: str, grid: CanonicalGrid, box: Box, plane: str | None, volume_name: str
) -> list[DrawnSlice]:
    """The drawn slices of one segment; box: on the canonical grid."""
    from qnetseg.volume.drawing import occupied_slices

    plane, indices = occupied_slices(box.mask, grid.turned.spacing, plane)
    axis = grid.axis(plane)
    mask = np.moveaxis(box.mask, axis, 0)
    # Sums along rows and columns give area and middle of all slices at once, 20 times faster than the pixels.
    rows, columns = (mask.sum(axis=other, dtype=np.int32) for other in (2, 1))
    pixel = np.prod([mm for other, mm in enumerate(grid.turned.spacing) if other != axis])
    section = grid.section(plane, volume_name)
    found = []
    for index in indices.tolist():
        middle = [
            float(np.average(np.arange(len(part)), weights=part)) for part in (rows[index], columns[index])
        ]
        middle.insert(axis, index)
        center = grid.to_world([at + begin for at, begin in zip(middle, box.start, strict=True)])
        right, anterior, superior = center.tolist()
        found.append(
            DrawnSlice(
                segment_id,
                name,
                plane,
                index + box.start[axis],
                slice_place(grid, plane, index + box.start[axis], section, center),
                float(rows[index].sum() * pixel),
                (right, anterior, superior),
                section=section,
            )
        )
    return found


def slice_place(
    grid: CanonicalGrid, plane: str, index: int, section: str, world: Sequence[float] | np.ndarray
) -> str:
    """Where a slice is: as `position_text` has it, or on an oblique plane by the file's own index."""
    from qnetseg.volume import PLANES

    if section in PLANES:
        return position_text(plane, world)
    return _("slice {index}").format(index=grid.native_slice(plane, index)[1])


def position_text(plane: str, world: Sequence[float] | np.ndarray) -> str:
    """Where a slice is, the way the slice views say it, e.g. "S 45.2 mm"; world: (R, A, S) in mm."""
    axis, positive, negative = LETTERS[plane]
    rounded = round(float(world[axis]), 1)
    return f"{negative if rounded < 0 else positive} {abs(rounded):.1f} mm"


def drawn_segment_ids(
    segmentation_node: Any, volume_node: Any, among: Sequence[str] | None = None
) -> list[str]:
    """The segments, all or `among` some, that `drawings_of` takes, in its order."""
    lattice = lattice_of(volume_node)
    ids = segment_ids_of(segmentation_node) if among is None else among
    return [segment_id for segment_id in ids if not read_box(segmentation_node, segment_id, lattice).is_empty]


def drawings_of(
    segmentation_node: Any,
    volume_node: Any,
    grid: Volume | None = None,
    *,
    segment_ids: Sequence[str] | None = None,
    plane: str | None = None,
) -> list[Drawing]:
    """What is drawn in every segment that is not empty, with its name, colour and terminology.

    grid: of the volume node, with another matrix (see `volumes.pair_of`), or None. segment_ids: all if None.
    plane: one of the volume node's own planes, as in `DrawnSlice`, or None to take it from the drawing.
    Slices that are marked as free of the structure go along.
    Raises MaskError if nothing is drawn, or if a drawing lies outside of the volume.
    """
    from qnetseg.volume import Drawing

    canonical_grid = CanonicalGrid.of(volume_node)
    lattice = canonical_grid.lattice
    if segment_ids is None:
        segment_ids = segment_ids_of(segmentation_node)
    drawings = []
    for segment_id in segment_ids:
        segment = require_segment(segmentation_node, segment_id)
        box = read_box(segmentation_node, segment_id, lattice)
        if box.is_empty:
            continue
        inside = box.clipped(lattice.shape)
        if inside.is_empty:
            raise MaskError(
                _("The drawing '{name}' lies outside of the volume '{volume}'.").format(
                    name=segment.GetName(), volume=volume_node.GetName()
                ),
                _("Choose the volume that it was drawn on."),
            )
        known, not_here = _plane_and_marks(segment, canonical_grid, inside, plane, grid)
        color = segment.GetColor()
        drawings.append(
            Drawing(inside, segment.GetName(), color, terminology_of(segment), known, tuple(not_here))
        )
    if not drawings:
        raise MaskError(_("Nothing is drawn yet."), _("Draw the structure on at least one slice."))
    return drawings


def _plane_and_marks(
    segment: Any, grid: CanonicalGrid, box: Box, plane: str | None, other: Volume | None
) -> tuple[str, list[int]]:
    """The plane of a drawing and its marked slices, both as the grid with another matrix counts them."""
    from qnetseg.volume.drawing import occupied_slices

    own, _drawn = occupied_slices(grid.apply(box).mask, grid.turned.spacing, plane)
    marks = marks_of(segment, own, grid.count(own))
    if other is None:
        return own, marks
    return grid.slice_in(other, own, 0)[0], [grid.slice_in(other, own, index)[1] for index in marks]


Undo = Callable[[], None]


def clear_slice(
    segmentation_node: Any,
    segment_id: str,
    volume_node: Any,
    plane: str,
    index: int,
) -> Undo:
    """Remove what is drawn on one slice of a segment; everything else stays, also outside of the volume.

    plane, index: as in `DrawnSlice`. Returns a function that puts it back, and leaves what was drawn since.
    Both raise MaskError, VolumeError or OutputError; nothing is changed then.
    """
    grid = CanonicalGrid.of(volume_node)
    where = grid.native_slice(plane, index)
    removed = read_box(segmentation_node, segment_id, grid.lattice).on_slice(*where)
    there = (segmentation_node, segment_id, volume_node)
    return _edit(*there, lambda box: box.without(removed), lambda box: box.joined(removed))


def copy_slice(
    source_segmentation: Any,
    source_segment_id: str,
    target_segmentation: Any,
    target_segment_id: str,
    volume_node: Any,
    plane: str,
    index: int,
) -> Undo:
    """Add one slice of a segment to another segment: what was found there becomes a support.

    What the target already holds stays. Returns a function that takes the copied voxels out again, and leaves
    what was drawn since. Both raise MaskError (also for an empty slice), VolumeError or OutputError; nothing
    is changed then.
    """
    grid = CanonicalGrid.of(volume_node)
    require_labelmaps(target_segmentation)
    target = read_box(target_segmentation, target_segment_id, grid.lattice)
    source = read_box(source_segmentation, source_segment_id, grid.lattice)
    part = source.on_slice(*grid.native_slice(plane, index))
    if part.is_empty:
        raise MaskError(_("The slice is empty."), _("Choose a slice on which the structure was found."))
    added, there = part.without(target), (target_segmentation, target_segment_id, volume_node)
    return _edit(*there, lambda box: box.joined(part), lambda box: box.without(added))


def _edit(
    segmentation_node: Any,
    segment_id: str,
    volume_node: Any,
    change: Callable[[Box], Box],
    back: Callable[[Box], Box],
) -> Undo:
    """Change the voxels of a segment; the answer goes back from whatever they are by then."""

    def write(make: Callable[[Box], Box]) -> None:
        lattice = lattice_of(volume_node)  # the volume may have moved meanwhile
        box = read_box(segmentation_node, segment_id, lattice)
        if (changed := make(box)) is not box:
            write_box(segmentation_node, segment_id, changed, lattice)

    write(change)
    return lambda: write(back)


def is_blank(segmentation_node: Any) -> bool:
    """Whether no segment has a voxel, on or off any volume; surfaces count as drawn."""
    try:
        return all(own_box(segmentation_node, one)[0].is_empty for one in segment_ids_of(segmentation_node))
    except MaskError:
        return False
