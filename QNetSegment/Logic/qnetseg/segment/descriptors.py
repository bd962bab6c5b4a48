"""What a slice looks like at each place: features of the encoder in few numbers, beside the intensities.

Computed once for a slice, whatever is drawn: a correction or another structure starts from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DIMENSIONS = 64  # of the features' principal axes that are kept: 1/8 of the encoder's memory
INTENSITY = 0.6  # weight of a z-score's difference beside the cosine of two features


@dataclass(frozen=True)
class Basis:
    """Principal axes of unit feature vectors.

    Attributes:
        centre: (C,) float32, their mean.
        axes: (C, D) float32, orthonormal.
    """

    centre: Tensor
    axes: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Basis:
        """The axes along which (B, C, h, w) features vary most."""
        vectors = F.normalize(features.float(), dim=1).movedim(1, -1).flatten(0, 2)
        centre = vectors.mean(dim=0)
        scatter = (vectors - centre).T @ (vectors - centre)
        try:
            _, axes = torch.linalg.eigh(scatter)  # ascending
        except torch.linalg.LinAlgError:  # did not converge, as single precision may where axes are alike
            _, axes = torch.linalg.eigh(scatter.double())
        return cls(centre, axes[:, -DIMENSIONS:].float())

    def unit(self, features: Tensor) -> Tensor:
        """(B, C, h, w) features as unit vectors (B, D, h, w) along the axes."""
        vectors = F.normalize(features.float(), dim=1).movedim(1, -1) - self.centre
        return F.normalize(vectors @ self.axes, dim=-1).movedim(-1, 1).contiguous()


@dataclass(frozen=True)
class Descriptors:
    """Of S slices; the similarity of two places is the product of their features minus the squared distance
    of their intensities.

    Attributes:
        features: (S, D, h, w) float32, unit vectors.
        intensities: (S, 9, h, w) float32, the neighbourhood of 3 x 3, weighted.
    """

    features: Tensor
    intensities: Tensor

    @classmethod
    def of(cls, units: Tensor, images: Tensor, size: tuple[int, int]) -> Descriptors:
        """units: (S, D, h, w) from `Basis.unit`; images: (S, H, W) float32; size: h and w."""
        return cls(units, neighbourhoods(images, size))

    def chosen(self, slices: list[int]) -> Descriptors:
        """Of some of the slices."""
        return Descriptors(self.features[slices], self.intensities[slices])

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of places."""
        return self.intensities.shape[-2], self.intensities.shape[-1]

    def factors(self, index: int, intensity: float = 1.0, right: bool = False) -> Tensor:
        """(D + 11, h w) of one slice; its left factors, transposed, times the right ones of another slice are
        the similarity of all their places.

        intensity: weight of the intensities' distance.
        """
        features, around = self.features[index].flatten(1), self.intensities[index].flatten(1)
        lost = -intensity * around.square().sum(dim=0, keepdim=True)
        ones = torch.ones_like(lost)
        rest = [lost, ones] if right else [ones, lost]
        return torch.cat([features, (2 * intensity) ** 0.5 * around, *rest])


def sides(mask: Tensor) -> tuple[Tensor, Tensor]:
    """(h w,) bool each: the places outside and inside of an (h, w) drawing; those on its outline are neither.

    A drawing thinner than a place keeps those that it covers most.
    """
    covered = mask.flatten()
    return covered <= 0.25, covered >= min(0.75, float(covered.max()))


def neighbourhoods(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Weighted 3 x 3 intensities (B, 9, h, w) of (B, H, W) images averaged to `size` (h, w)."""
    small = F.adaptive_avg_pool2d(images[:, None].float(), size)
    around = F.unfold(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3)
    return INTENSITY / 3 * around.unflatten(-1, size)
