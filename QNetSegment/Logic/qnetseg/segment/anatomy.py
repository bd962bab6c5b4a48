"""A drawn patient as a whole, and where its structure lies in another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import InputError
from ..model import Networks, QNet, QNetConfig
from ..model.encoder import Features
from ..volume import InPlaneGrid, Patient, PatientImage, SupportSet
from .alignment import LEAST_GAP, Alignment, Body, align, moved
from .descriptors import Basis, Descriptors
from .drawn import propagate
from .images import fitted_spacing, model_grid
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .propagator import Propagator
from .query import Query, Stack
from .scenes import Known

SAMPLED = 8  # planes of a patient from which the axes of its features are found


def with_patient(
    support: SupportSet,
    volume: Query,
    networks: Networks,
    options: SegmentOptions | None = None,
    job: Job | None = None,
) -> SupportSet:
    """A drawing with the whole patient that it was made on, whose structure is segmented for it.

    With it the structure is found in the right place of another patient more often. volume: the one that was
    drawn on. Raises what `segment_volume` raises.
    """
    if support.volume_id != volume.fingerprint:
        raise InputError(
            f"The drawing was not made on the volume '{volume.grid.name}'.",
            "Give the one that it was drawn on.",
        )
    propagator, job = Propagator(networks.propagation.network, options or SegmentOptions()), job or Job()
    stack = volume.stack(support)
    grid = model_grid(support, stack, QNetConfig())
    step = max(1, round(LEAST_GAP / stack.spacing[0]))

    def image() -> PatientImage:
        planes = grid.to_model(stack.slices[::step], fill=stack.fill)
        return PatientImage.of(planes, (stack.spacing[0] * step, grid.spacing))

    drawn = {part.index: part.mask > 0 for part in support.slices}
    own = propagate(propagator, stack.slices, stack.spacing, Known(drawn), job.silent).probability
    for index, mask in drawn.items():
        own[index] = mask
    covered = grid.to_model(own[::step])
    patient = Patient(
        volume.memory.get(("patient", support.plane, support.axes.tobytes(), grid), image),
        (255 * covered.clip(0, 1)).round().astype(np.uint8),
        volume_ml(own > 0.5, stack),
    )
    return replace(support, patient=patient)


def volume_ml(mask: np.ndarray, stack: Stack) -> float:
    """Of a mask (S, H, W) bool."""
    return float(mask.sum()) * float(np.prod(stack.spacing)) / 1000


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patient by what Q-Net's encoder sees, along axes of its own.

    Attributes:
        image: the patient's.
        grid: of the network's images, in which the patient's planes lie.
        basis: axes of its features.
        places: descriptors of all planes, on `size` (h, w) cells of the grid.
    """

    image: PatientImage
    grid: InPlaneGrid
    basis: Basis
    places: Descriptors

    @classmethod
    def of(cls, image: PatientImage, support: SupportSet, runner: Runner[QNet], job: Job) -> Anatomy:
        """Encoded once for all structures and queries; kept with the image."""
        return image.memory.get(runner.seen_as(support), lambda: cls._encoded(image, runner, job))

    @classmethod
    def _encoded(cls, image: PatientImage, runner: Runner[QNet], job: Job) -> Anatomy:
        config, count = runner.network.config, image.planes.shape[1]
        spacing, pixel = fitted_spacing(count * image.spacing[1], config), image.spacing[1]
        grid = InPlaneGrid((count, count), (pixel, pixel), spacing, config.size)
        images = torch.from_numpy(grid.to_model(image.intensities, fill=image.values[0]))
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
        return cls(image, grid, basis, Descriptors.of(units, images, size))

    def aligned(self, places: Descriptors, stack: Stack, grid: InPlaneGrid, job: Job) -> Aligned:
        """Another patient, described along the same axes on the cells of its own grid, laid over this one."""
        query, own = (
            _body(places, stack.spacing[0], grid),
            _body(self.places, self.image.spacing[0], self.grid),
        )
        return Aligned(align(query, own, job.check), query.step, own.step)

    def moved(self, patient: Patient, aligned: Aligned, grid: InPlaneGrid, count: int) -> np.ndarray:
        """(count, H, W) float32: this patient's structure as it lies in the other one's stack."""
        planes = torch.from_numpy(self.grid.to_model(patient.covered[:: aligned.own_step]))
        found = moved(planes, aligned.alignment.positions, grid.size).numpy()
        return grid.to_native(_between_planes(found, aligned.step, count))


@dataclass(frozen=True, eq=False)
class Aligned:
    """An alignment of another patient's planes with this one's.

    step, own_step: from one of the other's slices, and of this one's planes, to the next that was compared.
    """

    alignment: Alignment
    step: int
    own_step: int

    def share(self, structure: np.ndarray) -> float:
        """How much of a structure (P, N, N) of this patient lies on slices of the other volume, 0 to 1."""
        areas = structure.sum(axis=(1, 2))
        low, high = (self.own_step * plane for plane in sorted(self.alignment.covered))
        reach = self.own_step / 2
        at = np.arange(len(areas))
        return float(areas[(at >= low - reach) & (at <= high + reach)].sum() / max(areas.sum(), 1e-6))


def _body(places: Descriptors, gap: float, grid: InPlaneGrid) -> Body:
    return Body.of(places, gap, grid.spacing * grid.size / places.size[0])


def _between_planes(volume: np.ndarray, step: int, count: int) -> np.ndarray:
    """(P, N, N) of every so many slices for all `count` of them: each as the nearest plane."""
    nearest = np.minimum((np.arange(count) + step // 2) // step, len(volume) - 1)
    return np.ascontiguousarray(volume[nearest])
