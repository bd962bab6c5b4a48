"""How far to trust each slice: the Dice to be expected of it.

From the network's own probabilities, from whether it thinks that the slice holds the structure, and from the
way back: slices that were found take the drawing's place, and what they give on every slice is compared with
what the drawing gave (reverse classification accuracy, Valindria et al. 2017,
https://arxiv.org/abs/1702.03407). A logistic function joins them; its weights are fitted on windows made at
random (`qnetseg.training.confidence`) and lie in the weights file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .evidence import FOUND, Scene, distance_to

FEATURES = ("one", "expected Dice", "presence", "distance", "agreement", "way back")
"""Of a slice: 1; `expected_dice`; whether the network thinks that it holds the structure; radii to the
nearest drawn slice; Dice of the way back on this slice, and on the drawn ones."""
FAINT = 0.05  # probability below it is noise in a sum over a whole slice
FARTHEST = 4.0  # radii
LIMIT = 4.0  # of log-odds


@dataclass(frozen=True)
class Trust:
    """What speaks for or against each of S slices.

    Attributes:
        presence: (S,) float32, probability that a slice holds any of the structure.
        distance: (S,) float32, radii to the nearest drawn slice.
        agreement: (S,) float32, Dice of both ways on each slice; `back` where only one of them is known.
        back: Dice of the way back on the drawn slices.
        weights: see `PropagationConfig.confidence`.
    """

    presence: np.ndarray
    distance: np.ndarray
    agreement: np.ndarray
    back: float
    weights: tuple[float, ...]

    def scores(self, probability: np.ndarray, mask: np.ndarray, typical: float) -> np.ndarray:
        """(S,) float64, the Dice to be expected of each slice of a mask (S, H, W) bool.

        probability: (S, H, W) float32. typical: area of the drawings in pixels.
        """
        likely = np.array([expected_overlap(*each, typical) for each in zip(probability, mask, strict=True)])
        occupied = torch.from_numpy(mask.any(axis=(1, 2)))
        presence = torch.logit(torch.from_numpy(self.presence).double(), eps=1e-4)
        if not self.weights:
            there = torch.sigmoid(presence)
            return (torch.from_numpy(likely) * torch.where(occupied, there, 1 - there)).numpy()
        values = features(
            torch.from_numpy(likely),
            presence,
            torch.from_numpy(self.distance).double(),
            torch.from_numpy(self.agreement).double(),
            torch.full(likely.shape, self.back, dtype=torch.float64),
        )
        found: np.ndarray = expected(values, occupied, self.weights).numpy()
        return found


def way_back(scene: Scene, probability: Tensor) -> Scene:
    """The windows with found planes in place of the drawn ones.

    The middle one of the found planes on either side of the first drawn plane is taken; where there is none,
    the window stays as it is.

    Args:
        scene: B windows.
        probability: (B, D, N, N) float32, what was found in them.
    """
    batch, depth = probability.shape[:2]
    occupied = (probability > 0.5).flatten(2).any(2) & ~scene.drawn
    planes = torch.arange(depth, device=probability.device)
    drawing, drawn = torch.zeros_like(scene.drawing), torch.zeros_like(scene.drawn)
    for one in range(batch):
        own = torch.nonzero(scene.drawn[one])[:, 0]
        if not len(own):
            own = torch.tensor([depth // 2], device=planes.device)
        sides = (planes < own[0], planes > own[-1])
        chosen = [found[len(found) // 2] for side in sides if len(found := planes[side & occupied[one]])]
        if not chosen:
            drawing[one], drawn[one] = scene.drawing[one], scene.drawn[one]
            continue
        for plane in chosen:
            drawing[one, plane] = FOUND * (2 * probability[one, plane] - 1)
            drawn[one, plane] = True
    distance = distance_to(drawn, scene.gap)
    return replace(scene, drawing=drawing * scene.valid, drawn=drawn, distance=distance)


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """(B, D) Dice of two (B, D, N, N) probabilities on each plane; 1 where both say nothing."""
    one, other = (torch.where(p > FAINT, p, 0.0) for p in (one, other))
    both = (one * other).sum((2, 3))
    return (2 * both + 1) / (one.square().sum((2, 3)) + other.square().sum((2, 3)) + 1)


def way_back_dice(back: Tensor, scene: Scene) -> Tensor:
    """(B,) mean Dice of (B, D, N, N) probabilities with what was drawn, over the drawn planes."""
    truth = (scene.drawing > 0.5).float() * scene.drawn[:, :, None, None]
    dice = agreement((back > 0.5).float(), truth)
    drawn = scene.drawn & truth.flatten(2).any(2)
    return (dice * drawn).sum(1) / drawn.sum(1).clamp(min=1)


def expected_dice(probability: Tensor, mask: Tensor, typical: Tensor) -> Tensor:
    """(...) Dice that (..., H, W) probabilities predict for masks, 0 to 1.

    For a slice left empty it is what remains of 1 when the probability that was turned down is compared
    with a typical area of the structure in pixels.
    """
    likely = torch.where(probability > FAINT, probability, 0.0)
    total, area = likely.sum((-2, -1)), mask.sum((-2, -1))
    found = 2 * (likely * mask).sum((-2, -1)) / (total + area).clamp(min=1e-6)
    return torch.where(area > 0, found, typical / (typical + total))


def expected_overlap(probability: np.ndarray, mask: np.ndarray, typical: float) -> float:
    """`expected_dice` of one slice: (H, W) float32 and bool."""
    likely, found = torch.from_numpy(np.ascontiguousarray(probability)), torch.from_numpy(mask)
    return float(expected_dice(likely, found.float(), torch.tensor(typical)))


def features(expected: Tensor, presence: Tensor, distance: Tensor, agreed: Tensor, back: Tensor) -> Tensor:
    """(..., len(FEATURES)) of slices; all arguments of one shape, presence in log-odds, distance in radii."""

    def log_odds(share: Tensor) -> Tensor:
        return torch.logit(share.clamp(0.01, 0.99)) / 2

    parts = [
        torch.ones_like(expected),
        log_odds(expected),
        presence.clamp(-LIMIT, LIMIT) / 4,
        distance.clamp(max=FARTHEST) / 2,
        log_odds(agreed),
        log_odds(back),
    ]
    return torch.stack(parts, -1)


def expected(values: Tensor, occupied: Tensor, weights: Sequence[float]) -> Tensor:
    """(...) Dice to be expected of slices.

    Args:
        values: from `features`.
        occupied: (...) bool, whether anything was found on a slice.
        weights: first those of occupied slices, then those of slices left empty.
    """
    each = torch.tensor(weights, dtype=values.dtype).reshape(2, len(FEATURES))
    found, empty = (torch.sigmoid(values @ part) for part in each)
    return torch.where(occupied, found, empty)
