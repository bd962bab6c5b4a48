"""What a few-shot method needs to learn, so that one trainer serves them all; and Q-Net with it."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qnetseg.model import FewShotMethod, QNet
from qnetseg.model.encoder import Features
from qnetseg.model.prototype import prototypes_from

from .loss import alignment_loss, mean_over_valid, segmentation_loss


class EpisodeLoss(NamedTuple):
    """Mean losses over the valid structures of a batch of episodes (Eq. 11 to 13); scalars.

    The total is what is minimised; a method may add a term of its own to the other two.
    """

    total: Tensor
    segmentation: Tensor
    alignment: Tensor


class TrainedMethod(FewShotMethod):
    """A few-shot method with its training loss."""

    def backbones(self) -> list[nn.ModuleDict]:
        """Every ResNet of the network; all begin with the tensors of the start."""
        return [self.encoder.backbone]

    @abstractmethod
    def episode_loss(
        self, support: Tensor, support_masks: Tensor, query: Tensor, query_masks: Tensor, valid: Tensor
    ) -> EpisodeLoss:
        """Losses of B episodes with up to N structures each, which share the encoder's work.

        Args:
            support, query: (B, H, W) float, z-scored images.
            support_masks, query_masks: (B, N, H, W) float, 0 or 1.
            valid: (B, N) float, 1 where the structure exists; B episodes may have fewer than N.
        """


class TrainedQNet(QNet, TrainedMethod):
    """The engine's Q-Net with its training loss."""

    def episode_loss(
        self, support: Tensor, support_masks: Tensor, query: Tensor, query_masks: Tensor, valid: Tensor
    ) -> EpisodeLoss:
        """See `TrainedMethod.episode_loss`: Eq. 11 to 13."""
        batch, size = support.shape[0], (support.shape[-2], support.shape[-1])
        features = self.encode(torch.cat([support, query]))
        support_features = Features(*(x[:batch] for x in features))
        query_features = Features(*(x[batch:] for x in features))
        predicted = self.predict(prototypes_from(support_features, support_masks), query_features, size)
        found = (predicted > 0.5).float()
        # The support is predicted with the query's threshold, as in the released code.
        inverse = support_features._replace(pooled=query_features.pooled)
        aligned = self.predict(prototypes_from(query_features, found), inverse, size)
        segmentation = mean_over_valid(segmentation_loss(predicted, query_masks), valid)
        alignment = mean_over_valid(alignment_loss(aligned, support_masks, found), valid)
        return EpisodeLoss(segmentation + alignment, segmentation, alignment)
