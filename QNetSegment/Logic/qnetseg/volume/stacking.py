"""Parallel planes of a DICOM series: which lie at the same position, and the step from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import GeometryError

# Scanners write directions and spacings with rounding errors of their own for every slice.
PARALLEL = 1e-3

# Planes nearer than this share of the usual step lie at one position, and so do those nearer than this share
# of a pixel.
SAME_POSITION = 0.02
ROUNDING = 1e-3

# Neighbouring slices may be unevenly spaced by this share of the mean spacing before the series is refused.
UNEVENNESS = 0.05


@dataclass(frozen=True, eq=False)
class Plane:
    """origin: LPS of the first pixel in mm; directions: (2, 3) unit LPS vectors along i and j.

    spacing: mm along (i, j); size: pixels along (i, j).
    """

    origin: np.ndarray
    directions: np.ndarray
    spacing: tuple[float, float]
    size: tuple[int, int]

    @property
    def normal(self) -> np.ndarray:
        """Unit LPS vector across the plane."""
        normal = np.cross(*self.directions)
        unit: np.ndarray = normal / max(float(np.linalg.norm(normal)), 1e-12)
        return unit

    def matrix(self, step: np.ndarray) -> np.ndarray:
        """(4, 4) IJK-to-LPS of a stack that begins here; step: (3,) mm to the next plane."""
        matrix = np.eye(4)
        matrix[:3, :2] = (self.directions * np.array(self.spacing)[:, None]).T
        matrix[:3, 2], matrix[:3, 3] = step, self.origin
        return matrix


@dataclass(frozen=True)
class Placed:
    """A slice or a frame: an image that lies somewhere."""

    plane: Plane


Image = TypeVar("Image", bound=Placed)


def require_parallel(images: Sequence[Placed], what: str) -> None:
    """GeometryError for planes of other sizes, spacings or directions than the first one's."""
    first = images[0].plane
    for plane in (image.plane for image in images):
        turned = np.abs(plane.directions - first.directions).max()
        stretched = max(abs(a / b - 1.0) for a, b in zip(plane.spacing, first.spacing, strict=True))
        if plane.size != first.size or turned > PARALLEL or stretched > PARALLEL:
            raise GeometryError(
                f"{what} differ in size, spacing or direction.",
                "Choose a single series, or convert it to a volume in Slicer first.",
            )


def positions(images: Sequence[Image]) -> list[list[Image]]:
    """The images along the normal, those at one position together."""
    first = images[0].plane
    heights = np.array([image.plane.origin for image in images]) @ first.normal
    order = np.argsort(heights, kind="stable").tolist()
    gaps = np.diff(heights[order])
    rounding = ROUNDING * min(first.spacing)
    apart = gaps[gaps > rounding]
    least = max(rounding, SAME_POSITION * float(np.median(apart))) if len(apart) else rounding
    groups: list[list[Image]] = [[images[order[0]]]]
    for index, gap in zip(order[1:], gaps, strict=True):
        if gap > least:
            groups.append([])
        groups[-1].append(images[index])
    return groups


def even_step(images: Sequence[Placed], what: str) -> np.ndarray:
    """(3,) LPS step in mm between images in order; of one its normal, 1 mm. GeometryError if uneven."""
    if len(images) == 1:
        return images[0].plane.normal
    steps = np.diff(np.array([image.plane.origin for image in images]), axis=0)
    mean: np.ndarray = steps.mean(axis=0)
    if np.linalg.norm(steps - mean, axis=1).max() > UNEVENNESS * np.linalg.norm(mean):
        raise GeometryError(
            f"{what} are not evenly spaced; one may be missing.",
            "Export the series completely, or resample it in Slicer first.",
        )
    return mean
