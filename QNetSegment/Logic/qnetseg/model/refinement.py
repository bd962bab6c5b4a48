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

import reprlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..parsing import number, whole
from .prototype import anomaly_score_of_unit, foreground_probability, unit_features

MODES = ("none", "reconstruction", "released", "closed_form")


@dataclass(frozen=True)
class Refinement:
    """How prototypes are refined.

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
            raise InputError(
                f"There is no refinement mode {reprlib.repr(self.mode)}.", f"Use one of {', '.join(MODES)}."
            )
        try:
            whole(self.steps, 0, 10_000)
            number(self.rate, 0, 1e6)
            number(self.blend, 0, 1)
            number(self.confidence, 0, 1)
        except ValueError as error:
            raise InputError(f"The refinement has an entry that is {error}.", "Correct it.") from error

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
) -> list[Tensor]:
    """Refined prototypes of one path.

    prototypes: (B, N, C) float.
    features: (B, C, h, w) float, the query's.
    threshold: (B,) float, T of the query.
    refinement: mode and step sizes.
    scale, sharpness: constants of Eq. 2 and 3.
    Returns (B, N, C) float32 before and after each step (Figure 4), the refined ones last. A prototype whose
    predicted mask is empty stays as it is.
    """
    if refinement.mode == "none" or refinement.steps == 0:
        return [prototypes]
    features, prototypes = features.float(), prototypes.float()
    directions = unit_features(features)

    def predicted_mask(p: Tensor) -> Tensor:
        with torch.no_grad():
            score = anomaly_score_of_unit(directions, p, scale)
            return (foreground_probability(score, threshold, sharpness) > refinement.confidence).float()

    if refinement.mode == "released":
        return _released(prototypes, features, predicted_mask, refinement)
    step = _closed_form_step if refinement.mode == "closed_form" else _reconstruction_step(features)
    passed = [prototypes]
    for _ in range(refinement.steps):
        mask = predicted_mask(prototypes)
        area = mask.sum(dim=(-2, -1))[..., None]
        mean = torch.einsum("bnhw,bchw->bnc", mask, features) / area.clamp(min=1)
        prototypes = torch.where(area > 0, step(prototypes, mean, refinement), prototypes)
        passed.append(prototypes)
    return passed


def _closed_form_step(prototypes: Tensor, mean: Tensor, refinement: Refinement) -> Tensor:
    return (1 - refinement.blend) * prototypes + refinement.blend * mean


def _reconstruction_step(features: Tensor) -> Callable[[Tensor, Tensor, Refinement], Tensor]:
    """One plain gradient step on the binary cross-entropy of Eq. 9.

    Both feature maps are normalised with the query's own minimum and range. The loss, averaged over the
    replaced pixels and summed over channels, is linear in its target t, so that with r the normalised
    prototype its gradient is (r - mean t) / (r (1 - r)): no automatic differentiation is needed.
    """
    low = features.amin(dim=(1, 2, 3))[:, None, None]
    extent = (features.amax(dim=(1, 2, 3))[:, None, None] - low).clamp(min=1e-8)

    def step(prototypes: Tensor, mean: Tensor, refinement: Refinement) -> Tensor:
        rebuilt = ((prototypes - low) / extent).clamp(1e-3, 1 - 1e-3)
        target = (mean - low) / extent
        gradient = (rebuilt - target) / (rebuilt * (1 - rebuilt))
        return low + extent * (rebuilt - refinement.rate * gradient)

    return step


def _released(
    prototypes: Tensor, features: Tensor, predicted_mask: Callable[[Tensor], Tensor], refinement: Refinement
) -> list[Tensor]:
    """The released code's update: Adam on BCE(input = query features, target = rebuilt features).

    Each structure of each image is its own optimisation problem, as in the released code; they share one
    Adam because its update is element-wise.
    """
    passed = [prototypes]
    # Tensors of inference mode cannot take part in gradients, their clones can.
    with torch.inference_mode(False), torch.enable_grad():
        p = prototypes.detach().clone().requires_grad_(True)
        optimiser = torch.optim.Adam([p], lr=refinement.rate)
        swapped_loss = _SwappedLoss(features.detach().clone())
        for _ in range(refinement.steps):
            optimiser.zero_grad()
            swapped_loss(p, predicted_mask(p)).backward()
            optimiser.step()
            passed.append(p.detach().clone())
    return passed


class _SwappedLoss:
    """The released code's loss but for a constant, without a rebuilt map where it is not needed.

    The code normalises the query's features q and the rebuilt map x, in which the prototype stands wherever
    the mask is 1, to u and t of [0, 1], and takes the mean of BCE(input = sigmoid(u), target = sigmoid(t)).
    That is linear in its target with the factor logit(sigmoid(u)) = u: the mean of -sigmoid(t) u, plus a
    constant. Inside the mask t is one number a channel, so there the sum of u is enough. Outside, t depends
    on the prototype only where the prototype holds an extreme of x, which is rare.
    """

    def __init__(self, features: Tensor) -> None:
        """features: (B, C, h, w) float, the query's."""
        low, high = (extreme(features, dim=(1, 2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
        self.features, self.unit = features, (features - low) / (high - low)
        self.lows, self.highs = features.amin(dim=1)[:, None], features.amax(dim=1)[:, None]

    def __call__(self, prototypes: Tensor, mask: Tensor) -> Tensor:
        """Sum over images and structures. prototypes: (B, N, C); mask: (B, N, h, w), 0 or 1."""
        inside, infinite = mask > 0, torch.inf
        found = inside.any(dim=-1).any(dim=-1)
        rest_low = self.lows.where(~inside, infinite).amin(dim=(-2, -1))
        rest_high = self.highs.where(~inside, -infinite).amax(dim=(-2, -1))
        own_low = prototypes.amin(dim=-1).where(found, infinite)
        own_high = prototypes.amax(dim=-1).where(found, -infinite)
        low = torch.minimum(rest_low, own_low)[..., None]
        extent = torch.maximum(rest_high, own_high)[..., None] - low
        weights = torch.einsum("bnhw,bchw->bnc", mask, self.unit)
        total = (torch.sigmoid((prototypes - low) / extent) * weights).sum()
        if ((own_low < rest_low) | (own_high > rest_high)).any():
            low, extent = low[..., None, None], extent[..., None, None]
            kept = torch.sigmoid((self.features[:, None] - low) / extent) * self.unit[:, None]
            total = total + (kept * (1 - mask)[:, :, None]).sum()
        return -total / self.unit[0].numel()
