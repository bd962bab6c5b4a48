"""Every slice on its own, as Q-Net predicts it from a drawn one: another patient's volume, and protocol P."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..model import QNet, Scores
from ..model.encoder import Features
from ..model.prototype import Prototypes
from ..volume import InPlaneGrid, SupportSet
from . import matching
from .calibration import threshold_offset
from .confidence import Trust
from .descriptors import Basis, Descriptors
from .images import support_images
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .presence import Signs
from .query import Stack


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is known of a stack before it is decided.

    Attributes:
        probability: (S, H, W) float32 on the native in-plane grid.
        support_of: for each slice looked at the position of its drawn slice in the support.
        threshold_offset: what calibration added to the threshold.
        trust: what speaks for or against each slice; None where only single slices were looked at, so that
            nothing is known of the structure's ends.
        described: the slices and the drawn ones along the same axes, if that was asked for.
        signs: what speaks for the structure's presence in another patient's volume; None elsewhere, and where
            nothing was found.
    """

    probability: np.ndarray
    support_of: np.ndarray
    threshold_offset: float
    trust: Trust | None = None
    described: Described | None = None
    signs: Signs | None = None


@dataclass(frozen=True, eq=False)
class Described:
    """Descriptors of the slices looked at and of the n drawn ones, whose masks are (n, h, w) float32, and the
    axes of both."""

    query: Descriptors
    support: Descriptors
    masks: torch.Tensor
    basis: Basis


def predict(
    runner: Runner[QNet],
    stack: Stack,
    grid: InPlaneGrid,
    support: SupportSet,
    looked_at: np.ndarray,
    options: SegmentOptions,
    job: Job,
    described: bool = False,
    kept: list[Features] | None = None,
    basis: Basis | None = None,
) -> Prediction:
    """Every slice looked at, from the drawn slice that `options.matching` chooses for it.

    grid: of the network's images, see `images.model_grid`.

    described: also give descriptors, along `basis` or, if that is None, along the axes of the largest drawn
    slice; kept: see `Runner.batches`.
    """
    drawn, masks = support_images(support, grid)
    prepared = _Prepared.build(runner, drawn, masks, options, job, basis)
    kind = options.matching
    if kind == "auto":
        kind = "nearest" if stack.same_volume else "similar"
    chosen = np.zeros(len(looked_at), dtype=int)
    if kind == "nearest":
        chosen = matching.nearest(looked_at, [part.index for part in support.filled])
    elif kind == "thirds":
        chosen = matching.thirds(len(looked_at), len(support.filled))
    images = torch.from_numpy(grid.to_model(stack.slices[looked_at], fill=stack.fill))
    probability = np.zeros(stack.slices.shape, dtype=np.float32)
    size = (grid.size, grid.size)
    units: list[torch.Tensor] = []

    def work(part: slice, features: Features) -> np.ndarray:
        if kind == "similar":
            chosen[part] = matching.most_similar(features.pooled.cpu(), prepared.pooled)
        if described:
            units[part.start :] = [prepared.basis.unit(features.finest.cpu())]
        own = Prototypes(*(p[chosen[part]].to(features.fine.device) for p in prepared.prototypes))
        scores = runner.network.scores(own, features, options.refinement, prepared.offset)
        fused = runner.network.fuse(scores, size, alpha=options.alpha)[:, 0].cpu()
        runner.require_numbers(fused)
        return fused.numpy()

    for part, fused in runner.batches(images, work, "slices", job, kept):
        probability[looked_at[part]] = grid.to_native(fused)
    found = Prediction(probability, chosen, prepared.offset)
    if not described:
        return found
    places = (units[0].shape[-2], units[0].shape[-1])
    known = F.adaptive_avg_pool2d(torch.from_numpy(masks)[:, None], places)[:, 0]
    both = (
        Descriptors.of(torch.cat(units), images, places),
        Descriptors.of(prepared.units, torch.from_numpy(drawn), places),
    )
    return replace(found, described=Described(*both, known, prepared.basis))


class _Prepared:
    """The encoded support: prototypes, pooled features, the calibrated offset, the largest slice's basis and
    all slices' features along its axes."""

    def __init__(
        self,
        prototypes: Prototypes,
        pooled: torch.Tensor,
        offset: float,
        basis: Basis,
        units: torch.Tensor,
    ) -> None:
        self.prototypes, self.pooled, self.offset = prototypes, pooled, offset
        self.basis, self.units = basis, units

    @classmethod
    def build(
        cls,
        runner: Runner[QNet],
        images: np.ndarray,
        masks: np.ndarray,
        options: SegmentOptions,
        job: Job,
        basis: Basis | None,
    ) -> _Prepared:
        target = torch.from_numpy(masks)[:, None]
        fine: list[torch.Tensor] = []

        def work(part: slice, features: Features) -> tuple[Prototypes, torch.Tensor, Scores]:
            fine[part.start :] = features.finest.cpu()
            prototypes = runner.network.condition(features, target[part].to(features.fine.device))
            scores = runner.network.scores(prototypes, features, options.refinement)
            return Prototypes(*_on_cpu(prototypes)), features.pooled.cpu(), Scores(*_on_cpu(scores))

        batches = runner.batches(torch.from_numpy(images), work, "support", job.silent)
        prototypes, pooled, scores = zip(*(result for _, result in batches), strict=True)
        offset = 0.0
        if options.calibrate:
            own = Scores(*map(torch.cat, zip(*scores, strict=True)))
            offset = threshold_offset(runner.network, own, target, options.alpha)
        together = Prototypes(*map(torch.cat, zip(*prototypes, strict=True)))
        if basis is None:
            basis = Basis.of(fine[int(masks.sum(axis=(1, 2)).argmax())][None])
        return cls(together, torch.cat(pooled), offset, basis, basis.unit(torch.stack(fine)))


def _on_cpu(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.cpu() for tensor in tensors]
