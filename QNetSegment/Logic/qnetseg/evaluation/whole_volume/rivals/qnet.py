"""Our method, called exactly as a user would call it, and its network alone."""

from __future__ import annotations

import numpy as np

from ....model import Model
from ....segment import FeatureCache, SegmentOptions, segment_volume
from ....segment.engine import FOUND_VAGUELY, NOT_FOUND
from ....volume import SupportSet, support_from_mask
from .task import Answer, Task

# A process scores one drawing after another on the same volume, as a user draws them.
_FEATURES = FeatureCache()


def segment(task: Task, model: Model, options: SegmentOptions) -> Answer:
    """`segment_volume` on the whole native volume.

    Slices drawn as empty cannot be told to it; they are emptied in the result, as a user would erase them.
    """
    source = task.support or task
    support = drawing(source, model)
    result = segment_volume(support, task.study.volume, model, options, cache=_FEATURES)
    mask = task.as_drawn(np.asarray(task.study.stack(result.mask) > 0))
    confidence = {entry.index: entry.score for entry in result.report.slices}
    doubted = bool({NOT_FOUND, FOUND_VAGUELY} & set(result.report.warnings))
    return Answer(mask, confidence, task.study.stack(result.confidence), doubted)


def drawing(task: Task, model: Model) -> SupportSet:
    """What is drawn, as the engine takes it."""
    return support_from_mask(
        task.study.volume,
        task.study.native(task.mask),
        name=task.structure,
        plane=task.study.plane,
        top_percent=model.network.config.top_percent,
    )
