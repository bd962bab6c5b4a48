"""Volume nodes as volumes that the worker can open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from qnetseg.errors import GeometryError, VolumeError
from qnetseg.worker.source import Source

from .lattice import VolumeLattice, linear_between, volume_lattice
from .voxels import array_of


def source_of(node: Any) -> Source:
    """A scalar volume node on its own axes, without its parent transform, for the worker to open.

    Nothing is copied: the array is a view of memory that belongs to Slicer. Another content of the node is
    another source. Raises VolumeError for what is no image volume (see `require_volume`) and GeometryError
    for an unusable matrix; voxels that cannot be used are the worker's to find.
    """
    from qnetseg.volume.volume import checked_matrix

    matrix = checked_matrix(lattice_of(node).ijk_to_local, f"The volume '{node.GetName()}'")
    key = (node.GetID(), node.GetImageData().GetMTime(), matrix.tobytes())
    return Source(key, node.GetName() or "", None, array_of(node.GetImageData()), matrix)


def require_volume(node: Any) -> None:
    """VolumeError unless the node is a scalar image volume of the scene that holds voxels."""
    if node is None or node.GetScene() is None:
        raise VolumeError(_("There is no volume."), _("Choose a volume, or load one."))
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise VolumeError(
            _("'{name}' is not an image volume.").format(name=name), _("Choose a volume with an image.")
        )
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise VolumeError(
            _("'{name}' is a label map, not an image.").format(name=name),
            _("Choose the volume that the label map was drawn on."),
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise VolumeError(
            _("The volume '{name}' has no image.").format(name=name), _("Load the volume again.")
        )
    several = ("vtkMRMLVectorVolumeNode", "vtkMRMLDiffusionWeightedVolumeNode")
    if image.GetNumberOfScalarComponents() != 1 or any(map(node.IsA, several)):
        raise VolumeError(
            _("The volume '{name}' has several values in each voxel.").format(name=name),
            _("Choose a scalar volume; the Vector to Scalar Volume module makes one."),
        )


def pair_of(query_node: Any, drawn_on: Any) -> tuple[Source, Source, list[str]]:
    """Query and the volume drawn on in the query's coordinates, and warnings for the user.

    The same node gives one source twice. The query always keeps its own matrix, so that a transform never
    changes a result, nor the planes and numbers of its slices; the other is brought beside it through the
    linear transforms between the two. Through a nonlinear one it cannot be: both then keep their own
    matrices, and a warning says so. Raises what `source_of` raises.
    """
    from qnetseg.volume.volume import checked_matrix

    query = source_of(query_node)
    if drawn_on is query_node:
        return query, query, []
    other = source_of(drawn_on)
    parents = [node.GetParentTransformNode() for node in (drawn_on, query_node)]
    between = linear_between(*parents)
    if between is None:
        warning = _("A nonlinear transform was ignored: the two volumes were compared by their own axes.")
        return query, other, [warning]
    matrix = checked_matrix(between @ other.ijk_to_ras, other.name)
    return query, replace(other, ijk_to_ras=matrix, key=(*other.key[:2], matrix.tobytes())), []


def lattice_of(volume_node: Any) -> VolumeLattice:
    """The grid of a volume node, without its parent transform; VolumeError if it is gone or has no image."""
    require_volume(volume_node)
    return volume_lattice(volume_node)


def require_unchanged(node: Any, before: VolumeLattice) -> None:
    """GeometryError if the volume node is gone or has another grid than before.

    A changed parent transform is fine: the result goes under it, too.
    """
    if node is None or node.GetScene() is None or node.GetImageData() is None:
        raise GeometryError(
            _("The volume was removed from the scene."), _("Load it again, and run the segmentation again.")
        )
    now = volume_lattice(node)
    if now.shape != before.shape or not np.allclose(now.ijk_to_local, before.ijk_to_local, atol=1e-6):
        raise GeometryError(
            _("The size or position of the volume '{name}' has changed meanwhile.").format(
                name=node.GetName()
            ),
            _("Run the segmentation again."),
        )
