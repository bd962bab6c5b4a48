"""A worker for machines without torch: `python -m QNetSegmentLib.selftest.mock_worker`.

It speaks the real protocol in a real process, but its engine only compares brightness: good enough for the
phantom, and of no use for images of patients. Imports neither slicer nor torch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from qnetseg.segment.result import Report, Segmentation, SliceReport

if TYPE_CHECKING:
    from qnetseg.segment import Job, Segmentation
    from qnetseg.volume import SupportSet
    from qnetseg.worker.backend import Task

NAME = "mock"
WIDTH = 4.0  # standard deviations of the drawn brightness that still count as the structure
REACH = 1  # voxels over which brightness is averaged first, in the planes of the slices


def segment(task: Task, job: Job) -> Segmentation:
    """What is as bright as the drawing and connected with it. Raises Cancelled."""
    begin = time.monotonic()
    support, stack = task.support, task.query.stack(task.support)
    similarity = _similarity(stack.slices, support)
    alike = similarity > 0.5
    if task.background is not None:
        alike &= ~stack.along(task.background.placed(task.query.shape))
    drawn = {part.index: part.mask > 0 for part in support.slices} if stack.same_volume else {}
    found = _slice_by_slice(alike, drawn, job)
    confidence = np.where(found, similarity, 1 - similarity)
    step = float(np.prod(stack.spacing))
    report = Report(
        structure=support.name,
        model=NAME,
        device="cpu",
        precision="fp32",
        seconds=time.monotonic() - begin,
        volume_ml=float(found.sum() * step / 1000),
        plane=support.plane,
        threshold_offset=0.0,
        slices=_reports(found, confidence, drawn, support, stack.spacing[1] * stack.spacing[2]),
        warnings=(),
    )
    return Segmentation(stack.native(found.astype(np.uint8)), stack.native(similarity), report)


def _similarity(slices: np.ndarray, support: SupportSet) -> np.ndarray:
    """(S, H, W) float32: 1 for the usual brightness of the drawing, 0.5 at WIDTH deviations from it.

    slices: of the query, normalised as the support's are.
    """
    inside = np.concatenate([_averaged(part.image, (0, 1))[part.mask > 0] for part in support.slices])
    usual = np.median(inside)  # not the mean: at the edge of the drawing the neighbours shine through
    width = WIDTH * max(1.5 * float(np.median(np.abs(inside - usual))), 1e-3)
    return (1 / (1 + ((_averaged(slices, (1, 2)) - usual) / width) ** 2)).astype(np.float32)


def _averaged(image: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    from scipy import ndimage

    return ndimage.uniform_filter(image, 2 * REACH + 1, axes=axes, mode="wrap")


def _slice_by_slice(alike: np.ndarray, drawn: dict[int, np.ndarray], job: Job) -> np.ndarray:
    """(S, H, W) bool: from the drawn slices outwards, what is alike and touches the slice before.

    drawn: mask by slice, all False where the user says that the structure is not; none on another volume than
    the drawn one, where there is nothing to begin with: everything alike is taken.
    """
    found = np.zeros_like(alike)
    filled = [index for index, seed in drawn.items() if seed.any()]
    order = sorted(range(len(alike)), key=lambda index: min((abs(index - one) for one in filled), default=0))
    for done, index in enumerate(order, 1):
        job.check()
        seed = drawn.get(index)
        if seed is not None:
            found[index] = seed
        elif drawn:
            before = min((one for one in (index - 1, index + 1) if one in order[: done - 1]), default=None)
            found[index] = False if before is None else _grown(found[before], alike[index])
        else:
            found[index] = alike[index]
        job.tell(done, len(order), "slices")
    return found


def _grown(seed: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """What is allowed and connected with the seed, within a slice."""
    from scipy import ndimage

    return ndimage.binary_propagation(seed & allowed, mask=allowed)


def _reports(
    found: np.ndarray, confidence: np.ndarray, drawn: dict[int, np.ndarray], support: SupportSet, pixel: float
) -> tuple:
    return tuple(
        SliceReport(
            index=index,
            occupied=bool(mask.any()),
            score=float(sure[mask].mean()) if mask.any() else 1.0,
            support_index=min((part.index for part in support.filled), key=lambda one: abs(one - index)),
            area_mm2=float(mask.sum()) * pixel,
            drawn=index in drawn,
        )
        for index, (mask, sure) in enumerate(zip(found, confidence, strict=True))
    )


if __name__ == "__main__":
    from qnetseg.worker.server import main

    main(segment, check=lambda: NAME)
