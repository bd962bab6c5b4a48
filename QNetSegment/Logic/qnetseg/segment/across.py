"""Another patient's volume: the structure is found there by several ways, which are judged, and propagated.

Ways to a first slice: Q-Net and the similarity of each place to the drawn ones; and, where the whole patient
that was drawn on is known, Q-Net near the place that an alignment of both bodies gives. Each is propagated,
and judged by that place; where only the drawn slices are known, by the way back (Valindria et al. 2017,
https://arxiv.org/abs/1702.03407): the drawn slice is found again from the result. What the ways of all
examples agree on is, with the place, the hint from which it is found once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.special import expit, logit

from ..model import QNet
from ..volume import InPlaneGrid, Patient, SupportSet
from .anatomy import Anatomy, Comparison, Place, volume_ml
from .best_slice import outlined, slice_confidence, usual_area
from .confidence import Trust
from .correspondence import Correspondence, correspond
from .decide import connected_parts, within_reach
from .drawn import propagate
from .evidence import SEEN
from .images import model_grid
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .overlap import dice
from .presence import Signs, clearest
from .propagator import Propagator
from .query import Query, Stack
from .scenes import Known
from .slice_by_slice import Described, Prediction, predict

# Chosen by hand on pairs of CMR patients, and on CMR drawings in Sunnybrook.
SIMILARITY = 0.05  # of a whole slice to the drawn one, over which its confidence falls by a factor e

# Chosen by hand on pairs of CHAOST2 patients, of the development data that R3 scores, too.
BLUR = 10.0  # mm by which the place of an alignment is uncertain in the plane; 8 mm across planes
NOWHERE, SURE = 0.01, 0.9  # probability of an aligned place, at least and at most
OUTSIDE = 1.0  # log-odds added to it, so that its rim counts as even
TRUST = 8.0  # a way's weight grows by a factor e with each 1 / TRUST of that Dice
BACK = 3  # planes of a result, the largest, from which the drawn one is found again
COMPARED = 3  # drawn slices of a patient, the largest; by hand on CMR, where all of them found less than one

# Guards of rare cases; in the pairs that were tried by hand no result depended on them.
MET = 0.5  # share of what the ways agree on that the places have to leave, or they lie elsewhere
LEAST_SEEN = 0.1  # share of a hint that has to be so sure, or all of it counts as certain

# What is told of the progress, set by hand; nothing else depends on it.
LOOKED, TRIED = 0.85, 0.95  # of the whole: after the examples were looked at, and after all ways
ENCODED, COMPARED_WITH = 0.35, 0.7  # of a look: after the patient that was drawn on, and after the volume


@dataclass(frozen=True)
class Searcher:
    """Both networks on their devices, and the volume in which they search."""

    qnet: Runner[QNet]
    propagator: Propagator
    query: Query
    options: SegmentOptions
    job: Job


def other_volume(searcher: Searcher, stack: Stack, examples: Sequence[SupportSet]) -> Prediction:
    """Find the structure in another patient's volume, after one example or several.

    Where nothing is found and no place is known either, the prediction of Q-Net stays as it is. stack: the
    volume in the plane of the first example.
    """
    examples = [_largest(example) for example in examples]
    stacks = [stack, *(searcher.query.stack(example) for example in examples[1:])]
    searches = [_Search(searcher, *each) for each in zip(examples, stacks, strict=True)]
    job = searcher.job.part(0, 1, len(stack.slices))
    looks, tries = _parts(job.part(0, LOOKED), searches), _parts(job.part(LOOKED, TRIED), searches)
    seen = [search.look(own) for search, own in zip(searches, looks, strict=True)]
    ways = [search.ways(one, own) for search, one, own in zip(searches, seen, tries, strict=True)]
    main, heard = searches[0], list(zip(searches, seen, ways, strict=True))
    together = [_Way(main.adopted(way.mask, search), way.trust) for search, _, own in heard for way in own]
    places = [main.adopted(one.place.there, search) for search, one, _ in heard if one.place is not None]
    if not together and not places:
        return seen[0].predicted
    found, trust = main.hinted(_agreed(together, places), job.part(TRIED, 1))
    finding = [each for each in heard if each[2]] or heard
    signs = [search.signs(one, own, search.adopted(found, main)) for search, one, own in finding]
    return replace(seen[0].predicted, probability=found, trust=trust, signs=clearest(signs))


def _parts(job: Job, of: Sequence[object]) -> list[Job]:
    """Equal parts of a piece of work, one for each of some things."""
    return [job.part(number / len(of), (number + 1) / len(of)) for number in range(len(of))]


def _largest(support: SupportSet) -> SupportSet:
    """Its largest drawn slices; the rest of the structure is known from its patient."""
    if support.patient is None:
        return support
    filled = sorted(support.filled, key=lambda part: int(part.mask.sum()), reverse=True)
    return replace(support, slices=tuple(filled[:COMPARED]))


@dataclass(frozen=True, eq=False)
class _Seed:
    """The plane to begin with: its number, mask (H, W), and the most confident plane's confidence."""

    plane: int
    mask: np.ndarray
    confidence: float


