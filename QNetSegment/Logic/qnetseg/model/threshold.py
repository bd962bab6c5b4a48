"""Query-informed threshold (paper, Eq. 5 and appendix A.1), and the fixed one of the baselines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import QNetConfig


class ThresholdHead(nn.Module):
    """Two linear layers without a non-linearity between them, as in the released code.

    The paper flattens the feature map; the released code pools it first, which we follow: it does not
    depend on the image size.
    """

    def __init__(self, config: QNetConfig) -> None:
        super().__init__()
        self.shared = config.threshold == "shared"
        self.hidden = nn.Linear(2048, config.threshold_hidden)
        self.out = nn.Linear(config.threshold_hidden, 1 if self.shared else 2)
        nn.init.constant_(self.out.bias, config.threshold_bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled: (B, 2048). Returns T as (B, 2) float32, one column a path (fine, coarse)."""
        threshold = self.out(self.hidden(pooled.to(self.hidden.weight.dtype))).float()
        return threshold.expand(-1, 2) if self.shared else threshold


class FixedThreshold(nn.Module):
    """One learned number for every image and both paths (ADNet, https://arxiv.org/abs/2203.02048)."""

    def __init__(self, config: QNetConfig) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([config.threshold_bias]))
        self.scale = config.cosine_scale  # of the scores that it is compared with

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled: (B, C), only counted. Returns T as (B, 2) float32, one column a path (fine, coarse)."""
        return self.value.float().expand(len(pooled), 2)


def build_threshold(config: QNetConfig) -> nn.Module:
    """The threshold of `config.threshold`: from (B, 2048) pooled features to (B, 2) float32."""
    return FixedThreshold(config) if config.threshold == "fixed" else ThresholdHead(config)
