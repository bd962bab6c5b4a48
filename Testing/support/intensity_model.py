"""A Q-Net whose encoder only looks at brightness: it segments a phantom at once and without training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.model import Model, QNet, QNetConfig
from qnetseg.model.encoder import Features

BINS = torch.linspace(-2, 6, 17)
CONFIG = QNetConfig(size=64, spacing=4.0, threshold_hidden=4)


class IntensityNet(QNet):
    """Features are soft brightness bins at the resolutions of the real encoder."""

    def encode(self, images: Tensor) -> Features:
        def bins(stride: int) -> Tensor:
            pooled = F.avg_pool2d(images.float()[:, None], stride)
            return torch.exp(-((pooled - BINS[None, :, None, None]) ** 2) / 0.5)

        return Features(bins(4), bins(8), torch.zeros(len(images), 2048))

    def finest(self, images: Tensor) -> Tensor:
        return self.encode(images).fine


def intensity_model() -> Model:
    """Threshold fixed at a cosine of about 0.8."""
    torch.manual_seed(0)
    network = IntensityNet(CONFIG)
    with torch.no_grad():
        for parameter in network.threshold.parameters():
            parameter.zero_()
        network.threshold.out.bias.fill_(-16.0)
    return Model(network.eval(), "brightness", {})