def _seed(probability: np.ndarray, usual: float, alike: np.ndarray | float = 1.0) -> _Seed | None:
    """The most confident plane of a probability (P, H, W); None where nothing is found.

    usual: area of the drawings in pixels. alike: (P,) factors of the planes' confidence.
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
        by_qnet: (P, H, W) float32, its probability alone, of the planes.
        described: both along the same axes.
        alike: similarity of the drawn places to each plane, and of their surroundings.
        usual: area of the drawings in pixels of the stack.
        first: where Q-Net and similarity would begin; None where they find nothing.
        place: None where only the drawn slices are known.
    """

    predicted: Prediction
    by_qnet: np.ndarray
    described: Described
    alike: Correspondence
    usual: float
    first: _Seed | None
    place: Place | None


@dataclass(frozen=True, eq=False)
class _Way:
    """A result and how far to trust it.

    mask: (S, H, W) bool. trust: its Dice with the place of the alignment or, where that is not known, that of
    the way back.
    """

    mask: np.ndarray
    trust: float


class _Search:
    """One example in one volume.

    seen_as: what decides how Q-Net's encoder sees the volume.
    """

    def __init__(self, searcher: Searcher, support: SupportSet, stack: Stack) -> None:
        self.searcher, self.support, self.stack = searcher, support, stack
        self.grid = model_grid(support, stack, searcher.qnet.network.config)
        self.seen_as = (*searcher.qnet.seen_as(support), self.grid)

    def look(self, job: Job) -> _Seen:
        """Compare the volume with the example."""
        searcher, stack, support = self.searcher, self.stack, self.support
        qnet, patient = searcher.qnet, support.patient
        anatomy, begin, end = None, 0.0, 1.0
        if patient is not None:
            anatomy = Anatomy.of(patient.image, support, qnet, job.part(0, ENCODED))
            begin, end = ENCODED, COMPARED_WITH
        predicted = predict(
            *(qnet, stack, self.grid, support, stack.planes, searcher.options, job.part(begin, end)),
            described=True,
            kept=searcher.query.features(self.seen_as, len(stack.planes)),
            basis=None if anatomy is None else anatomy.basis,
        )
        described, by_qnet = predicted.described, predicted.probability[stack.planes]
        assert described is not None
        alike = correspond(described.query, described.support, described.masks, job.check)
        probability = _together(by_qnet, alike.odds, self.grid)
        predicted = replace(
            predicted,
            probability=stack.between_planes(probability),
            support_of=stack.between_planes(predicted.support_of),
            described=None,
        )
        usual = usual_area(support, stack)
        first = _seed(probability, usual, np.exp(alike.found.numpy() / SIMILARITY))
        place = None
        if anatomy is not None and patient is not None:
            place = self._place(anatomy, patient, described, job.part(COMPARED_WITH, 1))
        return _Seen(predicted, by_qnet, described, alike, usual, first, place)

    def _place(self, anatomy: Anatomy, patient: Patient, described: Described, job: Job) -> Place:
        """By a comparison of both bodies, which is made once for all structures of the patient."""
        searcher = self.searcher
        comparison = searcher.query.memory.get(
            ("comparison", patient.image, *self.seen_as),
            lambda: Comparison.of(anatomy, described.query, self.stack, self.grid),
        )
        return comparison.place(patient, self.stack, self.grid, searcher.qnet, job)

    def ways(self, seen: _Seen, job: Job) -> list[_Way]:
        """What comes out from each seed."""
        seeds = [seed for seed in self.seeds(seen).values() if seed is not None]
        return [self.way(seen, seed, own) for seed, own in zip(seeds, _parts(job, seeds), strict=True)]

    def seeds(self, seen: _Seen) -> dict[str, _Seed | None]:
        """Planes to begin with: the most similar one, and that of Q-Net near the place."""
        if seen.place is None:
            return {"similar": seen.first}
        prior = _prior(seen.place.there[self.stack.planes], self.stack)
        near = logit(np.clip(seen.by_qnet, 1e-4, 1 - 1e-4)) + prior
        return {"similar": seen.first, "near": _seed(expit(near).astype(np.float32), seen.usual)}

    def way(self, seen: _Seen, seed: _Seed, job: Job) -> _Way:
        """Propagate from a seed, and judge what comes out."""
        index = int(self.stack.planes[seed.plane])
        probability, _ = self.propagated(Known({index: seed.mask}), job)
        drawn = np.zeros(probability.shape, bool)
        drawn[index] = seed.mask
        mask = connected_parts(probability, drawn)
        if seen.place is not None:
            return _Way(mask, dice(mask, seen.place.there > 0.5))
        return _Way(mask, self.way_back(seen, mask))

    def adopted(self, array: np.ndarray, search: _Search) -> np.ndarray:
        """An array (S', H', W') of another example's slices, on this one's."""
        return array if search is self else self.stack.along(search.stack.native(array))

    def propagated(self, known: Known, job: Job) -> tuple[np.ndarray, Trust | None]:
        """Probability (S, H, W) and trust of what is known."""
        stack = self.stack
        found = propagate(self.searcher.propagator, stack.slices, stack.spacing, known, job)
        return found.probability, found.trust

    def hinted(self, hint: np.ndarray, job: Job) -> tuple[np.ndarray, Trust | None]:
        """Probability (S, H, W) and trust of what a hint leads to."""
        inside = hint > 0.5
        if not inside.any():
            return hint, None
        if (hint > SEEN).sum() < LEAST_SEEN * inside.sum():  # the network would see nothing of the structure
            hint = inside.astype(np.float32)
        return self.propagated(Known({}, hint=hint), job)

    def way_back(self, seen: _Seen, mask: np.ndarray) -> float:
        """How well a result (S, H, W) gives the drawing back."""
        return _way_back(seen.described, mask[self.stack.planes], self.grid)

    def signs(self, seen: _Seen, ways: list[_Way], found: np.ndarray) -> Signs:
        """What speaks for the structure's presence; ways: of this example, found: (S, H, W) probability."""
        mask, place = found > 0.5, seen.place
        if place is None:
            size, usual = float(mask.sum(axis=(1, 2)).max()), seen.usual
            agreement = 1.0
        else:
            size, usual = volume_ml(mask, self.stack), place.expected_ml
            agreement = dice(ways[0].mask, ways[1].mask) if len(ways) == 2 else 0.0
        similar, around = float(seen.alike.found.max()), float(seen.alike.surroundings.max())
        return Signs(
            alike=similar,
            beside=similar - around if np.isfinite(around) else 0.0,
            confidence=0.0 if seen.first is None else seen.first.confidence,
            back=self.way_back(seen, mask),
            agreement=agreement,
            place=None if place is None else dice(mask, place.there > 0.5),
            share=1.0 if place is None else place.share,
            size=abs(float(np.log(max(size, 1e-3) / max(usual, 1e-3)))),
        )


