"""Drawn slices told from strays: single clicks, and strips of a drawing made in a tilted view.

A slice that counts as drawn is kept as it is and is never looked at again, so what counts must really have
been drawn: otherwise a click erases the structure from its slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage

FEW = 0.02  # of the area of the neighbouring, or else of the largest drawn slice: less is a stray
SINGLE_VOXEL_OF = 25  # voxels of that slice beside which one voxel is a stray, too
SMALL = 0.10  # of the largest area: less is a stray where it lies beside all other drawings ...
REACH = 0.3  # ... by more than this share of the root of the largest area
STRIPS_OVERLAP = {2: 1.15}  # drawn voxels for each pixel of the outline, by the number of strips ...
MORE_STRIPS_OVERLAP = 1.4  # ... at most: neighbouring slices of a structure cover each other
PLANE_RESIDUAL = 0.75  # slices that strips may lie off the plane of the tilted view; rounding makes 0.5
CONTACT = 0.9  # length of the border between two strips, by the root of the smaller one's area
STEEPEST = 1.43  # slope of that plane, mm by mm; at 55 degrees another plane of the volume is nearer
LEAST = 12  # pixels of the outline; on a few anything looks like strips


@dataclass(frozen=True)
class SortedSlices:
    """finished: indices of drawn slices. strays: of slices that hold only a few voxels.

    tilted: runs of neighbouring slices that hold the strips of one drawing.
    """

    finished: tuple[int, ...]
    strays: tuple[int, ...]
    tilted: tuple[tuple[int, ...], ...]


def sorted_slices(
    drawn: np.ndarray, occupied: np.ndarray, spacing: tuple[float, float, float]
) -> SortedSlices:
    """drawn: (S, H, W) bool; occupied: ascending indices of its slices that hold anything.

    spacing: mm along (S, H, W).
    """
    masks = {int(index): np.ascontiguousarray(drawn[index]) for index in occupied}
    areas = {index: int(np.count_nonzero(mask)) for index, mask in masks.items()}
    strays = tuple(index for index in masks if _is_stray(index, masks, areas))
    kept = [index for index in masks if index not in strays]
    tilted = tuple(
        run for run in _runs(kept) if are_strips(np.stack([masks[index] for index in run]), spacing)
    )
    in_strips = {index for run in tilted for index in run}
    return SortedSlices(tuple(index for index in kept if index not in in_strips), strays, tilted)


def count_drawn(areas: np.ndarray) -> int:
    """How many slices of these areas, in voxels, hold more than a click beside the largest one."""
    largest = int(areas.max())
    return int((~_is_few(areas, largest) & (areas > 0)).sum())


def _is_few(area: np.ndarray | int, measure: int) -> Any:
    return (area <= FEW * measure) | ((area == 1) & (measure >= SINGLE_VOXEL_OF))


def _is_stray(index: int, masks: dict[int, np.ndarray], areas: dict[int, int]) -> bool:
    """Whether the slice holds so little that it was hardly drawn.

    The end of a structure that is drawn slice by slice is small as well: beside a drawn slice that it
    touches, a slice is compared with that one.
    """
    area, largest = areas[index], max(areas.values())
    if area >= SMALL * largest:
        return False
    reach = ndimage.binary_dilation(masks[index], iterations=2)
    beside = [other for other in (index - 1, index + 1) if other in masks]
    touching = [areas[other] for other in beside if (masks[other] & reach).any()]
    measure = max(touching, default=largest)
    if _is_few(area, measure):
        return True
    if touching:
        return False
    others = np.any([mask for other, mask in masks.items() if other != index], axis=0)
    wide = ndimage.binary_dilation(masks[index], iterations=max(2, round(REACH * largest**0.5)))
    return not bool((others & wide).any())


def _runs(indices: list[int]) -> list[tuple[int, ...]]:
    """Neighbouring indices in runs of at least two."""
    if not indices:
        return []
    breaks = [place + 1 for place, (a, b) in enumerate(pairwise(indices)) if b > a + 1]
    runs = np.split(np.array(indices), breaks)
    return [tuple(run.tolist()) for run in runs if len(run) > 1]


def are_strips(masks: np.ndarray, spacing: tuple[float, float, float]) -> bool:
    """Whether neighbouring slices (n, H, W) bool hold the strips of one drawing in a tilted view.

    Then they cover each other hardly, meet along a long border, and all lie on one plane, which is no steeper
    than a view that is still a view of these slices. spacing: mm along (n, H, W).
    """
    covered = masks.sum(axis=0, dtype=np.int32)
    outline = covered > 0
    allowed = STRIPS_OVERLAP.get(len(masks), MORE_STRIPS_OVERLAP)
    if outline.sum() < LEAST or covered.sum() > allowed * outline.sum():
        return False
    for one, other in pairwise(masks):
        border = int((ndimage.binary_dilation(one) & other & ~one).sum())
        if border < CONTACT * min(one.sum(), other.sum()) ** 0.5:
            return False
    rows, columns = np.nonzero(outline)
    height = np.tensordot(np.arange(len(masks)), masks, 1)[outline] / covered[outline]
    plane = np.stack([rows, columns, np.ones_like(rows)], axis=1).astype(float)
    slopes = np.linalg.lstsq(plane, height, rcond=None)[0]
    steepness = np.hypot(slopes[0] / spacing[1], slopes[1] / spacing[2]) * spacing[0]
    residual = np.quantile(np.abs(height - plane @ slopes), 0.95)
    return bool(residual <= PLANE_RESIDUAL and steepness <= STEEPEST)
