"""Our method, called exactly as a user would call it, and Q-Net alone."""

from __future__ import annotations

import numpy as np

from qnetseg.model import Networks
from qnetseg.segment import FeatureCache, SegmentOptions, segment_volume
from qnetseg.segment.engine import FOUND_VAGUELY, NOT_FOUND
from qnetseg.volume import SupportSet, support_from_mask

from .task import Answer, Task

# A process scores one drawing after another on the same volume, as a user draws them.
_FEATURES = FeatureCache()


def segment(task: Task, networks: Networks, options: SegmentOptions) -> Answer:
    """`segment_volume` on the whole native volume."""
    support = drawing(task.support or task)
    example = None if task.support is None else task.support.study.volume
    result = segment_volume(support, task.study.volume, networks, options, cache=_FEATURES, drawn_on=example)
    mask = task.as_drawn(np.asarray(task.study.stack(result.mask) > 0))
    confidence = {entry.index: entry.score for entry in result.report.slices}
    doubted = bool({NOT_FOUND, FOUND_VAGUELY} & set(result.report.warnings))
    return Answer(mask, confidence, task.study.stack(result.confidence), doubted)


def drawing(task: Task) -> SupportSet:
    """What is drawn, as the engine takes it."""
    return support_from_mask(
        task.study.volume,
        task.study.native(task.mask),
        name=task.structure,
        plane=task.study.plane,
        not_here=[index for index in task.slices if index not in task.filled],
    )
