"""Our method, called exactly as a user would call it, and Q-Net alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qnetseg.model import Networks
from qnetseg.segment import Query, SegmentOptions, segment_volume, with_patient
from qnetseg.volume import Drawing, SupportSet

from .task import Answer, Task

# A process scores one drawing after another on the same volume, as a user draws them.
prepared = lru_cache(maxsize=4)(Query.of)


def segment(task: Task, networks: Networks, options: SegmentOptions, whole: bool = True) -> Answer:
    """`segment_volume` on the whole native volume."""
    query, first = prepared(task.study.volume), task.support or task
    support, further = drawing(first), [drawing(one) for one in task.further]
    if whole and task.support is not None:
        given = zip((first, *task.further), (support, *further), strict=True)
        support, *further = (
            with_patient(one, prepared(by.study.volume), networks, options) for by, one in given
        )
    result = segment_volume(support, query, networks, options, further=further)
    mask = task.as_drawn(np.asarray(task.study.stack(result.mask) > 0))
    confidence = {entry.index: entry.score for entry in result.report.slices}
    report = result.report
    probability = task.study.stack(result.confidence)
    return Answer(mask, confidence, probability, report.outcome != "found", report.presence, report.signs)


def segment_alone(task: Task, networks: Networks, options: SegmentOptions) -> Answer:
    """The same where only the drawn slices are at hand, not the volume that they belong to."""
    return segment(task, networks, options, whole=False)


def drawing(task: Task) -> SupportSet:
    """What is drawn, as the engine takes it."""
    drawn = Drawing.of_mask(
        task.study.native(task.mask),
        task.study.volume.shape,
        name=task.structure,
        plane=task.study.plane,
        not_here=[index for index in task.slices if index not in task.filled],
    )
    return prepared(task.study.volume).pack(drawn)
