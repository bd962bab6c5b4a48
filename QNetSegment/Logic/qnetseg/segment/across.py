"""Another patient's volume: the structure is found on one slice and propagated from there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..model import QNet
from ..volume import InPlaneGrid, SupportSet
from .best_slice import outlined, slice_confidence, usual_area
from .correspondence import Correspondence, correspond
from .decide import connected_parts, within_reach
from .drawn import propagate
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .propagator import Propagator
from .query import Query, Stack
from .scenes import Known
from .slice_by_slice import Prediction, predict

# Chosen on pairs of CMR patients, with and without the structure, and on CMR drawings in Sunnybrook.
FOUND_AGAIN = 0.86  # similarity of the drawn places from which nobody doubts that the structure is there
BEHIND = 0.01  # how much less similar than its surroundings it must be, too, for an empty result
SIMILARITY = 0.05  # of a whole slice to the drawn one, over which its confidence falls by a factor e


@dataclass(frozen=True)
class Searcher:
    """Both networks on their devices, and the volume in which they search."""

    qnet: Runner[QNet]
    propagator: Propagator
    grid: InPlaneGrid
    query: Query


def other_volume(
    searcher: Searcher, stack: Stack, support: SupportSet, options: SegmentOptions, job: Job
) -> Prediction:
    """Every slice is predicted on its own, by Q-Net and by the similarity of each place to the drawn ones;
    the most confident slice then stands for a drawn one.

    Where nothing is found the prediction stays as it is. Where the surroundings of the drawings are found
    again and they themselves less so, the structure is not there.
    """
    every = np.arange(len(stack.slices))
    qnet = searcher.qnet
    seen_as = (support.plane, support.axes.tobytes(), searcher.grid, qnet.device.type, qnet.precision)
    kept = searcher.query.features(qnet.original, seen_as, len(stack.slices))
    predicted = predict(
        *(qnet, stack, searcher.grid, support, every, options, job), described=True, kept=kept
    )
    described = predicted.described
    assert described is not None
    seen = correspond(described.query, described.support, described.masks, job.check)
    probability = _together(predicted.probability, seen.odds, searcher.grid)
    predicted = replace(predicted, probability=probability)
    mask = within_reach(connected_parts(probability, None), probability, None)
    if not mask.any():
        return predicted
    usual = usual_area(support, stack)
    sure = np.array([slice_confidence(*each, usual) for each in zip(probability, mask, strict=True)])
    predicted = replace(predicted, confidence=float(sure.max()))
    best = int((sure * np.exp(seen.found.numpy() / SIMILARITY)).argmax())
    if _absent(seen):
        # At most even odds: nothing is found, and the slices on which it might be are those to check.
        return replace(predicted, probability=np.minimum(probability, 0.5))
    likely, drawn = outlined(probability[best], mask[best], usual)
    found = propagate(searcher.propagator, stack.slices, stack.spacing, Known({best: drawn}), job)
    found.probability[best] = likely * drawn  # nobody drew it: it is as sure as predicted
    return replace(predicted, probability=found.probability, trust=found.trust)


def _together(probability: np.ndarray, odds: torch.Tensor, grid: InPlaneGrid) -> np.ndarray:
    """(S, H, W) probability of Q-Net with (S, h, w) log-odds of the similarity added."""
    fine = F.interpolate(odds[:, None], (grid.size, grid.size), mode="bilinear", align_corners=False)[:, 0]
    native = torch.from_numpy(grid.to_native(fine.numpy()))
    own = torch.logit(torch.from_numpy(probability), eps=1e-4)
    return torch.sigmoid(own + native).numpy()


def _absent(seen: Correspondence) -> bool:
    """Whether the surroundings of the drawings are found again somewhere, but nowhere what was drawn."""
    found, surroundings = float(seen.found.max()), float(seen.surroundings.max())
    return found < FOUND_AGAIN and found < surroundings - BEHIND
