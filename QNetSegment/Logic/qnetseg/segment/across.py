"""Another patient's volume: the structure is found there by several ways, which are judged, and propagated.

Ways to a first slice: Q-Net and the similarity of each place to the drawn ones; and, where the whole volume
that was drawn on is known, Q-Net near the place that an alignment of both bodies gives, and that place
itself. Each is propagated and judged by the way back (Valindria et al. 2017,
https://arxiv.org/abs/1702.03407): the drawn slice is found again from the result. What they agree on is
drawn on up to three slices, and propagated once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.special import expit, logit

from ..model import QNet
from ..volume import InPlaneGrid, SupportSet
from .alignment import Body, align, moved
from .best_slice import outlined, slice_confidence, usual_area
from .confidence import Trust, expected_overlap
from .correspondence import Correspondence, correspond
from .decide import connected_parts, within_reach
from .descriptors import Descriptors
from .drawn import propagate
from .images import model_grid
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .overlap import dice
from .propagator import Propagator
from .query import Query, Stack
from .scenes import Known
from .slice_by_slice import Described, Prediction, predict

# Chosen on pairs of CMR patients, with and without the structure, and on CMR drawings in Sunnybrook.
FOUND_AGAIN = 0.86  # similarity of the drawn places from which nobody doubts that the structure is there
BEHIND = 0.01  # how much less similar than its surroundings it must be, too, for an empty result
SIMILARITY = 0.05  # of a whole slice to the drawn one, over which its confidence falls by a factor e

# Set by hand on pairs of CHAOST2 patients of the development data, which R3 scores, too.
BLUR = 10.0  # mm by which the place of an alignment is uncertain in the plane; 8 mm across planes
NOWHERE, SURE = 0.01, 0.9  # probability of an aligned place, at least and at most
OUTSIDE = 1.0  # log-odds added to it, so that its rim counts as even
TRUST = 4.0  # a way's weight grows by a factor e with each 1 / TRUST of Dice on the way back
BACK = 3  # slices of a result, the largest, from which the drawn one is found again
LARGE = 0.3  # of the largest slice's area: smaller slices are not drawn on
DRAWN = 3  # slices at most that are drawn on what the ways agree on


@dataclass(frozen=True)
class Searcher:
    """Both networks on their devices, and the volume in which they search."""

    qnet: Runner[QNet]
    propagator: Propagator
    grid: InPlaneGrid
    query: Query


@dataclass(frozen=True, eq=False)
class _Way:
    """A result and how far to trust it: mask (S, H, W) bool and the Dice of the way back and of the place."""

    mask: np.ndarray
    trust: float


def other_volume(
    searcher: Searcher,
    stack: Stack,
    support: SupportSet,
    options: SegmentOptions,
    job: Job,
    drawn_on: Stack | None = None,
) -> Prediction:
    """Find the structure in another patient's volume.

    Where nothing is found the prediction of Q-Net stays as it is. Where the surroundings of the drawings are
    found again and they themselves less so, the structure is not there.

    drawn_on: the volume that was drawn on, reoriented like the stack; None where only its drawn slices are
    known.
    """
    every = np.arange(len(stack.slices))
    qnet = searcher.qnet
    seen_as = (support.plane, support.axes.tobytes(), searcher.grid, qnet.device.type, qnet.precision)
    kept = searcher.query.features(qnet.original, seen_as, len(stack.slices))
    predicted = predict(
        *(qnet, stack, searcher.grid, support, every, options, job), described=True, kept=kept
    )
    described, by_qnet = predicted.described, predicted.probability
    assert described is not None
    seen = correspond(described.query, described.support, described.masks, job.check)
    probability = _together(by_qnet, seen.odds, searcher.grid)
    usual = usual_area(support, stack)
    predicted = replace(predicted, probability=probability)
    alike = np.exp(seen.found.numpy() / SIMILARITY)
    first = _seed(probability, usual, alike)
    if first is None:
        return predicted
    predicted = replace(predicted, confidence=first.confidence)
    if _absent(seen):
        # At most even odds: nothing is found, and the slices on which it might be are those to check.
        return replace(predicted, probability=np.minimum(probability, 0.5))
    search = _Search(searcher, stack, job)
    if drawn_on is None:
        found, trust = search.propagated({first.index: first.mask})
        found[first.index] = first.likely * first.mask  # nobody drew it: it is as sure as predicted
        return replace(predicted, probability=found, trust=trust)
    place = _place(searcher, described, support, drawn_on, stack, job)
    near = logit(np.clip(by_qnet, 1e-4, 1 - 1e-4)) + _prior(place, stack)
    seeds = [first, _seed(expit(near).astype(np.float32), usual), _seed(place, usual)]
    ways = [search.way(seed, described, place) for seed in seeds if seed is not None]
    return replace(predicted, **search.agreed(ways))


@dataclass(frozen=True, eq=False)
class _Seed:
    """The slice to begin with: its index, probability and mask (H, W), and the most confident slice's
    confidence."""

    index: int
    likely: np.ndarray
    mask: np.ndarray
    confidence: float


def _seed(probability: np.ndarray, usual: float, alike: np.ndarray | float = 1.0) -> _Seed | None:
    """The most confident slice of a probability (S, H, W); None where nothing is found.

    usual: area of the drawings in pixels. alike: (S,) factors of the slices' confidence.
    """
    mask = within_reach(connected_parts(probability, None), probability, None)
    if not mask.any():
        return None
    sure = np.array([slice_confidence(*each, usual) for each in zip(probability, mask, strict=True)])
    best = int((sure * alike).argmax())
    return _Seed(best, *outlined(probability[best], mask[best], usual), float(sure.max()))


class _Search:
    """One structure in one volume."""

    def __init__(self, searcher: Searcher, stack: Stack, job: Job) -> None:
        self.searcher, self.stack, self.job = searcher, stack, job

    def propagated(self, drawn: dict[int, np.ndarray]) -> tuple[np.ndarray, Trust | None]:
        """Probability (S, H, W) and trust from slices that stand for drawn ones."""
        stack = self.stack
        found = propagate(self.searcher.propagator, stack.slices, stack.spacing, Known(drawn), self.job)
        return found.probability, found.trust

    def way(self, seed: _Seed, described: Described, place: np.ndarray) -> _Way:
        """Propagate from a seed, and judge what comes out.

        place: (S, H, W) float32 of the structure by the alignment.
        """
        probability, _ = self.propagated({seed.index: seed.mask})
        drawn = np.zeros(probability.shape, bool)
        drawn[seed.index] = seed.mask
        mask = connected_parts(probability, drawn)
        back = _way_back(described, mask, self.searcher.grid)
        return _Way(mask, back + dice(mask, place > 0.5))

    def agreed(self, ways: list[_Way]) -> dict[str, Any]:
        """Probability and trust of what the ways agree on."""
        weights = np.exp(TRUST * np.array([way.trust for way in ways]))
        votes = np.zeros(self.stack.slices.shape, np.float32)
        for way, weight in zip(ways, weights / weights.sum(), strict=True):
            votes += np.float32(weight) * way.mask
        together = votes > 0.5
        drawn = {index: together[index] for index in _to_draw(votes, together)}
        if not drawn:
            return {"probability": votes}
        probability, trust = self.propagated(drawn)
        for index, mask in drawn.items():
            probability[index] = votes[index] * mask
        return {"probability": probability, "trust": trust}


def _to_draw(votes: np.ndarray, mask: np.ndarray) -> Iterator[int]:
    """Up to DRAWN slices on which the votes agree and much is found, spread over the structure."""
    areas = mask.sum(axis=(1, 2)).astype(float)
    large = np.flatnonzero(areas > LARGE * areas.max())
    for part in np.array_split(large, DRAWN):
        if len(part):
            sure = [expected_overlap(votes[i], mask[i], areas[i]) * areas[i] ** 0.5 for i in part]
            yield int(part[int(np.argmax(sure))])


def _place(
    searcher: Searcher,
    described: Described,
    support: SupportSet,
    drawn_on: Stack,
    stack: Stack,
    job: Job,
) -> np.ndarray:
    """(S, H, W) float32: the drawn patient's structure where an alignment of both bodies puts it."""
    drawn = {part.index: part.mask > 0 for part in support.slices}
    own = propagate(searcher.propagator, drawn_on.slices, drawn_on.spacing, Known(drawn), job).probability
    for index, mask in drawn.items():
        own[index] = mask
    grid = model_grid(support, drawn_on, searcher.qnet.network.config)
    images = torch.from_numpy(grid.to_model(drawn_on.slices, fill=drawn_on.fill))
    units = [
        part
        for _, part in searcher.qnet.batches(
            images,
            lambda _, features: described.basis.unit(features.finest.cpu()),
            "support",
            job.silent,
        )
    ]
    theirs = Descriptors.of(torch.cat(units), images, described.query.size)
    query, example = Body.of(described.query, stack.spacing[0]), Body.of(theirs, drawn_on.spacing[0])
    positions = align(query, example, job.check)
    planes = torch.from_numpy(grid.to_model(own[:: example.step]))
    found = moved(planes, positions, searcher.grid.size).numpy()
    return searcher.grid.to_native(_between_planes(found, query.step, len(stack.slices)))


