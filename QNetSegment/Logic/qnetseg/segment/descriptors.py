"""What a slice looks like at each place: features of the encoder in few numbers, beside the intensities.

Computed once for a slice, whatever is drawn: a correction or another structure starts from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import QNet
from .inference import CancelCallback, ProgressCallback, Runner

Kept = TypeVar("Kept")

DIMENSIONS = 64  # of the features' principal axes that are kept: 1/8 of the encoder's memory
SAMPLE = 5  # slices that the axes are found on
MOST_SLICES = 128  # whose whole features are kept: about 10 MiB each
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
        _, axes = torch.linalg.eigh((vectors - centre).T @ (vectors - centre))  # ascending
        return cls(centre, axes[:, -DIMENSIONS:])

    def unit(self, features: Tensor) -> Tensor:
        """(B, C, h, w) features as unit vectors (B, D, h, w) along the axes."""
        vectors = F.normalize(features.float(), dim=1).movedim(1, -1) - self.centre
        return F.normalize(vectors @ self.axes, dim=-1).movedim(-1, 1).contiguous()


class SliceBySlice(Protocol):
    """Tensors of S slices: one tensor whose first dimension they are, or what gives one when asked."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Descriptors:
    """Of S slices; the likeness of two places is the product of their features minus the squared distance of
    their intensities.

    Attributes:
        features: (S, D, h, w) float32, unit vectors.
        intensities: (S, 9, h, w) float32, the neighbourhood of 3 x 3, weighted.
    """

    features: SliceBySlice
    intensities: Tensor

    @classmethod
    def of(cls, units: SliceBySlice, images: Tensor, size: tuple[int, int]) -> Descriptors:
        """units: (S, D, h, w) from `Basis.unit`; images: (S, H, W) float32; size: h and w."""
        return cls(units, neighbourhoods(images, size))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of places."""
        return self.intensities.shape[-2], self.intensities.shape[-1]

    def factors(self, index: int, intensity: float = 1.0, right: bool = False) -> Tensor:
        """(D + 11, h w) of one slice; its left factors, transposed, times the right ones of another slice are
        the likeness of all their places.

        intensity: weight of the intensities' distance.
        """
        features, around = self.features[index].flatten(1), self.intensities[index].flatten(1)
        lost = -intensity * around.square().sum(dim=0, keepdim=True)
        ones = torch.ones_like(lost)
        rest = [lost, ones] if right else [ones, lost]
        return torch.cat([features, (2 * intensity) ** 0.5 * around, *rest])

    def without(self, left_out: Collection[str]) -> Descriptors:
        """Places then do not differ in their "features" or "intensities" or both."""
        nothing = torch.zeros(len(self.features), 1, *self.size)
        return Descriptors(
            nothing if "features" in left_out else self.features,
            torch.zeros_like(self.intensities) if "intensities" in left_out else self.intensities,
        )


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


class FeatureCache:
    """What the encoder saw in the volume that was looked at last, for one segmentation after another.

    A further drawn slice or another structure of the same volume then needs the encoder for slices only that
    nothing reached before. The result is the same with and without.
    """

    def __init__(self) -> None:
        self._network: Any = None
        self._key: tuple[Any, ...] = ()
        self._kept: Any = None

    def get(self, network: Any, key: tuple[Any, ...], build: Callable[[], Kept]) -> Kept:
        """What is kept under network and key, or what `build` gives; only the latest is kept."""
        if self._kept is None or network is not self._network or key != self._key:
            self._kept = None  # never those of two volumes in memory
            self._kept = build()
            self._network, self._key = network, key
        kept: Kept = self._kept
        return kept

    def slices(self, network: Any, key: tuple[Any, ...], count: int) -> list[Any] | None:
        """For `Runner.batches`, where whole features are needed; None for a volume of too many slices."""
        return self.get(network, key, list) if count <= MOST_SLICES else None


@dataclass(frozen=True)
class Seen:
    """What the encoder saw of a volume of S slices so far.

    Attributes:
        basis: axes of a few slices, the same whatever is drawn.
        units: (S, D, h, w) float32, what is known along them.
        known: (S,) bool.
    """

    basis: Basis
    units: Tensor
    known: np.ndarray


def _finest(network: QNet, images: Tensor) -> Tensor:
    return network.finest(images)


class SeenOnDemand:
    """Unit features of the slices of a volume, each encoded when it is first asked for: a structure that ends
    after a few slices needs no others."""

    def __init__(
        self,
        runner: Runner[QNet],
        images: Tensor,
        progress: ProgressCallback | None = None,
        cancel: CancelCallback | None = None,
        cache: FeatureCache | None = None,
        key: tuple[Any, ...] = (),
    ) -> None:
        """See `segment_volume`; images: (S, H, W) float32; key: of the cache. Raises `Cancelled`."""
        self._runner, self._images, self._cancel = runner, images, cancel
        self._progress = progress
        self._seen = (cache or FeatureCache()).get(runner.original, key, self._a_few)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def size(self) -> tuple[int, int]:
        """h and w, rows and columns of places."""
        return self._seen.units.shape[-2], self._seen.units.shape[-1]

    def __getitem__(self, index: int, /) -> Tensor:
        """(D, h, w) float32. Raises `Cancelled`."""
        seen = self._seen
        if not seen.known[index]:
            first = index - index % self._runner.batch_size
            among = np.arange(first, min(first + self._runner.batch_size, len(self)))
            wanted = among[~seen.known[among]]
            for part, features in self._encoded(wanted):
                seen.units[wanted[part]] = seen.basis.unit(features)
                seen.known[wanted[part]] = True
                self._tell(int(seen.known.sum()))
        return seen.units[index]

    def _a_few(self) -> Seen:
        count = len(self)
        sample = np.unique(np.linspace(0, count - 1, SAMPLE + 2)[1:-1].round().astype(int))
        found = []
        for part, features in self._encoded(sample):
            found.append(features)
            self._tell(part.stop)
        basis = Basis.of(torch.cat(found))
        units = torch.empty(count, basis.axes.shape[1], *found[0].shape[-2:])
        units[sample] = basis.unit(torch.cat(found))
        known = np.zeros(count, dtype=bool)
        known[sample] = True
        return Seen(basis, units, known)

    def _encoded(self, chosen: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        def on_cpu(part: slice, features: Tensor) -> Tensor:
            return features.cpu()

        images = self._images[chosen]
        return self._runner.batches(images, on_cpu, "slices", None, self._cancel, encode=_finest)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, len(self), "slices")
