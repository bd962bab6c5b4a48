"""Fitting how far each slice of a result can be trusted, on windows that the network has not learned from."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.model.propagation import Propagated
from qnetseg.segment.confidence import FEATURES, expected_dice, features, overlaps
from qnetseg.segment.evidence import Appearance, evidence

from .synthesis import Sample

RIDGE = 1e-3  # regularisation of the weights, so that features that say the same share the work
STEPS = 60  # of L-BFGS

Look = Callable[[Tensor], Propagated]


def fit_confidence(look: Look, make: Callable[[int], Sample], batches: int) -> tuple[float, ...]:
    """Weights for `PropagationConfig.confidence`.

    Args:
        look: the network, from evidence to what it says.
        make: gives the batch of a number; first looks only.
        batches: how many.
    """
    values, truths, occupied = zip(*(_slices(look, make(number)) for number in range(batches)), strict=True)
    joined, truth, found = torch.cat(values).double(), torch.cat(truths).double(), torch.cat(occupied)
    weights: list[float] = []
    for part in (found, ~found):
        weights += _logistic(joined[part], truth[part])
    return tuple(round(weight, 4) for weight in weights)


@torch.no_grad()
def _slices(look: Look, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """(n, len(FEATURES)) features of a batch's slices, their true Dice, and whether anything was found."""
    scene, target = sample.scene, sample.target
    appearance = Appearance.of(scene)
    said = look(evidence(scene, appearance))
    probability = torch.sigmoid(said.logits) * scene.valid
    occupied = probability > 0.5
    mask = occupied.float()
    typical = torch.pi * scene.radius.square()
    values = features(
        expected_dice(probability, mask, typical[:, None].expand(mask.shape[:2])),
        said.presence,
        *overlaps(occupied),
    )
    both = 2 * (mask * target).sum((2, 3))
    area = mask.sum((2, 3)) + target.sum((2, 3))
    truth = torch.where(area > 0, both / area.clamp(min=1), 1.0)
    asked = (sample.counts.flatten(2).amax(2) > 0) & ~scene.drawn
    return values[asked].cpu(), truth[asked].cpu(), occupied.flatten(2).any(2)[asked].cpu()


def _logistic(values: Tensor, truth: Tensor) -> list[float]:
    """Weights of a logistic regression on shares (n,)."""
    weights = torch.zeros(len(FEATURES), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(values @ weights, truth) + RIDGE * weights.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    found: list[float] = weights.detach().tolist()
    return found
