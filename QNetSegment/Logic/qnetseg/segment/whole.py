"""The whole volume from what is known of single slices: of the volume that was drawn on, and of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import Cancelled
from ..model import QNet
from ..volume import SupportSet
from . import matching
from .cleanup import connected_parts, within_reach
from .correspondence import Correspondence, correspond
from .delineation import delineate
from .descriptors import Descriptors, FeatureCache, SeenOnDemand
from .inference import CancelCallback, ProgressCallback, Runner
from .options import SegmentOptions
from .prediction import Prediction, predict
from .stack import Stack, model_mask
from .surest import outlined, sureness, usual_area

# Chosen on pairs of CMR patients, with and without the structure, and on CMR drawings in Sunnybrook.
FOUND_AGAIN = 0.86  # likeness of the drawn places from which nobody doubts that the structure is there
BEHIND = 0.01  # by which it must stay behind that of the surroundings, too, before the volume is left empty
LIKENESS = 0.05  # of a whole slice to the drawn one, over which it is a factor e less sure


def volume_drawn_on(
    runner: Runner[QNet],
    stack: Stack,
    support: SupportSet,
    options: SegmentOptions,
    progress: ProgressCallback | None,
    cancel: CancelCallback | None,
    cache: FeatureCache | None,
) -> Prediction:
    """What is drawn is carried through the volume and outlined in 3-D."""
    check = _checking(cancel)
    images = torch.from_numpy(stack.grid.to_model(stack.slices, fill=stack.fill))
    key = ("seen", *_seen_as(runner, stack, support))
    seen = SeenOnDemand(runner, images, progress, cancel, cache, key)
    descriptors = Descriptors.of(seen, images, seen.size)
    masks = {part.index: model_mask(part.mask, stack.grid) for part in support.slices}
    spacing = (stack.spacing[0], stack.grid.spacing)
    found = delineate(images, masks, descriptors, spacing, check, options.without, progress)
    chosen = matching.nearest(np.arange(len(images)), list(masks))
    return Prediction(stack.grid.to_native(found.numpy()), chosen, 0.0, whole=True)


def other_volume(
    runner: Runner[QNet],
    stack: Stack,
    support: SupportSet,
    options: SegmentOptions,
    progress: ProgressCallback | None,
    cancel: CancelCallback | None,
    cache: FeatureCache | None,
) -> Prediction:
    """Every slice is predicted on its own, by Q-Net and by the likeness of each place to the drawn ones; the
    surest slice then stands for a drawn one.

    Where nothing is found the prediction stays as it is. Where the surroundings of the drawings are found
    again and they themselves less so, the structure is not there.
    """
    every = np.arange(len(stack.slices))
    key = ("features", *_seen_as(runner, stack, support))
    kept = cache.slices(runner.original, key, len(every)) if cache else None
    predicted = predict(runner, stack, support, every, options, progress, cancel, described=True, kept=kept)
    described = predicted.described
    assert described is not None
    check = _checking(cancel)
    seen = correspond(described.query, described.support, described.masks, check)
    probability = predicted.probability
    if "correspondence" not in options.without:
        probability = _together(probability, seen.odds, stack)
    mask = within_reach(connected_parts(probability, None), probability, None)
    if "carrying" in options.without or not mask.any():
        return replace(predicted, probability=probability)
    usual = usual_area(support, stack)
    sure = np.array([sureness(*each, usual) for each in zip(probability, mask, strict=True)])
    predicted = replace(predicted, sureness=float(sure.max()))
    if "level" not in options.without:
        sure *= np.exp(seen.found.numpy() / LIKENESS)
    surest = int(sure.argmax())
    if "absence" not in options.without and _absent(seen):
        # At most even odds: nothing is found, and the slices on which it might be are those to check.
        return replace(predicted, probability=np.minimum(probability, 0.5), whole=True)
    images = torch.from_numpy(stack.grid.to_model(stack.slices, fill=stack.fill))
    likely, drawn = probability[surest], mask[surest]
    if "threshold" not in options.without:
        likely, drawn = outlined(likely, drawn, usual)
    masks = {surest: model_mask(drawn, stack.grid)}
    spacing = (stack.spacing[0], stack.grid.spacing)
    carried = delineate(images, masks, described.query, spacing, check, options.without, progress)
    found = stack.grid.to_native(carried.numpy())
    found[surest] = likely * drawn  # nobody drew it: it is as sure as predicted
    return replace(predicted, probability=found, whole=True)


def _seen_as(runner: Runner[QNet], stack: Stack, support: SupportSet) -> tuple[Any, ...]:
    """What the features of a volume depend on beside the network: a cache's key."""
    turned = (support.plane, support.axes.tobytes(), stack.grid)
    return stack.volume_id, *turned, runner.device.type, runner.precision


def _together(probability: np.ndarray, odds: torch.Tensor, stack: Stack) -> np.ndarray:
    """(S, H, W) probability of Q-Net with (S, h, w) log-odds of the likeness added."""
    size = (stack.grid.size, stack.grid.size)
    fine = F.interpolate(odds[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    native = torch.from_numpy(stack.grid.to_native(fine.numpy()))
    own = torch.logit(torch.from_numpy(probability), eps=1e-4)
    return torch.sigmoid(own + native).numpy()


def _absent(seen: Correspondence) -> bool:
    """Whether the surroundings of the drawings are found again somewhere, but nowhere what was drawn."""
    found, surroundings = float(seen.found.max()), float(seen.surroundings.max())
    return found < FOUND_AGAIN and found < surroundings - BEHIND


def _checking(cancel: CancelCallback | None) -> Callable[[], None]:
    def check() -> None:
        if cancel is not None and cancel():
            raise Cancelled("The segmentation was cancelled.")

    return check
