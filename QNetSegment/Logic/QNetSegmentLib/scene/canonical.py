"""A volume node's grid on its anatomical axes: planes and slice numbers, and where they are in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import InputError

from .lattice import VolumeLattice, transform_between
from .volumes import lattice_of

if TYPE_CHECKING:
    from qnetseg.segment import Report
    from qnetseg.volume import Orientation, Volume


@dataclass(frozen=True, eq=False)
class CanonicalGrid:
    """What `qnetseg.volume.canonical` makes of a volume's grid.

    The volume's own axes count, without its parent transform: so a slice keeps its plane and number when
    the volume is moved.
    """

    lattice: VolumeLattice
    turned: Volume
    orientation: Orientation

    @classmethod
    def of(cls, volume_node: Any, axes: np.ndarray | None = None) -> CanonicalGrid:
        """The grid of a volume node, turned like `axes` (see `canonical`; the anatomical ones if None).

        Raises VolumeError if the node is gone.
        """
        from qnetseg.volume import ANATOMICAL_AXES, Volume, canonical

        lattice = lattice_of(volume_node)
        volume = Volume.blank(lattice.shape, lattice.ijk_to_local)
        return cls(lattice, *canonical(volume, ANATOMICAL_AXES if axes is None else axes))

    def apply(self, box: Box) -> Box:
        """A box on the volume's own axes -> on canonical ones; its mask stays a view."""
        return self.orientation.apply_to_box(box, self.lattice.shape)

    @staticmethod
    def axis(plane: str) -> int:
        """The axis of canonical arrays that counts the slices of a plane."""
        from qnetseg.volume import PLANES

        return PLANES[plane]

    def count(self, plane: str) -> int:
        """How many slices of a plane the volume has."""
        return int(self.turned.shape[self.axis(plane)])

    def native_slice(self, plane: str, index: int) -> tuple[int, int]:
        """(axis, index) in the volume's own array of a canonical slice; InputError if there is none."""
        from qnetseg.volume import PLANES

        if plane not in PLANES or not 0 <= index < self.count(plane):
            raise InputError(
                _("The volume has no {plane} slice {index}.").format(plane=plane, index=index),
                _("Choose a slice of the volume."),
            )
        axis = PLANES[plane]
        at = self.count(plane) - 1 - index if self.orientation.flips[axis] else index
        return self.orientation.axes[axis], at

    def center(self, plane: str, index: int) -> tuple[float, float, float]:
        """World (R, A, S) in mm of the middle of a slice; InputError if there is none."""
        self.native_slice(plane, index)
        middle = [(count - 1) / 2 for count in self.turned.shape]
        middle[self.axis(plane)] = index
        right, anterior, superior = self.to_world(middle).tolist()
        return right, anterior, superior

    def section(self, plane: str, volume_name: str) -> str:
        """What people call the slices of a plane, see `qnetseg.volume.plane_name`."""
        from qnetseg.volume import array_axes, plane_name

        return plane_name(array_axes(self.turned)[self.axis(plane)], volume_name)

    def slice_in(self, volume: Volume, plane: str, index: int) -> tuple[str, int]:
        """What one of these slices, (plane, index), is called in a copy of the volume with another matrix."""
        from qnetseg.volume import PLANES, canonical

        native, at = self.native_slice(plane, index)
        turned, orientation = canonical(volume)
        axis = orientation.axes.index(native)
        return list(PLANES)[axis], turned.shape[axis] - 1 - at if orientation.flips[axis] else at

    def slice_at(self, plane: str, world: Sequence[float]) -> int | None:
        """Index of the slice of a plane at a world position (R, A, S) in mm; None beside them all."""
        axis = self.axis(plane)
        local = transform_between(None, self.lattice.parent).TransformPoint([float(part) for part in world])
        ijk = np.linalg.solve(self.turned.ijk_to_ras, np.array([*local, 1.0]))
        index = round(float(ijk[2 - axis]))
        return index if 0 <= index < self.turned.shape[axis] else None

    def to_world(self, position: Sequence[float] | np.ndarray) -> np.ndarray:
        """(3,) world RAS in mm of a position (k, j, i) on the canonical grid, through any transform."""
        local = (self.turned.ijk_to_ras @ np.array([*position[::-1], 1.0]))[:3]
        return np.array(transform_between(self.lattice.parent, None).TransformPoint(local))


def in_own_planes(report: Report, axes: np.ndarray, volume_node: Any) -> Report:
    """A report with the planes and slice numbers that the segmented volume node has by its own axes.

    axes: of the support set that the report came about with. The engine turns a query like its support, so
    for volumes that lie more than 45 degrees apart, or just that much off the anatomical axes (short-axis
    heart), it may count slices from the other end or call the plane otherwise than the node itself.
    """
    from qnetseg.volume import PLANES

    own, like_support = CanonicalGrid.of(volume_node), CanonicalGrid.of(volume_node, axes)
    axis = PLANES[report.plane]
    own_axis = own.orientation.axes.index(like_support.orientation.axes[axis])
    slices = report.slices
    if like_support.orientation.flips[axis] != own.orientation.flips[own_axis]:
        last = like_support.turned.shape[axis] - 1
        slices = tuple(replace(part, index=last - part.index) for part in reversed(slices))
    return replace(report, plane=list(PLANES)[own_axis], slices=slices)
