"""A volume prepared once: for every structure, correction and drawing that comes to it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..memory import Memory
from ..volume import (
    PLANES,
    Drawing,
    Orientation,
    SupportSet,
    Volume,
    canonical,
    normalise,
    pack,
    volume_id,
)

MOST_REMEMBERED = 4  # things made from a volume for all structures, of 1 to 4 MiB for each slice or plane
# Another patient is searched by slices that lie apart, its planes. By hand on pairs of CHAOST2 patients.
PLANE_GAP = 5.0  # mm, about, between two of them
GAP_OF_FIELD = 1 / 24  # of a field of view below 120 mm, which Q-Net sees magnified (`fitted_spacing`)
LEAST_PLANES = 32  # about as many as an abdominal MR has; or all slices of fewer
MOST_SLICES = 128  # of which Q-Net's whole features are kept: 10 MiB each, or 5 in bf16


@dataclass(frozen=True, eq=False)
class Query:
    """A volume as the networks see it.

    Attributes:
        image: on canonical axes, its array (K, J, I) float32, contiguous and what `normalise` gives.
        orientation: from the volume's own axes to the image's.
        grid: the volume's own grid, without its voxels.
        fingerprint: see `volume_id`.
        memory: what is made from it for all structures.
    """

    image: Volume
    orientation: Orientation
    grid: Volume
    fingerprint: str
    memory: Memory = field(default_factory=lambda: Memory(MOST_REMEMBERED), repr=False)
    _features: dict[Any, list[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, volume: Volume | Query) -> Query:
        """Prepare a volume, whose array is not kept; a query is returned as it is.

        Raises VolumeError for a constant volume.
        """
        if isinstance(volume, Query):
            return volume
        turned, orientation = canonical(volume)
        # Normalised after turning: sums depend on the axis order in their last bits.
        image = replace(turned, array=normalise(turned.array))
        grid = Volume.blank(volume.shape, volume.ijk_to_ras, volume.name, volume.placement, volume.frames)
        return cls(image, orientation, grid, volume_id(volume))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I) on the volume's own axes."""
        return self.grid.shape

    @property
    def nbytes(self) -> int:
        """Memory of the image."""
        return self.image.array.nbytes

    def pack(self, drawing: Drawing) -> SupportSet:
        """What was drawn on this volume, with its image; see `qnetseg.volume.pack`."""
        return pack(drawing, self.image, self.orientation, self.fingerprint)

    def stack(self, support: SupportSet) -> Stack:
        """Its slices in the plane of a drawing, the same way up."""
        turned, turn = canonical(self.image, support.axes)
        axis = PLANES[support.plane]
        slices = np.ascontiguousarray(np.moveaxis(turned.array, axis, 0))
        normal = turned.spacing[axis]
        rows, columns = (mm for other, mm in enumerate(turned.spacing) if other != axis)
        same_volume = support.volume_id == self.fingerprint
        return Stack(slices, axis, (self.orientation, turn), (normal, rows, columns), same_volume)

    def forget(self) -> None:
        """Let go of Q-Net's features."""
        self._features.clear()

    def features(self, seen_as: tuple[Any, ...], count: int) -> list[Any] | None:
        """Q-Net's features of `count` planes from the last call, or an empty list that receives them.

        A further drawn slice or another structure then needs the encoder for slices only that nothing reached
        before; the result is the same. seen_as: what decides the features; only the latest are kept. None for
        a volume of too many slices.
        """
        if count > MOST_SLICES:
            return None
        if seen_as not in self._features:
            self._features.clear()  # never those of two planes in memory
            self._features[seen_as] = []
        return self._features[seen_as]


@dataclass(frozen=True, eq=False)
class Stack:
    """A query as slices of a drawing's plane.

    Attributes:
        slices: (S, H, W) float32, normalised, native in-plane resolution, the same way up as in the drawing's
            volume.
        axis: array axis of the reoriented image that S runs along.
        turns: from native to canonical axes, and from these to the drawing's.
        spacing: mm along (S, H, W).
        same_volume: whether the support was drawn on this volume.
    """

    slices: np.ndarray
    axis: int
    turns: tuple[Orientation, Orientation]
    spacing: tuple[float, float, float]
    same_volume: bool

    @property
    def planes(self) -> np.ndarray:
        """Slices that another patient is searched by: every so many, the first one among them."""
        return np.arange(0, len(self.slices), self._step)

    def between_planes(self, volume: np.ndarray) -> np.ndarray:
        """(P, *) of the planes for all S slices: each as the nearest plane."""
        nearest = (np.arange(len(self.slices)) + self._step // 2) // self._step
        return np.ascontiguousarray(volume[np.minimum(nearest, len(volume) - 1)])

    @property
    def gap(self) -> float:
        """mm from plane to plane."""
        return self.spacing[0] * self._step

    @property
    def _step(self) -> int:
        """Slices from plane to plane."""
        count, *shape = self.slices.shape
        field = max(n * mm for n, mm in zip(shape, self.spacing[1:], strict=True))
        step = round(min(PLANE_GAP, GAP_OF_FIELD * field) / self.spacing[0])
        return max(1, min(step, count // LEAST_PLANES))

    @property
    def fill(self) -> float:
        """Value of the background outside the field of view."""
        return float(self.slices.min())

    def native(self, stack: np.ndarray) -> np.ndarray:
        """(S, H, W) array back on the query's own (K, J, I) axes, contiguous."""
        first, second = self.turns
        return np.ascontiguousarray(first.back(second.back(np.moveaxis(stack, 0, self.axis))))

    def along(self, array: np.ndarray) -> np.ndarray:
        """(K, J, I) array on the query's own axes as (S, H, W), contiguous."""
        first, second = self.turns
        return np.ascontiguousarray(np.moveaxis(second.apply(first.apply(array)), self.axis, 0))
