"""Slice views: a volume on its own axes, and jumps to where something is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from qnetseg.errors import InputError

from .canonical import CanonicalGrid

PARALLEL = 0.98  # cosine of some 11 degrees: a view turned further cuts several slices


def show_volume(volume_node: Any) -> None:
    """Show a volume in all slice views, turned to its own planes, and fitted.

    On their own planes oblique volumes are drawn slice by slice, without interpolation. Without a layout
    manager (tests, scripts) only the slice nodes are turned.
    """
    has_layout = slicer.app.layoutManager() is not None
    if has_layout:
        slicer.util.setSliceViewerLayers(background=volume_node)
    for node in _slice_nodes(volume_node.GetScene()):
        node.RotateToVolumePlane(volume_node)
    if has_layout:
        # Once more, because fitting depends on the turned planes.
        slicer.util.setSliceViewerLayers(background=volume_node, fit=True)


def show_if_hidden(volume_node: Any) -> None:
    """Show a volume unless some slice view has it in its background already.

    Else slices of one patient would be looked at over the image of another one.
    """
    scene = volume_node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSliceCompositeNode")
        if node.GetBackgroundVolumeID() == volume_node.GetID():
            return
    show_volume(volume_node)


def jump_to(center_ras: Sequence[float]) -> None:
    """Bring a world position (R, A, S) in mm into the middle of every slice view.

    Views that the layout hides at the moment jump, too, so that they agree when it changes.
    """
    for node in _slice_nodes(slicer.mrmlScene):
        node.JumpSliceByCentering(*(float(part) for part in center_ras))


def shown_slice(volume_node: Any, plane: str) -> int:
    """Index of the slice of a plane that a slice view shows, of the first view if several show that plane.

    A view of the layout comes before one that is hidden. Raises InputError when no view shows a slice of it.
    """
    grid = CanonicalGrid.of(volume_node)
    middle = np.array([(count - 1) / 2 for count in grid.turned.shape])
    normal = grid.to_world(middle + np.eye(3)[grid.axis(plane)]) - grid.to_world(middle)
    normal /= np.linalg.norm(normal)
    found = []
    for node in _slice_nodes(volume_node.GetScene()):
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        index = grid.slice_at(plane, matrix[:3, 3].tolist())
        if index is not None and abs(float(matrix[:3, 2] @ normal)) >= PARALLEL:
            found.append((not node.IsMappedInLayout(), index))
    if not found:
        raise InputError(
            _("No slice view shows a slice of the plane that was drawn in."),
            _("Click “Show … for drawing”, and go to the slice."),
        )
    return min(found, key=lambda one: one[0])[1]


def _slice_nodes(scene: Any) -> Iterable[Any]:
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        yield scene.GetNthNodeByClass(number, "vtkMRMLSliceNode")
