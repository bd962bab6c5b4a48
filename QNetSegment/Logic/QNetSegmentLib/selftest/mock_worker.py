"""A worker for machines without torch: `python -m QNetSegmentLib.selftest.mock_worker`.

It speaks the real protocol in a real process, but its engine only compares brightness: good enough for the
phantom, and of no use for images of patients. Imports neither slicer nor torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qnetseg.segment.result import Segmentation
    from qnetseg.volume import SupportSet, Volume
    from qnetseg.worker.backend import Job, Progress

NAME = "mock"
WIDTH = 4.0  # standard deviations of the drawn brightness that still count as the structure
REACH = 1  # voxels over which brightness is averaged first, in the planes of the slices


def segment(job: Job, progress: Progress, cancel: Callable[[], bool]) -> Segmentation:
    """What is as bright as the drawing and connected with it. Raises Cancelled."""
    from qnetseg.segment.result import Report, Segmentation
    from qnetseg.volume import canonical, normalise

    begin = time.monotonic()
    turned, orientation = canonical(job.query, job.support.axes)
    similarity = _similarity(normalise(turned.array), job.support)
    alike = similarity > 0.5
    if job.background is not None:
        alike &= orientation.apply(job.background == 0)
    found = _slice_by_slice(alike, _drawn(job.support, turned), job.support, progress, cancel)
    confidence = np.where(found, similarity, 1 - similarity)
    step = np.linalg.det(turned.ijk_to_ras[:3, :3])
    report = Report(
        structure=job.support.name,
        model=NAME,
        device="cpu",
        precision="fp32",
        seconds=time.monotonic() - begin,
        volume_ml=float(found.sum() * abs(step) / 1000),
        plane=job.support.plane,
        threshold_offset=0.0,
        slices=_reports(found, confidence, job.support, turned),
        warnings=(),
    )
    return Segmentation(
        np.ascontiguousarray(orientation.back(found), np.uint8),
        np.ascontiguousarray(orientation.back(similarity), np.float32),
        report,
    )


def _similarity(image: np.ndarray, support: SupportSet) -> np.ndarray:
    """(K, J, I) float32: 1 for the usual brightness of the drawing, 0.5 at WIDTH deviations from it.

    image: the canonical volume, normalised as the support's slices are.
    """
    from qnetseg.volume import PLANES

    inside = np.concatenate([_averaged(part.image, (0, 1))[part.mask > 0] for part in support.slices])
    usual = np.median(inside)  # not the mean: at the edge of the drawing the neighbours shine through
    width = WIDTH * max(1.5 * float(np.median(np.abs(inside - usual))), 1e-3)
    axis = PLANES[support.plane]
    smooth = _averaged(image, tuple(other for other in range(3) if other != axis))
    return (1 / (1 + ((smooth - usual) / width) ** 2)).astype(np.float32)


def _averaged(image: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    steps = range(-REACH, REACH + 1)
    for axis in axes:
        image = np.mean([np.roll(image, step, axis) for step in steps], axis=0)
    return image


def _drawn(support: SupportSet, turned: Volume) -> dict[int, np.ndarray]:
    """The drawn masks by their slice of this volume, all False where the user says that it is not; none for
    another volume than the drawn one."""
    from qnetseg.volume import volume_id

    if support.volume_id != volume_id(turned):
        return {}
    return {part.index: part.mask > 0 for part in support.slices}


def _slice_by_slice(
    alike: np.ndarray,
    drawn: dict[int, np.ndarray],
    support: SupportSet,
    progress: Progress,
    cancel: Callable[[], bool],
) -> np.ndarray:
    """(K, J, I) bool: from the drawn slices outwards, what is alike and touches the slice before.

    In another volume than the drawn one there is nothing to begin with: everything alike is taken.
    """
    from qnetseg.errors import Cancelled
    from qnetseg.volume import PLANES

    slices = np.moveaxis(alike, PLANES[support.plane], 0)
    found = np.zeros_like(alike)
    target = np.moveaxis(found, PLANES[support.plane], 0)
    filled = [index for index, seed in drawn.items() if seed.any()]
    order = sorted(range(len(slices)), key=lambda index: min((abs(index - one) for one in filled), default=0))
    for done, index in enumerate(order, 1):
        if cancel():
            raise Cancelled("The segmentation was cancelled.")
        seed = drawn.get(index)
        if seed is not None:
            target[index] = seed
        elif drawn:
            before = min((one for one in (index - 1, index + 1) if one in order[: done - 1]), default=None)
            target[index] = False if before is None else _grown(target[before], slices[index])
        else:
            target[index] = slices[index]
        progress(done, len(order), "slices")
    return found


def _grown(seed: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """What is allowed and connected with the seed, within a slice."""
    region = seed & allowed
    while True:
        wider = region.copy()
        wider[1:] |= region[:-1]
        wider[:-1] |= region[1:]
        wider[:, 1:] |= region[:, :-1]
        wider[:, :-1] |= region[:, 1:]
        wider &= allowed
        if (wider == region).all():
            return region
        region = wider


def _reports(found: np.ndarray, confidence: np.ndarray, support: SupportSet, turned: Volume) -> tuple:
    from qnetseg.segment.result import SliceReport
    from qnetseg.volume import PLANES

    axis = PLANES[support.plane]
    area = float(np.prod([mm for other, mm in enumerate(turned.spacing) if other != axis]))
    drawn = _drawn(support, turned)
    return tuple(
        SliceReport(
            index=index,
            occupied=bool(mask.any()),
            score=float(sure[mask].mean()) if mask.any() else 1.0,
            support_index=min((part.index for part in support.filled), key=lambda one: abs(one - index)),
            area_mm2=float(mask.sum()) * area,
            drawn=index in drawn,
        )
        for index, (mask, sure) in enumerate(
            zip(np.moveaxis(found, axis, 0), np.moveaxis(confidence, axis, 0), strict=True)
        )
    )


if __name__ == "__main__":
    from qnetseg.worker.server import main

    main(segment, check=lambda: NAME)
