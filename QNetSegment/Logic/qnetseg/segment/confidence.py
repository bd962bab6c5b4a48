"""How far to trust each slice: the Dice to be expected of it.

From the network's own probabilities, from whether it thinks that the slice holds the structure, and from how
much of what was found on the slices beside it is found on this one, too: organs change little from one slice
to the next. A logistic function joins them; its weights are fitted on windows made at random
(`qnetseg_lab.training.confidence_fit`) and lie in the weights file.

The way back (segmenting the drawn slice from the found ones, Valindria et al. 2017,
https://arxiv.org/abs/1702.03407) is left out: it takes a second pass of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FEATURES = ("one", "expected Dice", "presence", "least overlap", "mean overlap")
"""Of a slice: 1; `expected_dice`; whether the network thinks that it holds the structure; `overlaps`."""
FAINT = 0.05  # probability below it is noise in a sum over a whole slice
LIMIT = 4.0  # of log-odds


@dataclass(frozen=True)
class Trust:
    """What speaks for or against each of S slices.

    Attributes:
        presence: (S,) float32, probability that a slice holds any of the structure.
        step: slices from one of the network's planes to the next.
        weights: see `PropagationConfig.confidence`.
    """

    presence: np.ndarray
    step: int
    weights: tuple[float, ...]

    def scores(self, probability: np.ndarray, mask: np.ndarray, typical: float) -> np.ndarray:
        """(S,) float64, the Dice to be expected of each slice of a mask (S, H, W) bool.

        probability: (S, H, W) float32. typical: area of the drawings in pixels.
        """
        likely = torch.from_numpy(
            np.array([expected_overlap(*each, typical) for each in zip(probability, mask, strict=True)])
        )
        occupied = torch.from_numpy(mask.any(axis=(1, 2)))
        presence = torch.logit(torch.from_numpy(self.presence).double(), eps=1e-4)
        if len(self.weights) != 2 * len(FEATURES):  # none, or fitted to features of another version
            there = torch.sigmoid(presence)
            return (likely * torch.where(occupied, there, 1 - there)).numpy()
        least, mean = overlaps(torch.from_numpy(mask)[None], self.step)
        values = features(likely, presence, least[0].double(), mean[0].double())
        found: np.ndarray = expected(values, occupied, self.weights).numpy()
        return found


def overlaps(masks: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
    """Least and mean Dice of each slice with those `step` before and behind it; (B, D) float32 each.

    Where both hold nothing it is 1. A slice at the end is compared with the one that there is; 1 for none.

    masks: (B, D, N, N) bool.
    """
    area = masks.sum((2, 3))
    step = min(step, masks.shape[1])
    rest = masks.shape[1] - step
    both = torch.zeros_like(area[:, step:])
    for index in range(rest):  # one at a time, because masks may be whole volumes
        both[:, index] = (masks[:, index] & masks[:, index + step]).sum((1, 2))
    total = area[:, :rest] + area[:, step:]
    dice = torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
    unknown = torch.full((len(masks), step), torch.nan, device=masks.device)
    sides = torch.stack([torch.cat([unknown, dice], 1), torch.cat([dice, unknown], 1)])
    return sides.nan_to_num(1.0).amin(0), sides.nanmean(0).nan_to_num(1.0)


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


def features(expected: Tensor, presence: Tensor, least: Tensor, mean: Tensor) -> Tensor:
    """(..., len(FEATURES)) of slices; all arguments of one shape, presence in log-odds."""

    def log_odds(share: Tensor) -> Tensor:
        return torch.logit(share.clamp(0.01, 0.99)) / 2

    parts = [
        torch.ones_like(expected),
        log_odds(expected),
        presence.clamp(-LIMIT, LIMIT) / 4,
        log_odds(least),
        log_odds(mean),
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