def _between_planes(volume: np.ndarray, step: int, count: int) -> np.ndarray:
    """(P, N, N) of every so many slices for all `count` of them: each as the nearest plane."""
    nearest = np.minimum((np.arange(count) + step // 2) // step, len(volume) - 1)
    return np.ascontiguousarray(volume[nearest])


def _prior(place: np.ndarray, stack: Stack) -> np.ndarray:
    """Log-odds of a place that is known but for some millimetres."""
    across, *within = stack.spacing
    widths = (max(0.3, 0.8 * BLUR / across), *(BLUR / mm for mm in within))
    near = ndimage.gaussian_filter(place, widths)
    return np.asarray(logit(np.clip(near, NOWHERE, SURE))) + OUTSIDE


def _way_back(described: Described, mask: np.ndarray, grid: InPlaneGrid) -> float:
    """Dice of the drawn slices with what is found there from the largest slices of a result."""
    areas = mask.sum(axis=(1, 2))
    largest = np.sort(np.argsort(areas)[::-1][:BACK])
    largest = largest[areas[largest] > 0]
    if not len(largest):
        return 0.0
    covered = torch.from_numpy(grid.to_model(np.ascontiguousarray(mask[largest], np.float32)))
    masks = F.adaptive_avg_pool2d(covered[:, None], described.query.size)[:, 0]
    seen = correspond(described.support, described.query.chosen(largest.tolist()), masks)
    return dice((seen.odds > 0).numpy(), (described.masks > 0.5).numpy())


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
