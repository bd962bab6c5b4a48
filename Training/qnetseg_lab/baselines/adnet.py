"""ADNet: anomaly detection-inspired few-shot segmentation (Hansen et al., Medical Image Analysis 2022).

Paper https://arxiv.org/abs/2203.02048, reference code https://github.com/sha168/ADNet. Q-Net stands on it:
foreground prototype, anomaly score and soft threshold are the same equations.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from qnetseg.errors import WeightsError
from qnetseg.model import QNetConfig
from qnetseg.model.threshold import FixedThreshold

from .method import EpisodeLoss, TrainedQNet
from .two_class import single_path


class ADNet(TrainedQNet):
    """Q-Net with one path, a fixed threshold T, and a loss term that pulls T down.

    The alignment loss finds the query's prototype on the predicted mask at the image's resolution, as Q-Net
    does; the authors' code takes it at the features' resolution.
    """

    name: ClassVar[str] = "adnet"
    title: ClassVar[str] = "ADNet"
    threshold: FixedThreshold

    def __init__(self, config: QNetConfig) -> None:
        if config.threshold != "fixed":
            raise WeightsError(
                f"{self.title} has a fixed threshold, but the model configuration has"
                f" threshold={config.threshold!r}.",
                'Set threshold = "fixed" in [model].',
            )
        super().__init__(single_path(config, self.title))

    def episode_loss(
        self, support: Tensor, support_masks: Tensor, query: Tensor, query_masks: Tensor, valid: Tensor
    ) -> EpisodeLoss:
        """See `TrainedMethod.episode_loss`; the total has the threshold's term T / scale besides."""
        loss = super().episode_loss(support, support_masks, query, query_masks, valid)
        return loss._replace(total=loss.total + self.threshold.value.mean() / self.config.cosine_scale)
