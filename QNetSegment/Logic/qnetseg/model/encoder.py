"""Dual-path feature encoder (paper, section 4.1 and Table 2)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .config import QNetConfig


class Features(NamedTuple):
    """Features of B images of H x W pixels.

    fine: (B, C, H/4, W/4) float, the "64 x 64" path of the paper; C is 0 where there is no such path.
    coarse: (B, C, H/8, W/8) float, the "32 x 32" path; C is 0 where there is no such path.
    pooled: (B, 2048) float, global average of the last residual layer, input of the threshold.
    """

    fine: Tensor
    coarse: Tensor
    pooled: Tensor

    @property
    def finest(self) -> Tensor:
        """The fine path, or the coarse one where there is no other."""
        return self.fine if self.fine.shape[1] else self.coarse


class Encoder(nn.Module):
    """A network around a torchvision ResNet, whose layers have the names of the start's tensors.

    The strides of residual layers 2 to 4 are replaced by dilation except in `config.downsample_layer`,
    so that the layer before it has 1/4 of the input resolution and the last layer 1/8.
    """

    def __init__(self, config: QNetConfig, last_layer: str = "layer4") -> None:
        import torchvision  # slow and large, and the propagation network has no need of it

        super().__init__()
        dilate = [layer != config.downsample_layer for layer in (2, 3, 4)]
        build = getattr(torchvision.models, f"resnet{config.depth}")
        layers = dict(build(weights=None, replace_stride_with_dilation=dilate).named_children())
        names = list(layers)[: list(layers).index(last_layer) + 1]
        self.backbone = nn.ModuleDict({name: layers[name] for name in names})


class DualPathEncoder(Encoder):
    """The last two resolutions, or one of them, reduced to equal channel counts.

    Every layer that is built takes part in the result: what `config.paths` has no need of is left out.
    """

    def __init__(self, config: QNetConfig, pooled: bool = True) -> None:
        """pooled: whether the last layer is wanted for `Features.pooled` when the coarse path is not; without
        it, `Features.pooled` averages the last layer there is."""
        fine_layer = f"layer{config.downsample_layer - 1}"
        super().__init__(config, "layer4" if pooled or config.paths != "fine" else fine_layer)
        names = list(self.backbone)
        behind = names.index(fine_layer) + 1
        self.front, self.back = names[:behind], names[behind:]
        self.has_fine, self.has_coarse = config.paths != "coarse", config.paths != "fine"
        if self.has_fine:
            fine_channels = 64 * 4 * 2 ** (config.downsample_layer - 2)
            self.reduce_fine = nn.Conv2d(fine_channels, config.feature_channels, kernel_size=1, bias=False)
        if self.has_coarse:
            self.reduce_coarse = nn.Conv2d(2048, config.feature_channels, kernel_size=1, bias=False)
        for conv in self.children():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Features:
        """images: (B, 3, H, W) float with H and W multiples of 8."""
        x = self._through(images, self.front)
        fine = self.reduce_fine(x) if self.has_fine else x[:, :0]
        x = self._through(x, self.back)
        coarse = self.reduce_coarse(x) if self.has_coarse else x[:, :0]
        return Features(fine, coarse, pooled=x.float().mean(dim=(2, 3)))

    def finest(self, images: Tensor) -> Tensor:
        """`Features.finest` of images alone: of the fine path, without the layers behind it."""
        if not self.has_fine:
            return self(images).coarse  # type: ignore[no-any-return]
        return self.reduce_fine(self._through(images, self.front))  # type: ignore[no-any-return]

    def _through(self, x: Tensor, layers: list[str]) -> Tensor:
        for name in layers:
            x = self.backbone[name](x)
        return x
