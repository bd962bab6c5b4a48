"""Canonical anatomical axes, and the exact way back.

A canonical volume has the array axes (S, P, L): k grows to superior, j to posterior, i to left. A
volume gets there by a permutation and flips of its array axes only; no value is interpolated, and
an oblique volume stays oblique.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ..boxes import Box
from .volume import Volume, axis_directions

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Array axis of a canonical volume that the plane's normal follows."""

ANATOMICAL_AXES = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Rows: the RAS directions +S, +P and +L, in the order of a canonical array's axes."""

OBLIQUE_DEGREES = 20.0
"""Between a plane's normal and the nearest anatomical axis, from which the plane is none of the three."""

SHORT_AXIS = re.compile(r"(?<![a-z])(sax?|short[ _-]?axis)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Orientation:
    """How native array axes become canonical ones.

    axes: for each canonical axis the native array axis that it is.
    flips: for each canonical axis whether it runs against the native one.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Native (K, J, I) array of any dtype -> canonical array; a view."""
        return array.transpose(self.axes)[self._slices()]

    def back(self, array: np.ndarray) -> np.ndarray:
        """Canonical array of any dtype -> native (K, J, I) array; a view, the exact inverse of `apply`."""
        return array[self._slices()].transpose(np.argsort(self.axes))

    def apply_to_box(self, box: Box, shape: tuple[int, int, int]) -> Box:
        """A box on the native grid of that (K, J, I) shape -> on the canonical one; its mask stays a view."""
        k, j, i = (
            shape[native] - box.stop[native] if flip else box.start[native]
            for native, flip in zip(self.axes, self.flips, strict=True)
        )
        return Box(self.apply(box.mask), (k, j, i))

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)


def canonical(volume: Volume, axes: np.ndarray = ANATOMICAL_AXES) -> tuple[Volume, Orientation]:
    """The volume on its nearest anatomical axes (its array is a view), and the way back.

    All 48 axis orders and flips of one volume give the same canonical array.
    axes: (3, 3), rows are the RAS directions to approach; with another volume's `array_axes` an oblique
    volume is turned like that one, even where 45 degrees off the anatomical axes leave the choice to chance.
    """
    orientation = _nearest(_cosines(volume, axes))
    # Homogeneous map from canonical (i, j, k) to native (i, j, k): array axis a is coordinate 2 - a.
    to_native = np.zeros((4, 4))
    to_native[3, 3] = 1.0
    for axis, (native, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
        to_native[2 - native, 2 - axis] = -1.0 if flip else 1.0
        to_native[2 - native, 3] = volume.shape[native] - 1 if flip else 0.0
    turned = Volume(orientation.apply(volume.array), volume.ijk_to_ras @ to_native, volume.name)
    return turned, orientation


@dataclass(frozen=True)
class FileSlices:
    """The slices of a plane as viewers and the volume's own file have them.

    name: what people call the plane, see `plane_name`. axis: of the file, "i", "j" or "k". count: of slices.
    flipped: whether the file counts them from the other end.
    """

    name: str
    axis: str
    count: int
    flipped: bool

    def at(self, index: int) -> int:
        """The file's own index, from 0, of a slice of the canonical volume, and the other way round."""
        return self.count - 1 - index if self.flipped else index


def file_slices(volume: Volume, plane: str, axes: np.ndarray = ANATOMICAL_AXES) -> FileSlices:
    """The slices of a plane of `canonical(volume, axes)`, in the file's terms."""
    turned, orientation = canonical(volume, axes)
    axis = PLANES[plane]
    name = plane_name(array_axes(turned)[axis], volume.name)
    return FileSlices(name, "kji"[orientation.axes[axis]], turned.shape[axis], orientation.flips[axis])


def plane_name(normal: np.ndarray, volume_name: str = "") -> str:
    """What people call slices with this normal, a (3,) RAS unit vector: "axial", "coronal" or "sagittal".

    Further off these, "short axis" of a volume that is named so, as those of the heart are; else "oblique".
    """
    cosines = np.abs(ANATOMICAL_AXES @ normal)
    if np.degrees(np.arccos(min(1.0, float(cosines.max())))) <= OBLIQUE_DEGREES:
        return list(PLANES)[int(cosines.argmax())]
    return "short axis" if SHORT_AXIS.search(volume_name) else "oblique"


def obliqueness(volume: Volume, axes: np.ndarray = ANATOMICAL_AXES) -> float:
    """Largest angle in degrees between an axis of the volume and the one of `axes` that it stands for."""
    cosines = _cosines(volume, axes)
    nearest = [abs(cosines[axis, native]) for axis, native in enumerate(_nearest(cosines).axes)]
    return float(np.degrees(np.arccos(min(1.0, *nearest))))


def array_axes(volume: Volume) -> np.ndarray:
    """(3, 3) float64: rows are the unit RAS directions of the array axes k, j, i."""
    return axis_directions(volume.ijk_to_ras)[:, ::-1].T


def _cosines(volume: Volume, axes: np.ndarray) -> np.ndarray:
    """(3, 3): cosine between each wanted axis (rows) and each array axis (columns k, j, i)."""
    cosines: np.ndarray = axes @ array_axes(volume).T
    return cosines


def _nearest(cosines: np.ndarray) -> Orientation:
    """The permutation with the largest product of |cosine|.

    The product is never zero at its best for an invertible matrix, so every axis has a definite sign.
    Ties (a turn of exactly 45 degrees) must not depend on the native axis order: the candidates are
    tried in an order of the axes that flips and permutations leave alone.
    """

    def signless(native: int) -> tuple[float, ...]:
        column = np.round(cosines[:, native], 6)
        leading = column[np.flatnonzero(column)[0]]
        return tuple(column * np.sign(leading))

    ordered = sorted(range(3), key=signless, reverse=True)
    best, best_score = (0, 1, 2), -1.0
    for first, second, third in permutations(ordered):
        axes = (first, second, third)
        score = float(np.prod(sorted(abs(cosines[row, native]) for row, native in enumerate(axes))))
        if score > best_score + 1e-9:
            best, best_score = axes, score
    s_flip, p_flip, l_flip = (bool(cosines[row, native] < 0) for row, native in enumerate(best))
    return Orientation(best, (s_flip, p_flip, l_flip))
