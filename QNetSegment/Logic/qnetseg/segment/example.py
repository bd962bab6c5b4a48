"""A drawn patient, and where its structure lies in another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from ..model import QNet
from ..model.encoder import Features
from ..volume import InPlaneGrid, SupportSet
from .alignment import Alignment, Body, align, moved
from .descriptors import Basis, Descriptors
from .drawn import propagate
from .images import model_grid
from .inference import Runner
from .job import Job
from .propagator import Propagator
from .query import Query, Stack
from .scenes import Known

SAMPLED = 8  # slices of a volume from which the axes of its features are found


@dataclass(frozen=True, eq=False)
class Example:
    """What was drawn, and the whole volume that it was drawn on, where that is known.

    Attributes:
        support: the drawn slices.
        volume: None where only the slices are at hand.
    """

    support: SupportSet
    volume: Query | None = None

    def __post_init__(self) -> None:
        """Raises InputError for another volume than the one that was drawn on."""
        if self.volume is not None and self.support.volume_id != self.volume.fingerprint:
            raise InputError(
                f"The drawing was not made on the volume '{self.volume.grid.name}'.",
                "Give the one that it was drawn on.",
            )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A whole patient by what Q-Net's encoder sees, along axes of its own.

    Attributes:
        stack: its slices in the plane of the drawing.
        grid: of the network's images.
        basis: axes of its features.
        places: descriptors of all slices, on `size` (h, w) cells of the grid.
    """

    stack: Stack
    grid: InPlaneGrid
    basis: Basis
    places: Descriptors

    @classmethod
    def of(cls, example: Example, runner: Runner[QNet], job: Job) -> Anatomy:
        """Encoded once for all structures and queries; kept with the volume."""
        volume, support = example.volume, example.support
        assert volume is not None
        key = ("anatomy", *runner.seen_as(support))
        return volume.remember(key, lambda: cls._encoded(volume.stack(support), support, runner, job))

    @classmethod
    def _encoded(cls, stack: Stack, support: SupportSet, runner: Runner[QNet], job: Job) -> Anatomy:
        grid = model_grid(support, stack, runner.network.config)
        images = torch.from_numpy(grid.to_model(stack.slices, fill=stack.fill))
        sampled = np.linspace(0, len(images) - 1, min(SAMPLED, len(images))).round().astype(int)
        finest = torch.cat(
            [
                features.finest.cpu()
                for _, features in runner.batches(
                    images[sampled], lambda _, found: found, "support", job.silent
                )
            ]
        )
        basis, others = Basis.of(finest), np.setdiff1d(np.arange(len(images)), sampled)

        def unit(_: slice, features: Features) -> torch.Tensor:
            return basis.unit(features.finest.cpu())

        units = torch.empty(len(images), basis.axes.shape[1], *finest.shape[-2:])
        units[sampled] = basis.unit(finest)
        for part, own in runner.batches(images[others], unit, "support", job.silent):
            units[others[part]] = own
        size = (units.shape[-2], units.shape[-1])
        return cls(stack, grid, basis, Descriptors.of(units, images, size))

    def structure(self, support: SupportSet, propagator: Propagator, job: Job) -> np.ndarray:
        """(S, H, W) float32: the whole structure of the patient, from its drawing."""
        drawn = {part.index: part.mask > 0 for part in support.slices}
        stack = self.stack
        own = propagate(propagator, stack.slices, stack.spacing, Known(drawn), job).probability
        for index, mask in drawn.items():
            own[index] = mask
        return own

    def aligned(self, places: Descriptors, stack: Stack, grid: InPlaneGrid, job: Job) -> Aligned:
        """Another patient, described along the same axes on the cells of its own grid, laid over this one."""
        query, own = _body(places, stack, grid), _body(self.places, self.stack, self.grid)
        return Aligned(align(query, own, job.check), query.step, own.step)

    def moved(self, structure: np.ndarray, aligned: Aligned, grid: InPlaneGrid, count: int) -> np.ndarray:
        """(count, H, W) float32: a structure of this patient as it lies in the other one's stack."""
        planes = torch.from_numpy(self.grid.to_model(structure[:: aligned.own_step]))
        found = moved(planes, aligned.alignment.positions, grid.size).numpy()
        return grid.to_native(_between_planes(found, aligned.step, count))


@dataclass(frozen=True, eq=False)
class Aligned:
    """An alignment, and the slices from plane to plane of the other patient and of this one."""

    alignment: Alignment
    step: int
    own_step: int

    def share(self, structure: np.ndarray) -> float:
        """How much of a structure (S, H, W) of this patient lies on slices of the other volume, 0 to 1."""
        areas = structure.sum(axis=(1, 2))
        low, high = (self.own_step * plane for plane in sorted(self.alignment.covered))
        reach = self.own_step / 2
        at = np.arange(len(areas))
        return float(areas[(at >= low - reach) & (at <= high + reach)].sum() / max(areas.sum(), 1e-6))


def _body(places: Descriptors, stack: Stack, grid: InPlaneGrid) -> Body:
    return Body.of(places, stack.spacing[0], grid.spacing * grid.size / places.size[0])


def _between_planes(volume: np.ndarray, step: int, count: int) -> np.ndarray:
    """(P, N, N) of every so many slices for all `count` of them: each as the nearest plane."""
    nearest = np.minimum((np.arange(count) + step // 2) // step, len(volume) - 1)
    return np.ascontiguousarray(volume[nearest])
