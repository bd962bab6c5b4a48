"""Training losses (paper, Eq. 11 to 13; weights and skipping rule of the released code)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

BACKGROUND_WEIGHT = 0.1  # of the query loss in the released code; foreground has 1
_TINY = 1.1920929e-07  # float32 epsilon, the released code's clamp


def segmentation_loss(
    probability: Tensor, target: Tensor, background_weight: float = BACKGROUND_WEIGHT
) -> Tensor:
    """Class-weighted binary cross-entropy of each structure of each image.

    Args:
        probability: (B, N, H, W) float, foreground.
        target: (B, N, H, W) float, 0 or 1.
        background_weight: weight of background pixels; the mean is over weights, as in NLLLoss.

    Returns:
        (B, N) float.
    """
    p = probability.float().clamp(_TINY, 1 - _TINY)
    weight = target + background_weight * (1 - target)
    loss = -weight * (target * p.log() + (1 - target) * (1 - p).log())
    return loss.sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))


def margin_loss(margin: Tensor, target: Tensor, background_weight: float = 1.0) -> Tensor:
    """`segmentation_loss` of sigmoid(margin), without its clamp: cross-entropy over two classes whose scores
    differ by the margin.

    Args:
        margin: (B, N, H, W) float, score of the foreground less that of the background.
        target: (B, N, H, W) float, 0 or 1.
        background_weight: weight of background pixels; the mean is over weights.

    Returns:
        (B, N) float.
    """
    weight = target + background_weight * (1 - target)
    loss = F.binary_cross_entropy_with_logits(margin.float(), target, weight, reduction="none")
    return loss.sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))


def mean_over_valid(losses: Tensor, valid: Tensor) -> Tensor:
    """Scalar mean of (B, N) losses over the structures that exist; 0 where there are none."""
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def alignment_loss(probability: Tensor, target: Tensor, predicted_query: Tensor) -> Tensor:
    """Unweighted cross-entropy of the support predicted from the query's prototype (Eq. 12).

    Zero where the predicted query mask, from which that prototype came, is empty.

    Args:
        probability: (B, N, H, W) float, predicted foreground of the support.
        target: (B, N, H, W) float, the support's mask.
        predicted_query: (B, N, H, W) float, 0 or 1.

    Returns:
        (B, N) float.
    """
    found = (predicted_query.sum(dim=(-2, -1)) > 0).float()
    return segmentation_loss(probability, target, background_weight=1.0) * found
