"""The one function that carries the product: `segment_volume`."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import torch

from ..errors import InputError
from ..model import Model, QNet, Scores
from ..model.encoder import Features
from ..model.prototype import Prototypes
from ..volume import SupportSet, Volume, obliqueness
from . import matching
from .calibration import threshold_offset
from .cleanup import connected_parts, expected_dice, within_reach, without_noise
from .inference import CancelCallback, ProgressCallback, Runner
from .options import SegmentOptions
from .result import Report, Segmentation, SliceReport
from .stack import Stack, build_stack, support_images

SMALL_PIXELS = 50  # drawings below this many network pixels are hard to see for the encoder
COARSE = 1.5  # times the model's own spacing; beyond it organs look much smaller than in training
OBLIQUE_DEGREES = 20.0  # beyond it the drawn plane and the query's slices are different sections


def segment_volume(
    support: SupportSet,
    query: Volume,
    model: Model,
    options: SegmentOptions | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCallback | None = None,
) -> Segmentation:
    """Segment a volume from one or more drawn slices.

    Args:
        support: drawn slices, of this volume or of another patient.
        query: volume to segment, (K, J, I) float32 on any grid.
        model: from `qnetseg.model.load_model`.
        options: None for the defaults.
        progress: called as progress(done, total, stage) after every batch of slices.
        cancel: asked between batches; True stops.

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
    images, masks = support_images(support, stack)
    runner = Runner(model.network, options)
    looked_at = _slices_to_look_at(options, len(stack.slices))
    prepared = _Prepared.build(runner, images, masks, options, cancel)
    probability, support_of = _predict(runner, prepared, stack, looked_at, support, options, progress, cancel)
    drawn = _drawn_masks(support, stack)
    mask = _decide(probability, drawn, options)
    warnings = (*_warnings(support, query, stack, config.spacing, masks, mask), *runner.warnings)
    report = Report(
        structure=support.name,
        model=model.name,
        device=runner.device.type,
        precision=runner.precision,
        seconds=time.monotonic() - began,
        volume_ml=float(mask.sum()) * _voxel_ml(query),
        plane=support.plane,
        threshold_offset=prepared.offset,
        warnings=warnings,
        slices=_slice_reports(probability, mask, drawn, looked_at, support_of, support, stack),
    )
    return Segmentation(stack.native(mask.astype(np.uint8)), stack.native(probability), report)


def _voxel_ml(volume: Volume) -> float:
    """Volume of a voxel; the determinant also holds for sheared grids of a tilted gantry."""
    return abs(float(np.linalg.det(volume.ijk_to_ras[:3, :3]))) / 1000


class _Prepared:
    """The encoded support: prototypes, pooled features and the calibrated offset."""

    def __init__(self, prototypes: Prototypes, pooled: torch.Tensor, offset: float) -> None:
        self.prototypes, self.pooled, self.offset = prototypes, pooled, offset

    @classmethod
    def build(
        cls,
        runner: Runner[QNet],
        images: np.ndarray,
        masks: np.ndarray,
        options: SegmentOptions,
        cancel: CancelCallback | None,
    ) -> _Prepared:
        target = torch.from_numpy(masks)[:, None]

        def work(part: slice, features: Features) -> tuple[Prototypes, torch.Tensor, Scores]:
            prototypes = runner.network.condition(features, target[part].to(features.fine.device))
            scores = runner.network.scores(prototypes, features, options.refinement)
            return Prototypes(*_on_cpu(prototypes)), features.pooled.cpu(), Scores(*_on_cpu(scores))

        batches = runner.batches(torch.from_numpy(images), work, "support", None, cancel)
        prototypes, pooled, scores = zip(*(result for _, result in batches), strict=True)
        offset = 0.0
        if options.calibrate:
            together = Scores(*map(torch.cat, zip(*scores, strict=True)))
            offset = threshold_offset(runner.network, together, target, options.alpha)
        return cls(Prototypes(*map(torch.cat, zip(*prototypes, strict=True))), torch.cat(pooled), offset)


def _on_cpu(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.cpu() for tensor in tensors]


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


def _predict(
    runner: Runner[QNet],
    prepared: _Prepared,
    stack: Stack,
    looked_at: np.ndarray,
    support: SupportSet,
    options: SegmentOptions,
    progress: ProgressCallback | None,
    cancel: CancelCallback | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probability (S, H, W) float32 on the native in-plane grid, and for each slice looked at its support."""
    kind = options.matching
    if kind == "auto":
        kind = "nearest" if stack.same_volume else "similar"
    chosen = np.zeros(len(looked_at), dtype=int)
    if kind == "nearest":
        chosen = matching.nearest(looked_at, [part.index for part in support.slices])
    elif kind == "thirds":
        chosen = matching.thirds(len(looked_at), len(support.slices))
    images = torch.from_numpy(stack.grid.to_model(stack.slices[looked_at], fill=stack.fill))
    probability = np.zeros(stack.slices.shape, dtype=np.float32)
    size = (stack.grid.size, stack.grid.size)

    def work(part: slice, features: Features) -> np.ndarray:
        if kind == "similar":
            chosen[part] = matching.most_similar(features.pooled.cpu(), prepared.pooled)
        own = Prototypes(*(p[chosen[part]].to(features.fine.device) for p in prepared.prototypes))
        scores = runner.network.scores(own, features, options.refinement, prepared.offset)
        fused: np.ndarray = runner.network.fuse(scores, size, alpha=options.alpha)[:, 0].cpu().numpy()
        return fused

    for part, fused in runner.batches(images, work, "slices", progress, cancel):
        probability[looked_at[part]] = stack.grid.to_native(fused)
    return probability, chosen


def _drawn_masks(support: SupportSet, stack: Stack) -> np.ndarray | None:
    """(S, H, W) bool, what was drawn on this very volume; None for another patient's support."""
    if not stack.same_volume:
        return None
    drawn = np.zeros(stack.slices.shape, dtype=bool)
    for part in support.slices:
        drawn[part.index] = part.mask > 0
    return drawn


def _decide(probability: np.ndarray, drawn: np.ndarray | None, options: SegmentOptions) -> np.ndarray:
    """(S, H, W) bool; drawn slices are kept as they were drawn."""
    mask = probability > 0.5
    if options.clean_up:
        mask = within_reach(connected_parts(probability, drawn), probability, drawn)
    if drawn is not None:
        slices = drawn.any(axis=(1, 2))
        mask[slices] = drawn[slices]
        probability[slices] = drawn[slices]
    return mask


def _slice_reports(
    probability: np.ndarray,
    mask: np.ndarray,
    drawn: np.ndarray | None,
    looked_at: np.ndarray,
    support_of: np.ndarray,
    support: SupportSet,
    stack: Stack,
) -> tuple[SliceReport, ...]:
    pixel = stack.spacing[1] * stack.spacing[2]
    typical = (
        float(np.mean([part.mask.sum() * part.spacing[0] * part.spacing[1] for part in support.slices]))
        / pixel
    )
    by_user = set() if drawn is None else {part.index for part in support.slices}
    reports = []
    for index, chosen in zip(looked_at.tolist(), support_of.tolist(), strict=True):
        reports.append(
            SliceReport(
                index=index,
                occupied=bool(mask[index].any()),
                drawn=index in by_user,
                score=round(expected_dice(without_noise(probability[index]), mask[index], typical), 4),
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
) -> list[str]:
    found = []
    if not mask.any():
        found.append("The structure was not found in this volume.")
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
