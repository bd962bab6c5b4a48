"""Results in the scene: a new segmentation beside the volume, previewed, accepted or discarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import OutputError, QNetSegmentError

from .layers import own_box, require_labelmaps, segment_ids_of, surface_name, write_box
from .segments import (
    add_box,
    lattice_of,
    new_segmentation,
    remove_node,
    terminology_of,
)

if TYPE_CHECKING:
    import numpy as np

    from qnetseg.segment import Report
    from qnetseg.volume import Drawing, SupportSet

PREVIEW = "QNetSegment.Preview"
"""Attribute of a segmentation node that waits for the user's decision."""


class StructureResult(Protocol):
    """What a run found for one structure: its voxels on the volume's own grid, and after what example."""

    @property
    def example(self) -> SupportSet | Drawing: ...

    @property
    def axes(self) -> np.ndarray: ...

    @property
    def mask(self) -> Box: ...

    @property
    def report(self) -> Report: ...


def write_result(
    volume_node: Any,
    results: Sequence[StructureResult],
    *,
    name: str,
    preview: bool = False,
    logic: Any = None,
) -> Any:
    """A new segmentation node with a segment for each result, whole or not at all.

    Every segment has exactly the voxels of its result's mask, and the name, colour and terminology of its
    example. preview: mark the node, see `is_preview`.
    Raises VolumeError, MaskError or OutputError; the scene then is as before.
    """
    node = new_segmentation(volume_node, name)
    lattice = lattice_of(volume_node)
    with _all_or_nothing(lambda: remove_node(node)):
        for result in results:
            example = result.example
            named = (example.name, example.color, example.terminology)
            add_box(node, result.mask, lattice, *named, logic=logic)
        # Results share no voxel, so one label map can hold them all: smaller in memory and in files.
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        if preview:
            node.SetAttribute(PREVIEW, "1")
    return node


def rewrite_result(
    node: Any, results: Sequence[StructureResult], volume_node: Any, *, logic: Any = None
) -> None:
    """Give the segments of a result, in their order, the voxels of newer results for the same structures.

    The node, its display and its surfaces stay, so that a result can follow the drawing without flicker.
    Raises VolumeError, MaskError or OutputError; the node then is as before.
    """
    lattice = lattice_of(volume_node)
    ids = segment_ids_of(node)
    before = {segment_id: own_box(node, segment_id) for segment_id in ids}

    def restore() -> None:
        for segment_id, (box, own) in before.items():
            write_box(node, segment_id, box, own, logic=logic)

    with _all_or_nothing(restore):
        for segment_id, result in zip(ids, results, strict=True):
            write_box(node, segment_id, result.mask, lattice, logic=logic)


def accept_preview(node: Any, name: str, into: Any = None, *, logic: Any = None) -> Any:
    """Keep a preview and return the node that now holds it.

    Without `into` the preview itself is renamed and stays. Otherwise its segments become new segments of the
    segmentation node `into`, under a new name where theirs is taken, and the preview is removed.
    Raises MaskError or OutputError; both nodes then are as before.
    """
    if into is None or into is node:
        node.RemoveAttribute(PREVIEW)
        node.SetName(name)
        _show_as_others(node)
        return node
    require_labelmaps(into)
    target = into.GetSegmentation()
    added: list[str] = []
    taken = {target.GetSegment(known).GetName() for known in segment_ids_of(into)}
    with _all_or_nothing(lambda: [target.RemoveSegment(segment_id) for segment_id in added]):
        for segment_id in segment_ids_of(node):
            segment = node.GetSegmentation().GetSegment(segment_id)
            box, lattice = own_box(node, segment_id)
            free = _free_name(segment.GetName(), taken)
            taken.add(free)
            added.append(
                add_box(into, box, lattice, free, segment.GetColor(), terminology_of(segment), logic=logic)
            )
    remove_node(node)
    return into


def back_to_preview(node: Any, name: str) -> None:
    """Take back `accept_preview` without `into`: the same node, with all that was changed in it since."""
    node.SetAttribute(PREVIEW, "1")
    node.SetName(name)


def _show_as_others(node: Any) -> None:
    """Slicer's own opacity: an accepted result must not stay as faint as it was for the review."""
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(0.5)
    node.GetDisplayNode().SetOpacity2DOutline(1.0)


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or the name with the first number that makes it new."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


def discard(node: Any) -> None:
    """Remove a result from the scene with everything that belongs to it; harmless if it is gone."""
    remove_node(node)


def is_preview(node: Any) -> bool:
    """Whether the node is a result that the user has not accepted yet."""
    return node is not None and node.GetAttribute(PREVIEW) == "1"


def set_opacity(node: Any, opacity: float) -> None:
    """Opacity of fill and outline in the slice views, from 0 to 1."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(opacity)
    display.SetOpacity2DOutline(opacity)


def set_surface_visible(node: Any, visible: bool) -> None:
    """Show the segments as surfaces in the 3-D views, made on demand, or take them away.

    Surfaces that nobody sees are removed, because they would be made again after every change.
    """
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    if visible:
        node.CreateClosedSurfaceRepresentation()
        node.GetDisplayNode().SetVisibility(True)
    elif segmentation.GetSourceRepresentationName() != surface_name():
        node.RemoveClosedSurfaceRepresentation()
    node.GetDisplayNode().SetVisibility3D(visible)


def surface_visible(node: Any) -> bool:
    """Whether the 3-D views show the segments as surfaces."""
    display = node.GetDisplayNode() if node is not None else None
    return bool(
        display is not None
        and display.GetVisibility()
        and display.GetVisibility3D()
        and node.GetSegmentation().ContainsRepresentation(surface_name())
    )


class _all_or_nothing:
    """Context in which a failure is undone, and comes out as an error that a user can read."""

    def __init__(self, undo: Any) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is None:
            return
        self._undo()
        if isinstance(error, Exception) and not isinstance(error, QNetSegmentError):
            raise OutputError(
                _("The result could not be added to the scene: {reason}.").format(
                    reason=str(error).rstrip(".") or kind.__name__
                ),
                _("Nothing was changed; try again."),
            ) from error
