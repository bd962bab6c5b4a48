"""A drawn patient as a whole, and where its structure lies in another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import InputError
from ..model import Networks, QNet, QNetConfig
from ..model.encoder import Features
from ..volume import InPlaneGrid, Patient, PatientImage, SupportSet, Volume
from .alignment import LEAST_GAP, Body, Overlay, place
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
    result: np.ndarray | None = None,
) -> SupportSet:
    """A drawing with the whole patient that it was made on, whose structure is segmented for it.

    With it the structure is found in the right place of another patient more often.

    Args:
        support: what was drawn.
        volume: the one that was drawn on.
        networks: none is read where there is a result.
        options: None for the defaults.
        job: asked between windows whether to go on; None for nobody.
        result: (K, J, I) bool on the volume's own axes, where the structure lies in the whole volume, as the
            user has accepted or corrected it. It is taken as it is, but for the drawn slices, which go before
            it. None to segment the structure anew.

    Raises InputError for another volume than the one drawn on, and for a result of another shape or without a
    voxel; else what `segment_volume` raises.
    """
    if support.volume_id != volume.fingerprint:
        raise InputError(
            f"The drawing was not made on the volume '{volume.grid.name}'.",
            "Give the one that it was drawn on.",
        )
    stack = volume.stack(support)
    grid = model_grid(support, stack, QNetConfig())
    step = max(1, round(LEAST_GAP / stack.spacing[0]))

    def image() -> PatientImage:
        planes = grid.to_model(stack.slices[::step], fill=stack.fill)
        return PatientImage.of(planes, (stack.spacing[0] * step, grid.spacing))

    drawn = {part.index: part.mask > 0 for part in support.slices}
    if result is None:
        propagator, job = Propagator(networks.propagation.network, options or SegmentOptions()), job or Job()
        own = propagate(propagator, stack.slices, stack.spacing, Known(drawn), job.silent).probability
    else:
        own = stack.along(_usable(result, volume.grid)).astype(np.float32)
    for index, mask in drawn.items():
        own[index] = mask
    covered = grid.to_model(own[::step])
    patient = Patient(
        volume.memory.get(("patient", support.plane, support.axes.tobytes(), grid), image),
        (255 * covered.clip(0, 1)).round().astype(np.uint8),
        volume_ml(own > 0.5, stack),
    )
    return replace(support, patient=patient)


def _usable(result: np.ndarray, grid: Volume) -> np.ndarray:
    """A mask of a structure, as bool. Raises InputError unless it is one on that grid."""
    if result.shape != grid.shape:
        own, other = (" x ".join(map(str, shape)) for shape in (result.shape, grid.shape))
        raise InputError(
            f"The result has {own} voxels and the volume '{grid.name}' {other}, so it is another volume's.",
            "Give a mask of the volume that was drawn on.",
        )
    if not result.any():
        raise InputError(
            f"The result is empty, so it does not show where the structure lies in '{grid.name}'.",
            "Give one that holds the structure, or none to have it segmented.",
        )
    return result.astype(bool)


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
        body: what it looks like at each place.
    """

    image: PatientImage
    grid: InPlaneGrid
    basis: Basis
    body: Body

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
        described = Descriptors.of(units, images, size)
        return cls(image, grid, basis, _body(described, image.spacing[0], grid))

    def overlay(self, places: Descriptors, stack: Stack, grid: InPlaneGrid) -> Overlay:
        """Another patient, described along the same axes on the cells of its own grid, under this one."""
        return Overlay.of(_body(places, stack.spacing[0], grid), self.body)

    def place(self, patient: Patient, overlay: Overlay, stack: Stack, grid: InPlaneGrid, job: Job) -> Place:
        """Where this patient's structure lies in the other one's stack."""
        step = self.body.step
        planes = torch.from_numpy(self.grid.to_model(patient.covered[::step]))
        placed = place(overlay, planes, grid.size, job.check)
        there = _between_planes(placed.found.numpy(), overlay.query.step, len(stack.slices))
        areas = planes.sum(dim=(1, 2)).numpy()
        return Place(grid.to_native(there), patient.volume_ml, _share(areas, overlay.covered))


@dataclass(frozen=True, eq=False)
class Place:
    """Where a patient's structure lies in another one's volume.

    Attributes:
        there: (S, H, W) float32 in the volume.
        expected_ml: volume of the patient's structure.
        share: how much of it lies on slices that the volume has, 0 to 1.
    """

    there: np.ndarray
    expected_ml: float
    share: float


def _share(areas: np.ndarray, covered: tuple[float, float]) -> float:
    """How much of a structure, by its (P,) areas, lies between two planes and half a plane beyond."""
    low, high = sorted(covered)
    at = np.arange(len(areas))
    return float(areas[(at >= low - 0.5) & (at <= high + 0.5)].sum() / max(areas.sum(), 1e-6))


def _body(places: Descriptors, gap: float, grid: InPlaneGrid) -> Body:
    return Body.of(places, gap, grid.spacing * grid.size / places.size[0])


def _between_planes(volume: np.ndarray, step: int, count: int) -> np.ndarray:
    """(P, N, N) of every so many slices for all `count` of them: each as the nearest plane."""
    nearest = np.minimum((np.arange(count) + step // 2) // step, len(volume) - 1)
    return np.ascontiguousarray(volume[nearest])
