"""The one function that carries the product: `segment_volume`."""

from __future__ import annotations

import time

import numpy as np

from ..errors import InputError
from ..model import Model
from ..volume import SupportSet, Volume, obliqueness
from .cleanup import connected_parts, expected_dice, sure_of_ends, within_reach, without_noise
from .descriptors import FeatureCache
from .inference import CancelCallback, ProgressCallback, Runner
from .options import SegmentOptions
from .prediction import Prediction, predict
from .result import Report, Segmentation, SliceReport
from .stack import Stack, build_stack, support_images
from .whole import other_volume, volume_drawn_on

SMALL_PIXELS = 50  # drawings below this many network pixels are hard to see for the encoder
COARSE = 1.5  # times the model's own spacing; beyond it organs look much smaller than in training
VAGUE = 0.75  # sureness of another patient's surest slice; chosen on CHAOST2, CMR and Sunnybrook queries
OBLIQUE_DEGREES = 20.0  # beyond it the drawn plane and the query's slices are different sections
NOT_FOUND = "The structure was not found in this volume."
FOUND_VAGUELY = (
    "The structure was found only vaguely: it may not be in this volume, or look different there (another"
    " scanner or sequence); check every slice."
)


def segment_volume(
    support: SupportSet,
    query: Volume,
    model: Model,
    options: SegmentOptions | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCallback | None = None,
    cache: FeatureCache | None = None,
) -> Segmentation:
    """Segment a volume from one or more drawn slices.

    The volume that was drawn on and another patient's are segmented as a whole (`whole`), or slice by slice
    (`prediction`) where `options.whole` is off or only some slices are looked at.

    Args:
        support: drawn slices, of this volume or of another patient.
        query: volume to segment, (K, J, I) float32 on any grid.
        model: from `qnetseg.model.load_model`.
        options: None for the defaults.
        progress: called as progress(done, total, stage) after every batch of "slices" that is encoded, which
            not all need be, and twice for the "outline".
        cancel: asked between batches and steps; True stops.
        cache: keeps the volume's features for the next call; None keeps nothing.

    Returns:
        Mask and confidence on the query's own grid, and a report.

    Raises:
        Cancelled: `cancel` said so.
        MaskError, InputError, DeviceError: the input or an option cannot be used.
    """
    began = time.monotonic()
    options = options or SegmentOptions()
    config = model.network.config
    stack = build_stack(support, query, config)
    _, masks = support_images(support, stack)
    runner = Runner(model.network, options)
    looked_at = _slices_to_look_at(options, len(stack.slices))
    drawn = _drawn_masks(support, stack)
    common = (runner, stack, support, options, progress, cancel)
    if not options.whole or options.slices is not None:
        predicted = predict(runner, stack, support, looked_at, options, progress, cancel)
    elif drawn is not None:
        predicted = volume_drawn_on(*common, cache)
    else:
        predicted = other_volume(*common, cache)
    mask = _decide(predicted, drawn, options)
    own = _warnings(support, query, stack, config.spacing, masks, mask, predicted.sureness)
    warnings = (*own, *runner.warnings)
    report = Report(
        structure=support.name,
        model=model.name,
        device=runner.device.type,
        precision=runner.precision,
        seconds=time.monotonic() - began,
        volume_ml=float(mask.sum()) * _voxel_ml(query),
        plane=support.plane,
        threshold_offset=predicted.threshold_offset,
        warnings=warnings,
        slices=_slice_reports(predicted, mask, drawn, looked_at, support, stack),
    )
    return Segmentation(stack.native(mask.astype(np.uint8)), stack.native(predicted.probability), report)


def _voxel_ml(volume: Volume) -> float:
    """Volume of a voxel; the determinant also holds for sheared grids of a tilted gantry."""
    return abs(float(np.linalg.det(volume.ijk_to_ras[:3, :3]))) / 1000


def _slices_to_look_at(options: SegmentOptions, count: int) -> np.ndarray:
    if options.slices is None:
        return np.arange(count)
    chosen = np.array(options.slices, dtype=int)
    if not len(chosen) or (np.diff(chosen) <= 0).any() or chosen[0] < 0 or chosen[-1] >= count:
        raise InputError(
            f"The slices to look at must be ascending indices from 0 to {count - 1}.",
            "Choose slices inside the volume.",
        )
    return chosen


def _drawn_masks(support: SupportSet, stack: Stack) -> np.ndarray | None:
    """(S, H, W) bool, what was drawn on this very volume; None for another patient's support."""
    if not stack.same_volume:
        return None
    drawn = np.zeros(stack.slices.shape, dtype=bool)
    for part in support.slices:
        drawn[part.index] = part.mask > 0
    return drawn


def _decide(predicted: Prediction, drawn: np.ndarray | None, options: SegmentOptions) -> np.ndarray:
    """(S, H, W) bool; drawn slices are kept as they were drawn, also in the probability."""
    probability = predicted.probability
    mask = probability > 0.5
    if options.clean_up:
        mask = connected_parts(probability, drawn)
        if not predicted.whole:
            mask = within_reach(mask, probability, drawn)
    if drawn is not None:
        slices = drawn.any(axis=(1, 2))
        mask[slices] = drawn[slices]
        probability[slices] = drawn[slices]
    return mask


def _slice_reports(
    predicted: Prediction,
    mask: np.ndarray,
    drawn: np.ndarray | None,
    looked_at: np.ndarray,
    support: SupportSet,
    stack: Stack,
) -> tuple[SliceReport, ...]:
    pixel = stack.spacing[1] * stack.spacing[2]
    typical = (
        float(np.mean([part.mask.sum() * part.spacing[0] * part.spacing[1] for part in support.slices]))
        / pixel
    )
    by_user = set() if drawn is None else {part.index for part in support.slices}
    # Slices that were not looked at say nothing of the structure's ends.
    occupied = np.asarray(mask.any(axis=(1, 2)))
    sure = sure_of_ends(occupied, stack.spacing[0]) if predicted.whole else np.ones(len(mask))
    sure[list(by_user)] = 1
    reports = []
    for index, chosen in zip(looked_at.tolist(), predicted.support_of.tolist(), strict=True):
        likely = without_noise(predicted.probability[index])
        reports.append(
            SliceReport(
                index=index,
                occupied=bool(mask[index].any()),
                drawn=index in by_user,
                score=round(float(sure[index]) * expected_dice(likely, mask[index], typical), 4),
                support_index=support.slices[chosen].index,
                area_mm2=float(mask[index].sum() * pixel),
            )
        )
    return tuple(reports)


def _warnings(
    support: SupportSet,
    query: Volume,
    stack: Stack,
    model_spacing: float,
    masks: np.ndarray,
    mask: np.ndarray,
    sureness: float,
) -> list[str]:
    found = []
    if not mask.any():
        found.append(NOT_FOUND)
    elif sureness < VAGUE:
        found.append(FOUND_VAGUELY)
    if stack.grid.spacing > COARSE * model_spacing:
        found.append(
            f"The field of view is large: the network works at {stack.grid.spacing:.1f} mm, not"
            f" {model_spacing:g}; crop the volume for a finer outline."
        )
    if masks.sum(axis=(1, 2)).max() < SMALL_PIXELS:
        found.append("The drawn structure is very small for the network; check every slice.")
    if not stack.same_volume and obliqueness(query, support.axes) > OBLIQUE_DEGREES:
        found.append(
            "The volume is tilted by over 20 degrees against the one drawn on: its slices cut differently."
        )
    return found