def _agreed(ways: list[_Way], places: list[np.ndarray]) -> np.ndarray:
    """(S, H, W) float32: what the ways and the places of the alignment agree on; one of both may be none."""
    aligned = np.asarray(np.mean(places, axis=0)) if places else None
    if not ways and aligned is not None:
        return aligned
    weights = np.exp(TRUST * np.array([way.trust for way in ways]))
    votes = np.zeros(ways[0].mask.shape, np.float32)
    for way, weight in zip(ways, weights / weights.sum(), strict=True):
        votes += np.float32(weight) * way.mask
    if aligned is None:
        return votes
    both = (votes + aligned) / 2
    enough = (both > 0.5).sum() >= MET * (votes > 0.5).sum()
    return both if enough else votes


def _prior(place: np.ndarray, stack: Stack) -> np.ndarray:
    """Log-odds of a place (P, H, W) on the planes that is known but for some millimetres."""
    within = stack.spacing[1:]
    widths = (max(0.3, 0.8 * BLUR / stack.gap), *(BLUR / mm for mm in within))
    near = ndimage.gaussian_filter(place, widths)
    return np.asarray(logit(np.clip(near, NOWHERE, SURE))) + OUTSIDE


def _way_back(described: Described, mask: np.ndarray, grid: InPlaneGrid) -> float:
    """Dice of the drawn slices with what is found there from the largest planes of a result (P, H, W)."""
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
    """(P, H, W) probability of Q-Net with (P, h, w) log-odds of the similarity added."""
    fine = F.interpolate(odds[:, None], (grid.size, grid.size), mode="bilinear", align_corners=False)[:, 0]
    native = torch.from_numpy(grid.to_native(fine.numpy()))
    own = torch.logit(torch.from_numpy(probability), eps=1e-4)
    return torch.sigmoid(own + native).numpy()
