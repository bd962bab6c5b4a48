"""Random numbers of one batch, on its device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class Chance:
    """Draws of a batch of B samples; the same seed gives the same draws on the same device."""

    def __init__(self, batch: int, device: torch.device, seed: int) -> None:
        self.batch, self.device = batch, device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) between low and high."""
        size = (self.batch, *shape)
        return low + (high - low) * torch.rand(size, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) with mean 0 and deviation 1."""
        return torch.randn((self.batch, *shape), generator=self.generator, device=self.device)

    def spread(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) between low and high, evenly in the logarithm."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def often(self, share: float, *shape: int) -> Tensor:
        """(B, *shape) bool, True with this probability."""
        return self.uniform(0, 1, *shape) < share

    def integer(self, count: int, *shape: int) -> Tensor:
        """(B, *shape) int64 from 0 to count - 1."""
        size = (self.batch, *shape)
        return torch.randint(count, size, generator=self.generator, device=self.device)

    def field(self, shape: Sequence[int], cells: Sequence[int], count: int = 1) -> Tensor:
        """(B, count, *shape) smooth noise of about deviation 1: `cells` free values along each axis."""
        coarse = self.normal(count, *cells)
        return 1.5 * F.interpolate(coarse, tuple(shape), mode="trilinear", align_corners=True)

    def choose(self, weights: Tensor) -> Tensor:
        """(B,) int64, an index into each row of (B, N) weights; 0 where all are 0."""
        safe = weights + (weights.sum(1, keepdim=True) <= 0) * 1.0
        return torch.multinomial(safe, 1, generator=self.generator)[:, 0]


def per_sample(values: Tensor, dimensions: int = 4) -> Tensor:
    """(B,) values with trailing axes, to be combined with arrays of so many dimensions."""
    return values.reshape(-1, *[1] * (dimensions - 1))
