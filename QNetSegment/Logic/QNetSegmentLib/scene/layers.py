"""Segments as boxes of voxels: how they are found in Slicer's label maps, and put back.

A segmentation node keeps its segments in label maps ("layers"), several segments in one layer where they do
not overlap, each layer cropped to what is in it, on a grid of its own. Slicer's own array functions hide
that, but they add a temporary node with a colour table for every call, which the whole application notices,
and with different parent transforms they transform twice. So this module reads layers directly, never
touches the node while it reads, and writes through the logic's image overload.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import MaskError, OutputError

from .lattice import Lattice, VolumeLattice, image_lattice, transform_between, voxel_steps, whole_steps
from .voxels import array_of, image_of, resampled, start_of


def labelmap_name() -> str:
    """Slicer's name of the binary label map representation."""
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def surface_name() -> str:
    """Slicer's name of the closed surface representation."""
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def segment_ids_of(segmentation_node: Any) -> tuple[str, ...]:
    """The ids of a segmentation node's segments in their order; MaskError if the node is gone."""
    if segmentation_node is None or segmentation_node.GetScene() is None:
        raise MaskError(_("There is no segmentation."), _("Choose a segmentation, or create one."))
    return tuple(segmentation_node.GetSegmentation().GetSegmentIDs())


def require_segment(segmentation_node: Any, segment_id: str) -> Any:
    """The vtkSegment of that id; MaskError if the node or the segment is gone."""
    # The list is asked first: Slicer's GetSegment logs an error for an unknown id.
    if segment_id not in segment_ids_of(segmentation_node):
        raise MaskError(
            _("The segment is no longer in '{name}'.").format(name=segmentation_node.GetName()),
            _("Choose another segment."),
        )
    return segmentation_node.GetSegmentation().GetSegment(segment_id)


def read_box(segmentation_node: Any, segment_id: str, lattice: VolumeLattice) -> Box:
    """A segment on a grid of the scene, transforms respected; it may reach beyond the end of the grid.

    Voxel for voxel where the grids agree (any axis order), otherwise the voxels whose centres it contains.
    The node is not changed, whatever its source representation is. Raises MaskError.
    """
    segment = require_segment(segmentation_node, segment_id)
    parent = segmentation_node.GetParentTransformNode()
    segmentation = segmentation_node.GetSegmentation()
    image = None
    if segmentation.GetSourceRepresentationName() != surface_name():
        image = segment.GetRepresentation(labelmap_name())
    if image is None:
        image, segment = _voxelised(segmentation_node, segment, lattice)
        parent = lattice.parent
    box, source = _box_of(image, segment), image_lattice(image, parent)
    if box.is_empty:
        return box
    steps = voxel_steps(source, lattice)
    whole = None if steps is None else whole_steps(steps, box)
    if whole is not None:
        return box.moved(whole)
    return resampled(image, segment.GetLabelValue(), box, source, lattice)


def own_box(segmentation_node: Any, segment_id: str) -> tuple[Box, Lattice]:
    """A segment on the grid that its node keeps it on; MaskError if it consists of surfaces."""
    require_labelmaps(segmentation_node)
    segment = require_segment(segmentation_node, segment_id)
    image = segment.GetRepresentation(labelmap_name())
    return _box_of(image, segment), image_lattice(image, segmentation_node.GetParentTransformNode())


def _box_of(image: Any, segment: Any) -> Box:
    return Box.around(array_of(image), segment.GetLabelValue(), start_of(image))


def _voxelised(segmentation_node: Any, segment: Any, lattice: VolumeLattice) -> tuple[Any, Any]:
    """The closed surface of a segment as a label map on the grid, and the copied segment that owns it.

    The surface is brought to the grid, through any transform, and only then turned into voxels: exact
    where voxels that were resampled once more would not be.
    """
    surface = segment.GetRepresentation(surface_name())
    if surface is None:
        raise MaskError(
            _("The segment '{name}' has neither voxels nor a surface.").format(name=segment.GetName()),
            _("Convert the segmentation to a binary label map in the Segmentations module."),
        )
    mover = vtk.vtkTransformPolyDataFilter()
    mover.SetInputData(surface)
    mover.SetTransform(transform_between(segmentation_node.GetParentTransformNode(), lattice.parent))
    mover.Update()
    copy, owner = slicer.vtkSegment(), slicer.vtkSegmentation()
    copy.SetName("copy")
    copy.AddRepresentation(surface_name(), mover.GetOutput())
    owner.SetSourceRepresentationName(surface_name())
    owner.AddSegment(copy, "copy")
    converter = slicer.vtkSegmentationConverter
    k, j, i = lattice.shape
    geometry = converter.SerializeImageGeometry(
        slicer.util.vtkMatrixFromArray(lattice.ijk_to_local), (0, i - 1, 0, j - 1, 0, k - 1)
    )
    owner.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
    if surface.GetNumberOfPoints() == 0 or not owner.CreateRepresentation(labelmap_name()):
        return slicer.vtkOrientedImageData(), copy
    return copy.GetRepresentation(labelmap_name()), copy


def require_labelmaps(segmentation_node: Any) -> None:
    """MaskError unless voxels can be written into the segmentation."""
    segment_ids_of(segmentation_node)
    if segmentation_node.GetSegmentation().GetSourceRepresentationName() != labelmap_name():
        raise MaskError(
            _("The segmentation '{name}' consists of surfaces, not of voxels.").format(
                name=segmentation_node.GetName()
            ),
            _("Convert it to a binary label map in the Segmentations module, or choose another one."),
        )


def write_box(segmentation_node: Any, segment_id: str, box: Box, lattice: Lattice) -> None:
    """Replace the voxels of a segment by a box on a grid of the scene; other segments keep theirs.

    Raises MaskError, or OutputError when Slicer refuses; the segment then keeps its voxels.
    """
    segment = require_segment(segmentation_node, segment_id)
    require_labelmaps(segmentation_node)
    # Slicer needs an image that has voxels: one that is not set stands for none.
    whole = Box(np.zeros((1, 1, 1), bool), (0, 0, 0)) if box.is_empty else box
    image = image_of(whole, lattice, segmentation_node.GetParentTransformNode())
    segmentation, resample = segmentation_node.GetSegmentation(), slicer.vtkOrientedImageDataResample
    layer = segment.GetRepresentation(labelmap_name())
    # In a layer that others share Slicer would resample all of them to the new image's grid.
    if segmentation.IsSharedBinaryLabelmap(segment_id) and not resample.DoGeometriesMatch(layer, image):
        segmentation.SeparateSegmentLabelmap(segment_id)
    # Slicer writes the segment's label in the image's own type and would cut it off.
    resample.CastImageForValue(image, segment.GetLabelValue())
    logic = slicer.modules.segmentations.logic()
    if not logic.SetBinaryLabelmapToSegment(image, segmentation_node, segment_id):
        raise OutputError(
            _("Slicer could not write the segment into '{name}'.").format(name=segmentation_node.GetName()),
            _("Look into Slicer's log for the cause."),
        )
    mark_begun(segment, box)


def mark_begun(segment: Any, box: Box) -> None:
    """Mark a segment that got voxels as in progress, as painting does."""
    logic = slicer.modules.segmentations.logic()
    if not box.is_empty and logic.GetSegmentStatus(segment) == logic.NotStarted:
        logic.SetSegmentStatus(segment, logic.InProgress)
