"""Dual-path feature encoder (paper, section 4.1 and Table 2)."""

from __future__ import annotations

from typing import NamedTuple

import torchvision
from torch import Tensor, nn

from .config import QNetConfig


class Features(NamedTuple):
    """Features of B images of H x W pixels.

    Attributes:
        fine: (B, C, H/4, W/4) float, the "64 x 64" path of the paper.
        coarse: (B, C, H/8, W/8) float, the "32 x 32" path.
        pooled: (B, 2048) float, global average of the last residual layer, input of the threshold.
    """

    fine: Tensor
    coarse: Tensor
    pooled: Tensor


class DualPathEncoder(nn.Module):
    """torchvision ResNet whose last two resolutions are reduced to equal channel counts.

    The strides of residual layers 2 to 4 are replaced by dilation except in `config.downsample_layer`,
    so that the layer before it has 1/4 of the input resolution and the last layer 1/8.
    """

    def __init__(self, config: QNetConfig) -> None:
        super().__init__()
        dilate = [layer != config.downsample_layer for layer in (2, 3, 4)]
        build = getattr(torchvision.models, f"resnet{config.depth}")
        resnet = build(weights=None, replace_stride_with_dilation=dilate)
        self.backbone = nn.ModuleDict(
            {name: module for name, module in resnet.named_children() if name not in ("avgpool", "fc")}
        )
        self.fine_layer = f"layer{config.downsample_layer - 1}"
        fine_channels = 64 * 4 * 2 ** (config.downsample_layer - 2)
        self.reduce_fine = nn.Conv2d(fine_channels, config.feature_channels, kernel_size=1, bias=False)
        self.reduce_coarse = nn.Conv2d(2048, config.feature_channels, kernel_size=1, bias=False)
        for conv in (self.reduce_fine, self.reduce_coarse):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Features:
        """images: (B, 3, H, W) float with H and W multiples of 8."""
        x = images
        for name, module in self.backbone.items():
            x = module(x)
            if name == self.fine_layer:
                fine = self.reduce_fine(x)
        return Features(fine=fine, coarse=self.reduce_coarse(x), pooled=x.float().mean(dim=(2, 3)))
