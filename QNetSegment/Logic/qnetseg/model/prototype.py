"""Prototypes and the anomaly-style prediction from them (paper, Eq. 1 to 4 and 6)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .encoder import Features

EPSILON = 1e-5  # of the released code's masked average pooling


class Prototypes(NamedTuple):
    """Foreground prototypes of N structures for B images: both (B, N, C) float."""

    fine: Tensor
    coarse: Tensor


def full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """Context without mixed precision: bfloat16 would round S and T, of about 10, to steps of 0.06."""
    if like.device.type not in ("cpu", "cuda"):  # older torch has no autocast elsewhere, and we use none
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def _bilinear_weights(small: int, large: int, like: Tensor) -> Tensor:
    """(small, large) matrix of bilinear up-sampling with align_corners=False."""
    eye = torch.eye(small, device=like.device, dtype=like.dtype)[None]
    return F.interpolate(eye, size=large, mode="linear", align_corners=False)[0]


def masked_average_pooling(features: Tensor, masks: Tensor) -> Tensor:
    """Mean of the up-sampled features inside each mask (Eq. 1).

    The paper resizes the features to the mask. The sum over the mask of bilinearly up-sampled features
    equals the sum of the features weighted with the transposed up-sampling of the mask, which needs
    1/16 of the memory and work; the result is the same up to rounding.

    features: (B, C, h, w) float.
    masks: (B, N, H, W) float in [0, 1].
    Returns (B, N, C) float32; zeros where a mask is empty.
    """
    features, masks = features.float(), masks.float()
    rows = _bilinear_weights(features.shape[-2], masks.shape[-2], masks)
    columns = _bilinear_weights(features.shape[-1], masks.shape[-1], masks)
    with full_precision(features):
        weights = rows @ masks @ columns.T
        total = torch.einsum("bnhw,bchw->bnc", weights, features)
    return total / (masks.sum(dim=(-2, -1))[..., None] + EPSILON)


def prototypes_from(features: Features, masks: Tensor) -> Prototypes:
    """Prototypes of both paths. masks: (B, N, H, W) float in [0, 1]."""
    return Prototypes(
        masked_average_pooling(features.fine, masks), masked_average_pooling(features.coarse, masks)
    )


def anomaly_score(features: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    """Negative scaled cosine similarity S (Eq. 2).

    features: (B, C, h, w) float.
    prototypes: (B, N, C) float.
    scale: a of Eq. 2.
    Returns (B, N, h, w) float32 in [-scale, scale].
    """
    return anomaly_score_of_unit(unit_features(features), prototypes, scale)


def unit_features(features: Tensor) -> Tensor:
    """(B, C, h, w) float32, every pixel's features of length 1."""
    return F.normalize(features.float(), dim=1, eps=1e-8)


def anomaly_score_of_unit(features: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    """`anomaly_score` of `unit_features`, which many prototypes of one image can share."""
    unit_prototypes = F.normalize(prototypes.float(), dim=2, eps=1e-8)
    return -scale * torch.einsum("bnc,bchw->bnhw", unit_prototypes, features)


def foreground_probability(score: Tensor, threshold: Tensor, sharpness: float) -> Tensor:
    """Soft thresholding 1 - sigmoid(sharpness (S - T)) (Eq. 3).

    score: (B, N, h, w), S.
    threshold: (B,) or (B, N), T.
    sharpness: 0.5 in the released code, 1 in the paper.
    """
    threshold = threshold.float().reshape(score.shape[0], -1, 1, 1)
    return torch.sigmoid(sharpness * (threshold - score))


def resize_probability(probability: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, N, h, w) -> (B, N, *size), bilinear with align_corners=True as in the released code."""
    return F.interpolate(probability, size=size, mode="bilinear", align_corners=True)
