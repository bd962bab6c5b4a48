"""Our method, called exactly as a user would call it, and Q-Net alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qnetseg.model import Networks
from qnetseg.segment import Query, SegmentOptions, segment_volume
from qnetseg.segment.engine import FOUND_VAGUELY, NOT_FOUND
from qnetseg.volume import Drawing, SupportSet

from .task import Answer, Task

# A process scores one drawing after another on the same volume, as a user draws them.
_prepared = lru_cache(maxsize=2)(Query.of)


def segment(task: Task, networks: Networks, options: SegmentOptions) -> Answer:
    """`segment_volume` on the whole native volume."""
    support = drawing(task.support or task)
    query = _prepared(task.study.volume)
    example = None if task.support is None else _prepared(task.support.study.volume)
    result = segment_volume(support, query, networks, options, drawn_on=example)
    mask = task.as_drawn(np.asarray(task.study.stack(result.mask) > 0))
    confidence = {entry.index: entry.score for entry in result.report.slices}
    doubted = bool({NOT_FOUND, FOUND_VAGUELY} & set(result.report.warnings))
    return Answer(mask, confidence, task.study.stack(result.confidence), doubted)


def drawing(task: Task) -> SupportSet:
    """What is drawn, as the engine takes it."""
    drawn = Drawing.of_mask(
        task.study.native(task.mask),
        task.study.volume.shape,
        name=task.structure,
        plane=task.study.plane,
        not_here=[index for index in task.slices if index not in task.filled],
    )
    return _prepared(task.study.volume).pack(drawn)
