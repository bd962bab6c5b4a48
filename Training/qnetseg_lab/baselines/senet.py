"""SE-Net: "squeeze & excite" guided few-shot segmentation of volumetric images (Roy et al., MedIA 2020).

Paper https://arxiv.org/abs/1902.01314, reference code https://github.com/abhi4ssj/few-shot-segmentation.

What is as in the paper and its code: two arms of equal layout, a conditioner that sees the support image and
its mask and a segmenter that sees the query; after every encoder block, the bottleneck and every decoder
block the conditioner's features are squeezed to one channel, whose sigmoid multiplies the segmenter's
features; decoder blocks of 5x5 convolutions, 16 channels in the conditioner; the Dice loss; no skip
connections (the authors' experiments with them are named "copy over effect").

What differs, so that all methods of a comparison start alike: both encoders are the ResNet of the other
methods. Its strided convolutions leave no indices to unpool with, so the decoder up-samples bilinearly.
GroupNorm takes the place of BatchNorm in the new layers, because a recipe may freeze the statistics of the
latter, which only the layers of the initial weights have.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qnetseg.model import QNetConfig
from qnetseg.model.encoder import Encoder

from .loss import mean_over_valid
from .method import EpisodeLoss, TrainedMethod

STAGES = ("relu", "layer1", "layer2", "layer3", "layer4")  # of the ResNet, after which the arms interact
STAGE_CHANNELS = (64, 256, 512, 1024, 2048)
BLOCKS = {"bottleneck": 8, "decode3": 4, "decode2": 2, "decode1": 1}  # of the decoder, with their strides
CONDITIONER_CHANNELS = 16
OPEN = (
    2.0  # initial bias of a squeeze: maps near 0.9, so that the features of the initial weights pass at first
)
_TINY = 1e-5


class Images(NamedTuple):
    """B images as they are, (B, H, W) float: all features of a query depend on the support."""

    images: Tensor


class Excitation(NamedTuple):
    """Spatial maps of N structures on B support images, each (B, N, h, w) float32 in (0, 1).

    The first five follow the ResNet's stages from 1/2 (its stem, before the pooling) to 1/8 of the
    resolution, then come the bottleneck at 1/8 and the decoder's blocks at 1/4, 1/2 and 1/1.
    """

    stem: Tensor
    layer1: Tensor
    layer2: Tensor
    layer3: Tensor
    layer4: Tensor
    bottleneck: Tensor
    decode3: Tensor
    decode2: Tensor
    decode1: Tensor


class Block(nn.Sequential):
    """5x5 convolution, normalisation, PReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        groups = max(outputs // 8, 1)
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=5, padding=2), nn.GroupNorm(groups, outputs), nn.PReLU()
        )


def build_decoder(channels: int) -> nn.ModuleDict:
    """Bottleneck and three decoder blocks, from 1/8 of the resolution to the whole."""
    inputs = (STAGE_CHANNELS[-1], channels, channels, channels)
    return nn.ModuleDict({name: Block(n, channels) for name, n in zip(BLOCKS, inputs, strict=True)})


