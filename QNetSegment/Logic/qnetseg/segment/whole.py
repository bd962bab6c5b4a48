"""The whole volume from what is known of single slices: of the volume that was drawn on, and of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..errors import Cancelled
from ..model import QNet
from ..volume import SupportSet
from . import matching
from .cleanup import connected_parts, expected_dice, within_reach, without_noise
from .delineation import delineate
from .descriptors import FeatureCache, describe
from .inference import CancelCallback, ProgressCallback, Runner
from .options import SegmentOptions
from .prediction import Prediction, predict
from .stack import Stack, model_mask


def volume_drawn_on(
    runner: Runner[QNet],
    stack: Stack,
    support: SupportSet,
    options: SegmentOptions,
    progress: ProgressCallback | None,
    cancel: CancelCallback | None,
    network: QNet,
    cache: FeatureCache | None,
) -> Prediction:
    """What is drawn is carried through the volume and outlined in 3-D.

    network: the caller's, which the cache knows a volume's features by.
    """
    check = _checking(cancel)
    images = torch.from_numpy(stack.grid.to_model(stack.slices, fill=stack.fill))
    key = (support.volume_id, support.plane, stack.grid, runner.device.type, runner.precision)
    descriptors = (cache or FeatureCache()).get(
        network, key, lambda: describe(runner, images, progress, cancel)
    )
    check()
    masks = {part.index: model_mask(part.mask, stack.grid) for part in support.slices}
    found = delineate(images, masks, descriptors, (stack.spacing[0], stack.grid.spacing), check)
    chosen = matching.nearest(np.arange(len(images)), list(masks))
    return Prediction(stack.grid.to_native(found.numpy()), chosen, 0.0, whole=True)


def other_volume(
    runner: Runner[QNet],
    stack: Stack,
    support: SupportSet,
    options: SegmentOptions,
    progress: ProgressCallback | None,
    cancel: CancelCallback | None,
) -> Prediction:
    """Every slice is predicted on its own; the surest one then stands for a drawn slice.

    Where nothing is found the prediction stays as it is.
    """
    every = np.arange(len(stack.slices))
    predicted = predict(runner, stack, support, every, options, progress, cancel, described=True)
    mask = connected_parts(predicted.probability, None)
    mask = within_reach(mask, predicted.probability, None)
    if not mask.any() or predicted.descriptors is None:
        return predicted
    pixel = stack.spacing[1] * stack.spacing[2]
    usual = float(np.mean([part.mask.sum() * part.spacing[0] * part.spacing[1] for part in support.slices]))
    surest = int(
        np.argmax([_sureness(p, m, usual / pixel) for p, m in zip(predicted.probability, mask, strict=True)])
    )
    images = torch.from_numpy(stack.grid.to_model(stack.slices, fill=stack.fill))
    masks = {surest: model_mask(mask[surest], stack.grid)}
    spacing = (stack.spacing[0], stack.grid.spacing)
    found = stack.grid.to_native(
        delineate(images, masks, predicted.descriptors, spacing, _checking(cancel)).numpy()
    )
    found[surest] = predicted.probability[surest] * mask[surest]  # nobody drew it: it is as sure as predicted
    return replace(predicted, probability=found, whole=True)


def _sureness(probability: np.ndarray, mask: np.ndarray, usual_area: float) -> float:
    """Expected Dice of a slice, less where the area is another than what was drawn; pixels."""
    area = float(mask.sum())
    if not area:
        return 0.0
    alike = min(area / usual_area, usual_area / area)
    return alike * expected_dice(without_noise(probability), mask, usual_area)


def _checking(cancel: CancelCallback | None) -> Callable[[], None]:
    def check() -> None:
        if cancel is not None and cancel():
            raise Cancelled("The segmentation was cancelled.")

    return check
