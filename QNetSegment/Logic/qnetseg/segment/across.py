"""Another patient's volume: the structure is found there by several ways, which are judged, and propagated.

Ways to a first slice: Q-Net and the similarity of each place to the drawn ones; and, where the whole volume
that was drawn on is known, Q-Net near the place that an alignment of both bodies gives, and that place
itself. Each is propagated and judged by the way back (Valindria et al. 2017,
https://arxiv.org/abs/1702.03407): the drawn slice is found again from the result. What the ways of all
examples agree on is drawn on up to three slices, and propagated once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.special import expit, logit

from ..model import QNet
from ..volume import InPlaneGrid
from .best_slice import outlined, slice_confidence, usual_area
from .confidence import Trust, expected_overlap
from .correspondence import Correspondence, correspond
from .decide import connected_parts, within_reach
from .drawn import propagate
from .example import Alignment, Anatomy, Example
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .overlap import dice
from .presence import Signs, probability as presence_of
from .propagator import Propagator
from .query import Query, Stack
from .scenes import Known
from .slice_by_slice import Described, Prediction, predict

SIMILARITY = 0.05  # of a whole slice to the drawn one, over which its confidence falls by a factor e

# Chosen by hand on pairs of CHAOST2 patients, of the development data that R3 scores, too.
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


def other_volume(
    searcher: Searcher, stack: Stack, examples: Sequence[Example], options: SegmentOptions, job: Job
) -> Prediction:
    """Find the structure in another patient's volume, after one example or several.

    Where nothing is found the prediction of Q-Net stays as it is.
    """
    search = _Search(searcher, stack, options, job)
    seen = [search.look(example) for example in examples]
    ways = [way for one in seen for way in search.ways(one)]
    best = max(seen, key=lambda one: one.confidence)
    if not ways:
        return best.predicted
    found, trust = search.agreed(ways)
    signs = search.signs(best, [way for way in ways if way.seen is best], found)
    return replace(best.predicted, probability=found, trust=trust, presence=presence_of(signs))


@dataclass(frozen=True, eq=False)
class _Seed:
    """The slice to begin with: its index, mask (H, W), and the most confident slice's confidence."""

    index: int
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
    return _Seed(best, outlined(probability[best], mask[best], usual)[1], float(sure.max()))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What an example says of a volume.

    Attributes:
        predicted: by Q-Net and similarity together.
        by_qnet: (S, H, W) float32, its probability alone.
        described: both along the same axes.
        alike: similarity of the drawn places to each slice, and of their surroundings.
        place: (S, H, W) float32 of the structure by the alignment; None where that is not known.
        usual: area of the drawings in pixels of the stack.
        first: where Q-Net and similarity would begin; None where they find nothing.
        expected_ml: volume of the example's structure; None where that is not known.
    """

    predicted: Prediction
    by_qnet: np.ndarray
    described: Described
    alike: Correspondence
    place: np.ndarray | None
    usual: float
    first: _Seed | None
    expected_ml: float | None

    @property
    def confidence(self) -> float:
        return 0.0 if self.first is None else self.first.confidence


@dataclass(frozen=True, eq=False)
class _Way:
    """A result: mask (S, H, W) bool, and the Dice of the way back."""

    seen: _Seen
    mask: np.ndarray
    back: float

    @property
    def trust(self) -> float:
        """Dice of the way back, and of the place; where that is not known, as if it were as good."""
        at_place = self.back if self.seen.place is None else dice(self.mask, self.seen.place > 0.5)
        return self.back + at_place


class _Search:
    """One structure in one volume."""

    def __init__(self, searcher: Searcher, stack: Stack, options: SegmentOptions, job: Job) -> None:
        self.searcher, self.stack, self.options, self.job = searcher, stack, options, job

    def look(self, example: Example) -> _Seen:
        """Compare the volume with an example."""
        searcher, stack, support, job = self.searcher, self.stack, example.support, self.job
        qnet, every = searcher.qnet, np.arange(len(stack.slices))
        anatomy = None if example.volume is None else Anatomy.of(example, qnet, job)
        seen_as = (support.plane, support.axes.tobytes(), searcher.grid, qnet.device.type, qnet.precision)
        kept = searcher.query.features(qnet.original, seen_as, len(every))
        basis = None if anatomy is None else anatomy.basis
        predicted = predict(
            *(qnet, stack, searcher.grid, support, every, self.options, job),
            described=True,
            kept=kept,
            basis=basis,
        )
        described, by_qnet = predicted.described, predicted.probability
        assert described is not None
        alike = correspond(described.query, described.support, described.masks, job.check)
        predicted = replace(
            predicted, probability=_together(by_qnet, alike.odds, searcher.grid), described=None
        )
        usual = usual_area(support, stack)
        first = _seed(predicted.probability, usual, np.exp(alike.found.numpy() / SIMILARITY))
        place, expected = None, None
        if anatomy is not None:
            own = anatomy.structure(support, searcher.propagator, job)
            expected = _volume_ml(own > 0.5, anatomy.stack)
            alignment = self._aligned(example, anatomy, described)
            place = anatomy.moved(own, alignment, searcher.grid, len(every))
        return _Seen(predicted, by_qnet, described, alike, place, usual, first, expected)

    def _aligned(self, example: Example, anatomy: Anatomy, described: Described) -> Alignment:
        """Found once for all structures of the example."""
        assert example.volume is not None
        key = ("aligned", example.volume.fingerprint, example.support.plane, self.searcher.grid, anatomy.grid)
        return self.searcher.query.remember(
            key, lambda: anatomy.positions(described.query, self.stack, self.job)
        )

    def ways(self, seen: _Seen) -> Iterator[_Way]:
        """What comes out from each seed."""
        seeds = [seen.first]
        if seen.place is not None:
            near = logit(np.clip(seen.by_qnet, 1e-4, 1 - 1e-4)) + _prior(seen.place, self.stack)
            seeds += [_seed(expit(near).astype(np.float32), seen.usual), _seed(seen.place, seen.usual)]
        for seed in seeds:
            if seed is not None:
                yield self.way(seen, seed)

    def way(self, seen: _Seen, seed: _Seed) -> _Way:
        """Propagate from a seed, and judge what comes out."""
        probability, _ = self.propagated({seed.index: seed.mask})
        drawn = np.zeros(probability.shape, bool)
        drawn[seed.index] = seed.mask
        mask = connected_parts(probability, drawn)
        return _Way(seen, mask, _way_back(seen.described, mask, self.searcher.grid))

    def propagated(self, drawn: dict[int, np.ndarray]) -> tuple[np.ndarray, Trust | None]:
        """Probability (S, H, W) and trust from slices that stand for drawn ones."""
        stack = self.stack
        found = propagate(self.searcher.propagator, stack.slices, stack.spacing, Known(drawn), self.job)
        return found.probability, found.trust

    def agreed(self, ways: list[_Way]) -> tuple[np.ndarray, Trust | None]:
        """Probability (S, H, W) and trust of what the ways agree on."""
        weights = np.exp(TRUST * np.array([way.trust for way in ways]))
        votes = np.zeros(self.stack.slices.shape, np.float32)
        for way, weight in zip(ways, weights / weights.sum(), strict=True):
            votes += np.float32(weight) * way.mask
        together = votes > 0.5
        drawn = {index: together[index] for index in _to_draw(votes, together)}
        if not drawn:
            return votes, None
        probability, trust = self.propagated(drawn)
        for index, mask in drawn.items():
            probability[index] = votes[index] * mask
        return probability, trust

    def signs(self, seen: _Seen, ways: list[_Way], found: np.ndarray) -> Signs:
        """What speaks for the structure's presence; ways: those of this example."""
        mask = found > 0.5
        back = _way_back(seen.described, mask, self.searcher.grid)
        pairs = [dice(one.mask, other.mask) for one, other in combinations(ways, 2)]
        if seen.expected_ml is None:
            largest, usual = float(mask.sum(axis=(1, 2)).max()), seen.usual
        else:
            largest, usual = _volume_ml(mask, self.stack), seen.expected_ml
        similar, around = float(seen.alike.found.max()), float(seen.alike.surroundings.max())
        return Signs(
            alike=similar,
            beside=similar - around if np.isfinite(around) else 0.0,
            confidence=seen.confidence,
            back=back,
            agreement=float(np.mean(pairs)) if pairs else 1.0,
            place=float("nan") if seen.place is None else dice(mask, seen.place > 0.5),
            size=abs(float(np.log(max(largest, 1e-3) / max(usual, 1e-3)))),
        )


def _volume_ml(mask: np.ndarray, stack: Stack) -> float:
    return float(mask.sum()) * float(np.prod(stack.spacing)) / 1000


def _to_draw(votes: np.ndarray, mask: np.ndarray) -> Iterator[int]:
    """Up to DRAWN slices on which the votes agree and much is found, spread over the structure."""
    areas = mask.sum(axis=(1, 2)).astype(float)
    large = np.flatnonzero(areas > LARGE * areas.max())
    for part in np.array_split(large, DRAWN):
        if len(part):
            sure = [expected_overlap(votes[i], mask[i], areas[i]) * areas[i] ** 0.5 for i in part]
            yield int(part[int(np.argmax(sure))])


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
