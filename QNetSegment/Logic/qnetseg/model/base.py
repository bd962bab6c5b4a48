"""What every network that a weights file holds can say of itself, and what every few-shot method can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .config import QNetConfig
from .encoder import Encoder


class Network(nn.Module):
    """A network that is made from its configuration alone.

    name: in recipes and weights files.
    title: in tables and messages.
    config_type: class of the configuration; it has `to_dict` and `from_dict`.
    config: an instance of it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    config_type: ClassVar[Any]
    config: Any

    @property
    def described(self) -> str:
        """What messages call it: the title and what tells its size."""
        return self.title


class FewShotMethod(Network, ABC):
    """A network that segments query images from support images and their masks.

    What `encode` and `condition` return is the method's own affair; it is a NamedTuple of tensors whose first
    dimension is the image, so that anyone can choose images from it. The support is encoded once and used for
    any number of query images.

    name: in recipes, weights files and `qnetseg_lab.baselines`.
    config: topology, constants and input contract.
    encoder: what the start's weights go into; it holds most of the work.
    """

    config_type: ClassVar[Any] = QNetConfig
    config: QNetConfig
    encoder: Encoder

    @property
    def described(self) -> str:
        """What messages call it."""
        return f"ResNet-{self.config.depth} {self.title}"

    def network_input(self, images: Tensor) -> Tensor:
        """(B, H, W) z-scored images as (B, 3, H, W) in the range that the start was trained on."""
        x = self.config.input_scale * images + self.config.input_shift
        return x[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

    @abstractmethod
    def encode(self, images: Tensor) -> Any:
        """Features of images: (B, H, W) float, z-scored; H and W multiples of 8."""

    @abstractmethod
    def condition(self, features: Any, masks: Tensor) -> Any:
        """What the method keeps of encoded support images. masks: (B, N, H, W) float in [0, 1]."""

    @abstractmethod
    def predict(self, support: Any, query: Any, size: tuple[int, int]) -> Tensor:
        """Foreground probability (B, N, *size) float32 of encoded query images.

        support: from `condition`; first dimension B, or 1 for all query images.
        query: from `encode`.
        size: H and W of the images.
        """
