"""Results in the scene: a new segmentation beside the volume, previewed, accepted or discarded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from qnetseg.errors import MaskError, OutputError, QNetSegmentError, VolumeError
from qnetseg.segment.result import StructureResult

from .layers import own_box, require_labelmaps, require_segment, segment_ids_of, surface_name, write_box
from .marks import tag_text
from .reports import add_reports, reports_text, set_reports_text
from .segments import add_box, first_free, new_segmentation, remove_node, terminology_of
from .volumes import lattice_of

PREVIEW = "QNetSegment.Preview"
"""Attribute of a segmentation node that waits for the user's decision."""


def write_result(
    volume_node: Any, results: Sequence[StructureResult], *, name: str, preview: bool = False
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
            add_box(node, result.mask, lattice, example.name, example.color, example.terminology)
        # Results share no voxel, so one label map can hold them all: smaller in memory and in files.
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        if preview:
            node.SetAttribute(PREVIEW, "1")
    return node


def rewrite_result(node: Any, results: Sequence[StructureResult], volume_node: Any) -> None:
    """Give the segments of a result, in their order, the voxels of newer results for the same structures.

    The node, its display and its surfaces stay, so that a result can follow the drawing without flicker.
    Raises VolumeError, MaskError or OutputError; the node then is as before.
    """
    lattice = lattice_of(volume_node)
    ids = segment_ids_of(node)
    before = {segment_id: own_box(node, segment_id) for segment_id in ids}

    def restore() -> None:
        for segment_id, (box, own) in before.items():
            write_box(node, segment_id, box, own)

    with _all_or_nothing(restore):
        for segment_id, result in zip(ids, results, strict=True):
            write_box(node, segment_id, result.mask, lattice)


def accept_preview(node: Any, name: str, into: Any = None) -> Any:
    """Keep a preview and return the node that now holds it.

    Without `into` the preview itself is renamed and stays. Otherwise its segments become new segments of the
    segmentation node `into`, under a new name where theirs is taken, with their reports if it is of the same
    volume, and the preview is removed.
    Raises MaskError or OutputError; both nodes then are as before.
    """
    if into is None or into is node:
        node.RemoveAttribute(PREVIEW)
        node.SetName(name)
        set_opacity(node, 0.5, 1.0)  # Slicer's own: it must not stay as faint as it was for the review
        return node
    require_labelmaps(into)
    target = into.GetSegmentation()
    added: dict[str, str] = {}  # by the segment that it is a copy of
    taken = {target.GetSegment(known).GetName() for known in segment_ids_of(into)}
    with _all_or_nothing(lambda: [target.RemoveSegment(segment_id) for segment_id in added.values()]):
        for segment_id in segment_ids_of(node):
            segment = node.GetSegmentation().GetSegment(segment_id)
            box, lattice = own_box(node, segment_id)
            free = first_free(segment.GetName(), taken.__contains__)
            taken.add(free)
            color, terminology = segment.GetColor(), terminology_of(segment)
            added[segment_id] = add_box(into, box, lattice, free, color, terminology)
        if volume_of_result(into) is volume_of_result(node):  # slices are counted by the volume's axes
            add_reports(into, node, added)
    remove_node(node)
    return into


def back_to_preview(node: Any, name: str) -> None:
    """Take back `accept_preview` without `into`: the same node, with all that was changed in it since."""
    node.SetAttribute(PREVIEW, "1")
    node.SetName(name)


def is_preview(node: Any) -> bool:
    """Whether the node is a result that the user has not accepted yet."""
    return node is not None and node.GetAttribute(PREVIEW) == "1"


def set_opacity(node: Any, fill: float, outline: float) -> None:
    """How opaque a segmentation is in the slice views, from 0 to 1."""
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(fill)
    node.GetDisplayNode().SetOpacity2DOutline(outline)


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


def volume_of_result(node: Any) -> Any:
    """The volume that a segmentation node was made on; None when it is not in the scene any more."""
    return node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def signature(node: Any) -> str:
    """Another text whenever a segment gets other voxels or marks; names, colours and display do not count.

    Raises MaskError for a node that is gone.
    """
    digest = hashlib.sha256()
    for segment_id in segment_ids_of(node):
        segment = require_segment(node, segment_id)
        digest.update(f"{segment_id} {tag_text(segment)} ".encode())
        try:
            box, lattice = own_box(node, segment_id)
        except MaskError:  # surfaces
            digest.update(str(segment.GetMTime()).encode())
            continue
        if not box.is_empty:  # an empty one has no place
            digest.update(f"{box.start} {box.mask.shape}".encode())
            digest.update(np.round(lattice.ijk_to_local, 3).tobytes())
            digest.update(np.packbits(box.mask).tobytes())
    return digest.hexdigest()


class KeptSegmentation:
    """A copy of the segments, name and marks of `node`, which belongs to `volume_node`."""

    def __init__(self, node: Any, volume_node: Any) -> None:
        self._name = node.GetName()
        self._volume_id = volume_node.GetID() if volume_node is not None else ""
        self._preview = is_preview(node)
        self._surface = surface_visible(node)
        self._reports = reports_text(node)
        self._segmentation = slicer.vtkSegmentation()
        self._segmentation.DeepCopy(node.GetSegmentation())

    def restore(self) -> Any:
        """A new node with the same content. Raises VolumeError when its volume is gone."""
        volume_node = slicer.mrmlScene.GetNodeByID(self._volume_id)
        if volume_node is None:
            raise VolumeError(
                _("'{name}' cannot be brought back: its volume is not in the scene any more.").format(
                    name=self._name
                ),
                _("Segment again."),
            )
        node = new_segmentation(volume_node, self._name)
        node.GetSegmentation().DeepCopy(self._segmentation)
        set_reports_text(node, self._reports)
        node.SetAttribute(PREVIEW, "1" if self._preview else None)
        if self._surface:
            set_surface_visible(node, True)
        return node


@contextmanager
def _all_or_nothing(undo: Callable[[], Any]) -> Iterator[None]:
    """A failure is undone, and comes out as an error that a user can read."""
    try:
        yield
    except BaseException as error:
        undo()
        if isinstance(error, QNetSegmentError) or not isinstance(error, Exception):
            raise
        reason = str(error).rstrip(".") or type(error).__name__
        raise OutputError(
            _("The result could not be added to the scene: {reason}.").format(reason=reason),
            _("Nothing was changed; try again."),
        ) from error
