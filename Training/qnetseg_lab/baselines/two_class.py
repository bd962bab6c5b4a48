"""What PANet and SSL-ALPNet have in common: foreground and background compete by cosine similarity."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.errors import WeightsError
from qnetseg.model import QNetConfig
from qnetseg.model.encoder import DualPathEncoder
from qnetseg.model.prototype import full_precision

from .loss import margin_loss, mean_over_valid
from .method import EpisodeLoss, TrainedMethod


class FeatureMap(NamedTuple):
    """Features of B images of H x W pixels.

    Attributes:
        features: (B, C, h, w) float, at 1/4 (`paths` "fine") or 1/8 ("coarse") of the resolution.
    """

    features: Tensor


def single_path(config: QNetConfig, title: str) -> QNetConfig:
    """The configuration. Raises `WeightsError` where it has two paths."""
    if config.paths == "dual":
        raise WeightsError(
            f"{title} has one resolution, but the model configuration has paths='dual'.",
            'Set paths = "coarse" or "fine" in [model].',
        )
    return config


class TwoClassMethod(TrainedMethod):
    """Softmax over the scores of a structure and of its background, trained in both directions.

    Two classes' softmax is the sigmoid of their scores' difference, the margin, which is all that is kept.
    The prototype alignment regularisation of PANet: the predicted query mask, at the features' resolution,
    conditions a prediction of the support.
    """

    background_weight: ClassVar[float]  # of the query's cross-entropy; foreground has 1
    aligns_empty: ClassVar[bool]  # whether an empty predicted mask takes part in the alignment loss

    def __init__(self, config: QNetConfig) -> None:
        super().__init__()
        self.config = single_path(config, self.title)
        self.encoder: DualPathEncoder = DualPathEncoder(config, pooled=False)

    @abstractmethod
    def margin(self, support: Any, query: FeatureMap) -> Tensor:
        """(B, N, h, w) float32: score of the structure less that of its background."""

    def encode(self, images: Tensor) -> FeatureMap:
        """images: (B, H, W) float, z-scored; H and W multiples of 8."""
        features = self.encoder(self.network_input(images))
        return FeatureMap(getattr(features, self.config.paths))

    def predict(self, support: Any, query: FeatureMap, size: tuple[int, int]) -> Tensor:
        """See `FewShotMethod.predict`; the scores, not the probabilities, are resized."""
        return torch.sigmoid(_resize(self.margin(support, query), size))

    def episode_loss(
        self, support: Tensor, support_masks: Tensor, query: Tensor, query_masks: Tensor, valid: Tensor
    ) -> EpisodeLoss:
        """See `TrainedMethod.episode_loss`."""
        size = (support.shape[-2], support.shape[-1])
        both = self.encode(torch.cat([support, query])).features
        support_map, query_map = (FeatureMap(part) for part in both.chunk(2))
        with full_precision(both):
            margin = self.margin(self.condition(support_map, support_masks), query_map)
            found = (margin > 0).float()
            aligned = self.margin(self.condition(query_map, found), support_map)
            counted = valid if self.aligns_empty else valid * (found.sum(dim=(-2, -1)) > 0)
            segmentation = mean_over_valid(
                margin_loss(_resize(margin, size), query_masks, self.background_weight), valid
            )
            losses = margin_loss(_resize(aligned, size), support_masks) * counted
            alignment = mean_over_valid(losses, valid)
        return EpisodeLoss(segmentation + alignment, segmentation, alignment)


def _resize(margin: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(margin, size=size, mode="bilinear", align_corners=False)
