"""A segmentation node kept outside of the scene, so that removing it can be undone."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from qnetseg.errors import VolumeError

from .reports import ATTRIBUTE as REPORTS
from .results import PREVIEW, is_preview, set_surface_visible, surface_visible
from .segments import new_segmentation


def volume_of_result(node: Any) -> Any:
    """The volume that a segmentation node was made on; None when it is not in the scene any more."""
    return node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


class KeptSegmentation:
    """A copy of the segments, name and marks of `node`, which belongs to `volume_node`."""

    def __init__(self, node: Any, volume_node: Any) -> None:
        self._name = node.GetName()
        self._volume_id = volume_node.GetID() if volume_node is not None else ""
        self._preview = is_preview(node)
        self._surface = surface_visible(node)
        self._reports = node.GetAttribute(REPORTS)
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
        node.SetAttribute(REPORTS, self._reports)
        node.SetAttribute(PREVIEW, "1" if self._preview else None)
        if self._surface:
            set_surface_visible(node, True)
        return node
