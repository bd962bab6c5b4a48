"""Query-informed prototype refinement (paper, section 4.3, Eq. 7 to 9, Algorithm 1), at test time only.

Three modes, because the paper and the released code do different things:

* `reconstruction`: what the paper says. The confident pixels of the query are replaced by the prototype
  and the prototype descends the cross-entropy whose target is the query's own features.
* `released`: what the released code does, kept for reproduction. Input and target of the cross-entropy
  are swapped, so every channel is pushed upwards whatever the error is.
* `closed_form`: the minimiser of what the paper describes, the mean of the query's features over the
  confident mask, blended with the support's prototype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .prototype import anomaly_score, foreground_probability

MODES = ("none", "reconstruction", "released", "closed_form")


@dataclass(frozen=True)
class Refinement:
    """How prototypes are refined.

    Attributes:
        mode: one of `MODES`.
        steps: gradient steps (paper: 7), or rounds of `closed_form`.
        rate: step size of `released` (Adam, 0.01) and of `reconstruction` (plain step on normalised
            channels).
        blend: lambda of `closed_form`, weight of the query's mean.
        confidence: probability from which a pixel counts as foreground; 0.5 in Eq. 7.
    """

    mode: str = "none"
    steps: int = 7
    rate: float = 0.01
    blend: float = 0.5
    confidence: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"There is no refinement mode {self.mode!r}.", f"Use one of {', '.join(MODES)}.")

    @classmethod
    def usual(cls, mode: str) -> Refinement:
        """A mode with its usual numbers: the released code's for `released`, one round of `closed_form`, and
        for `reconstruction` steps long enough to arrive near the minimum in the paper's seven."""
        if mode == "closed_form":
            return cls(mode, steps=1)
        return cls(mode, rate=0.05) if mode == "reconstruction" else cls(mode)


def refine(
    prototypes: Tensor,
    features: Tensor,
    threshold: Tensor,
    refinement: Refinement,
    scale: float,
    sharpness: float,
) -> Tensor:
    """Refined prototypes of one path.

    Args:
        prototypes: (B, N, C) float.
        features: (B, C, h, w) float, the query's.
        threshold: (B,) float, T of the query.
        refinement: mode and step sizes.
        scale, sharpness: constants of Eq. 2 and 3.

    Returns:
        (B, N, C) float32. A prototype whose predicted mask is empty stays as it is.
    """
    return trajectory(prototypes, features, threshold, refinement, scale, sharpness)[-1]


def trajectory(
    prototypes: Tensor,
    features: Tensor,
    threshold: Tensor,
    refinement: Refinement,
    scale: float,
    sharpness: float,
) -> list[Tensor]:
    """The prototypes before and after each step of `refine` (Figure 4): steps + 1 of them."""
    if refinement.mode == "none" or refinement.steps == 0:
        return [prototypes]
    features, prototypes = features.float(), prototypes.float()

    def predicted_mask(p: Tensor) -> Tensor:
        with torch.no_grad():
            score = anomaly_score(features, p, scale)
            return (foreground_probability(score, threshold, sharpness) > refinement.confidence).float()

    if refinement.mode == "released":
        return _released(prototypes, features, predicted_mask, refinement)
    step = _reconstruction_step if refinement.mode == "reconstruction" else _closed_form_step
    passed = [prototypes]
    for _ in range(refinement.steps):
        mask = predicted_mask(prototypes)
        area = mask.sum(dim=(-2, -1))[..., None]
        mean = torch.einsum("bnhw,bchw->bnc", mask, features) / area.clamp(min=1)
        prototypes = torch.where(area > 0, step(prototypes, mean, features, refinement), prototypes)
        passed.append(prototypes)
    return passed


def _closed_form_step(prototypes: Tensor, mean: Tensor, features: Tensor, refinement: Refinement) -> Tensor:
    return (1 - refinement.blend) * prototypes + refinement.blend * mean


def _reconstruction_step(
    prototypes: Tensor, mean: Tensor, features: Tensor, refinement: Refinement
) -> Tensor:
    """One plain gradient step on the binary cross-entropy of Eq. 9.

    Both feature maps are normalised with the query's own minimum and range. The loss, averaged over the
    replaced pixels and summed over channels, is linear in its target t, so that with r the normalised
    prototype its gradient is (r - mean t) / (r (1 - r)): no automatic differentiation is needed.
    """
    low = features.amin(dim=(1, 2, 3))[:, None, None]
    extent = (features.amax(dim=(1, 2, 3))[:, None, None] - low).clamp(min=1e-8)
    rebuilt = ((prototypes - low) / extent).clamp(1e-3, 1 - 1e-3)
    target = (mean - low) / extent
    gradient = (rebuilt - target) / (rebuilt * (1 - rebuilt))
    return low + extent * (rebuilt - refinement.rate * gradient)


def _released(
    prototypes: Tensor, features: Tensor, predicted_mask: Callable[[Tensor], Tensor], refinement: Refinement
) -> list[Tensor]:
    """The released code's update: Adam on BCE(input = query features, target = rebuilt features).

    Each structure of each image is its own optimisation problem, as in the released code; they share one
    Adam because its update is element-wise.
    """

    def unit(x: Tensor) -> Tensor:
        low, high = (extreme(x, dim=(-3, -2, -1), keepdim=True) for extreme in (torch.amin, torch.amax))
        return torch.sigmoid((x - low) / (high - low))

    passed = [prototypes]
    # Tensors of inference mode cannot take part in gradients, their clones can.
    with torch.inference_mode(False), torch.enable_grad():
        p = prototypes.detach().clone().requires_grad_(True)
        optimiser = torch.optim.Adam([p], lr=refinement.rate)
        query = features.detach().clone()[:, None]
        given = unit(query)
        log_given, log_rest = given.log(), (1 - given).log()
        mask = predicted_mask(p)[:, :, None]
        for _ in range(refinement.steps):
            target = unit(query * (1 - mask) + p[..., None, None] * mask)
            loss = -(target * log_given + (1 - target) * log_rest).mean(dim=(-3, -2, -1)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            passed.append(p.detach().clone())
            mask = predicted_mask(p)[:, :, None]
    return passed
