"""The threshold, calibrated on what the user drew."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import QNet, Scores

OFFSETS = tuple(x / 2 for x in range(-12, 13))  # of T; scores span +-20


def threshold_offset(network: QNet, scores: Scores, masks: Tensor, alpha: float | None) -> float:
    """Offset of T with the best mean Dice when every drawn slice is predicted from its own prototype.

    Args:
        scores: of n drawn slices, each against its own prototype.
        masks: (n, 1, H, W), what was drawn, 0 or 1.
        alpha: weight of the fine path instead of the model's.

    Returns:
        The middle of the offsets that share the best Dice, so that neither side is favoured.
    """
    size = (masks.shape[-2], masks.shape[-1])
    dice = torch.stack(
        [_dice(network.fuse(scores, size, offset, alpha) > 0.5, masks > 0.5) for offset in OFFSETS]
    )
    best = torch.nonzero(dice >= dice.max() - 1e-3).flatten()
    return sum(OFFSETS[int(i)] for i in best) / len(best)


def _dice(predicted: Tensor, target: Tensor) -> Tensor:
    both = (predicted & target).sum(dim=(-2, -1))
    return (2 * both / (predicted.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1))).clamp(min=1)).mean()
