"""Every slice on its own, as Q-Net predicts it from a drawn one: another patient's volume, and protocol P."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..model import QNet, Scores
from ..model.encoder import Features
from ..model.prototype import Prototypes
from ..volume import SupportSet
from . import matching
from .calibration import threshold_offset
from .descriptors import Basis, Descriptors, finest
from .inference import CancelCallback, ProgressCallback, Runner
from .options import SegmentOptions
from .stack import Stack, support_images


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is known of a stack before it is decided.

    Attributes:
        probability: (S, H, W) float32 on the native in-plane grid.
        support_of: for each slice looked at the position of its drawn slice in the support.
        threshold_offset: what calibration added to the threshold.
        whole: found in the volume as a whole, ends included.
        descriptors: of the slices, if they were asked for.
    """

    probability: np.ndarray
    support_of: np.ndarray
    threshold_offset: float
    whole: bool = False
    descriptors: Descriptors | None = None


def predict(
    runner: Runner[QNet],
    stack: Stack,
    support: SupportSet,
    looked_at: np.ndarray,
    options: SegmentOptions,
    progress: ProgressCallback | None,
    cancel: CancelCallback | None,
    described: bool = False,
) -> Prediction:
    """Every slice looked at, from the drawn slice that `options.matching` chooses for it.

    described: also give the slices' descriptors, whose axes are those of the largest drawn slice.
    """
    prepared = _Prepared.build(runner, *support_images(support, stack), options, cancel)
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
    units: list[torch.Tensor] = []

    def work(part: slice, features: Features) -> np.ndarray:
        if kind == "similar":
            chosen[part] = matching.most_similar(features.pooled.cpu(), prepared.pooled)
        if described:
            units[part.start :] = [prepared.basis.unit(finest(features))]
        own = Prototypes(*(p[chosen[part]].to(features.fine.device) for p in prepared.prototypes))
        scores = runner.network.scores(own, features, options.refinement, prepared.offset)
        fused: np.ndarray = runner.network.fuse(scores, size, alpha=options.alpha)[:, 0].cpu().numpy()
        return fused

    for part, fused in runner.batches(images, work, "slices", progress, cancel):
        probability[looked_at[part]] = stack.grid.to_native(fused)
    descriptors = Descriptors.of(torch.cat(units), images) if described else None
    return Prediction(probability, chosen, prepared.offset, descriptors=descriptors)


class _Prepared:
    """The encoded support: prototypes, pooled features, the calibrated offset, the largest slice's basis."""

    def __init__(self, prototypes: Prototypes, pooled: torch.Tensor, offset: float, basis: Basis) -> None:
        self.prototypes, self.pooled, self.offset, self.basis = prototypes, pooled, offset, basis

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
        largest = int(masks.sum(axis=(1, 2)).argmax())
        bases: dict[int, Basis] = {}

        def work(part: slice, features: Features) -> tuple[Prototypes, torch.Tensor, Scores]:
            if part.start <= largest < part.stop:
                bases[largest] = Basis.of(finest(features)[largest - part.start][None])
            prototypes = runner.network.condition(features, target[part].to(features.fine.device))
            scores = runner.network.scores(prototypes, features, options.refinement)
            return Prototypes(*_on_cpu(prototypes)), features.pooled.cpu(), Scores(*_on_cpu(scores))

        batches = runner.batches(torch.from_numpy(images), work, "support", None, cancel)
        prototypes, pooled, scores = zip(*(result for _, result in batches), strict=True)
        offset = 0.0
        if options.calibrate:
            own = Scores(*map(torch.cat, zip(*scores, strict=True)))
            offset = threshold_offset(runner.network, own, target, options.alpha)
        together = Prototypes(*map(torch.cat, zip(*prototypes, strict=True)))
        return cls(together, torch.cat(pooled), offset, bases[largest])


def _on_cpu(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.cpu() for tensor in tensors]