def enlarge(x: Tensor, size: tuple[int, int], block: str) -> Tensor:
    """(B, C, h, w) to the resolution of a decoder block for images of `size`."""
    target = (size[0] // BLOCKS[block], size[1] // BLOCKS[block])
    if (x.shape[-2], x.shape[-1]) == target:
        return x
    return F.interpolate(x, size=target, mode="bilinear", align_corners=False)


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of soft masks (paper, "training strategy"). Both (B, N, H, W) float; returns (B, N) float."""
    common, both = (x.sum(dim=(-2, -1)) for x in (probability * target, probability + target))
    return 1 - 2 * common / (both + _TINY)


class Conditioner(Encoder):
    """The arm of the support, which turns image and mask into spatial maps.

    The first convolution's weights for the mask are a layer of their own, so that the others are the
    start's: a convolution of image and mask together is the sum of one of each.
    """

    def __init__(self, config: QNetConfig) -> None:
        super().__init__(config)
        self.mask_conv = nn.Conv2d(1, STAGE_CHANNELS[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.decoder = build_decoder(CONDITIONER_CHANNELS)
        channels = (*STAGE_CHANNELS, *[CONDITIONER_CHANNELS] * len(BLOCKS))
        squeezes = [nn.Conv2d(n, 1, kernel_size=1) for n in channels]
        for squeeze in squeezes:
            nn.init.constant_(squeeze.bias, OPEN)  # type: ignore[arg-type]
        self.squeezes = nn.ModuleList(squeezes)

    def forward(self, inputs: Tensor, masks: Tensor) -> list[Tensor]:
        """inputs: (B, 3, H, W) float; masks: (B, 1, H, W) float. Returns nine maps (B, 1, h, w) float32."""
        maps: list[Tensor] = []

        def squeeze(x: Tensor) -> Tensor:
            maps.append(torch.sigmoid(self.squeezes[len(maps)](x).float()))
            return x

        x = inputs
        for name, module in self.backbone.items():
            x = module(x)
            if name == "conv1":
                x = x + self.mask_conv(masks)
            if name in STAGES:
                x = squeeze(x)
        for name, module in self.decoder.items():
            x = squeeze(module(enlarge(x, (inputs.shape[-2], inputs.shape[-1]), name)))
        return maps


class SENet(TrainedMethod):
    """Two arms that interact by "channel squeeze & spatial excitation".

    The decoder of the segmenter has `config.feature_channels` channels (paper: 64). Every structure needs a
    pass of its own through both arms, whereas those of the other methods share the encoder's work.
    """

    name: ClassVar[str] = "senet"
    title: ClassVar[str] = "SE-Net"

    def __init__(self, config: QNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = build_decoder(config.feature_channels)
        self.classifier = nn.Conv2d(config.feature_channels, 1, kernel_size=1)
        self.conditioner = Conditioner(config)

    def backbones(self) -> list[nn.ModuleDict]:
        """Those of the segmenter and of the conditioner."""
        return [self.encoder.backbone, self.conditioner.backbone]

    def encode(self, images: Tensor) -> Images:
        """images: (B, H, W) float, z-scored; H and W multiples of 8."""
        return Images(images)

    def condition(self, features: Images, masks: Tensor) -> Excitation:
        """Maps of the conditioner. masks: (B, N, H, W) float in [0, 1]."""
        batch, structures = masks.shape[:2]
        weight = self.conditioner.mask_conv.weight
        inputs = self.network_input(features.images).repeat_interleave(structures, dim=0)
        maps = self.conditioner(inputs.to(weight.dtype), masks.flatten(0, 1)[:, None].to(weight.dtype))
        return Excitation(*(x.unflatten(0, (batch, structures))[:, :, 0] for x in maps))

    def predict(self, support: Excitation, query: Images, size: tuple[int, int]) -> Tensor:
        """See `FewShotMethod.predict`; two classes' softmax is written as one class's sigmoid."""
        batch, structures = len(query.images), support.stem.shape[1]
        maps = iter([x.expand(batch, -1, -1, -1).flatten(0, 1)[:, None] for x in support])
        x = self.network_input(query.images).to(next(self.encoder.parameters()).dtype)
        for name, module in self.encoder.backbone.items():
            x = module(x)
            if name == STAGES[0]:  # what comes before is the same for every structure
                x = x.repeat_interleave(structures, dim=0)
            if name in STAGES:
                x = x * next(maps).to(x.dtype)
        x = x.to(self.classifier.weight.dtype)
        for name, module in self.decoder.items():
            x = module(enlarge(x, size, name))
            x = x * next(maps).to(x.dtype)
        return torch.sigmoid(self.classifier(x).float())[:, 0].unflatten(0, (batch, structures))

    def episode_loss(
        self, support: Tensor, support_masks: Tensor, query: Tensor, query_masks: Tensor, valid: Tensor
    ) -> EpisodeLoss:
        """See `TrainedMethod.episode_loss`: the Dice loss of the query; there is no alignment."""
        size = (support.shape[-2], support.shape[-1])
        excitation = self.condition(self.encode(support), support_masks)
        predicted = self.predict(excitation, self.encode(query), size)
        loss = mean_over_valid(dice_loss(predicted, query_masks), valid)
        return EpisodeLoss(loss, loss, torch.zeros_like(loss))
