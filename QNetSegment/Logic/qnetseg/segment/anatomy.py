"""A drawn patient as a whole, and where its structure lies in another one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import ndimage

from ..errors import InputError
from ..memory import Memory
from ..model import Networks, QNet, QNetConfig
from ..volume import InPlaneGrid, Patient, PatientImage, SupportSet, Volume
from .alignment import Body, Overlay, Placed, place
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

# By hand on pairs of CMR, Sunnybrook and CHAOST2 patients, of the development data that R3 scores, too.
TURNS = (0, -20, 20)  # degrees in the plane by which a patient is turned first; on only where that helps
MOST_TURN = 60  # degrees; hearts in short axis lie up to 50 off each other
MOST_TURNED = 4  # turned bodies that are kept, of 0.7 MiB for each plane


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
            f"The example was not drawn on the volume '{volume.grid.name}'.",
            "Give the one that it was drawn on.",
        )
    stack = volume.stack(support)
    grid = model_grid(support, stack, QNetConfig())

    def image() -> PatientImage:
        planes = grid.to_model(stack.slices[stack.planes], fill=stack.fill)
        return PatientImage.of(planes, (stack.gap, grid.spacing))

    drawn = {part.index: part.mask > 0 for part in support.slices}
    if result is None:
        propagator, job = Propagator(networks.propagation.network, options or SegmentOptions()), job or Job()
        own = propagate(propagator, stack.slices, stack.spacing, Known(drawn), job.silent).probability
    else:
        own = stack.along(_usable(result, volume.grid)).astype(np.float32)
    for index, mask in drawn.items():
        own[index] = mask
    covered = grid.to_model(own[stack.planes])
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
        described: what it looks like at each place.
        turned_bodies: the same of the latest few degrees by which it was turned in the plane.
    """

    image: PatientImage
    grid: InPlaneGrid
    basis: Basis
    described: Body
    turned_bodies: Memory = field(default_factory=lambda: Memory(MOST_TURNED), repr=False)

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
                features
                for _, features in runner.batches(
                    images[sampled],
                    lambda _, found: found.cpu(),
                    "slices",
                    job.part(0, len(sampled) / len(images)),
                    encode=runner.finest,
                )
            ]
        )
        basis, others = Basis.of(finest), np.setdiff1d(np.arange(len(images)), sampled)
        units = torch.empty(len(images), basis.axes.shape[1], *finest.shape[-2:])
        units[sampled] = basis.unit(finest)
        if len(others):
            rest = job.part(len(sampled) / len(images), 1)
            units[others] = _units(images[others], basis, runner, rest)
        return cls(image, grid, basis, _described(units, images, image, grid))

    def body(self, turn: int, runner: Runner[QNet], job: Job) -> Body:
        """The patient turned by so many degrees, see `turned`; encoded when it is first asked for."""

        def encoded() -> Body:
            fill = self.image.values[0]
            images = torch.from_numpy(
                self.grid.to_model(turned(self.image.intensities, turn, fill), fill=fill)
            )
            return _described(_units(images, self.basis, runner, job), images, self.image, self.grid)

        return self.described if turn == 0 else self.turned_bodies.get(turn, encoded)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A patient's body laid over another one's, which is searched; kept with that one.

    Attributes:
        anatomy: the patient's.
        query: the other body, described along the same axes.
        overlays: by the degrees by which the patient is turned.
    """

    anatomy: Anatomy
    query: Body
    overlays: dict[int, Overlay]

    @classmethod
    def of(cls, anatomy: Anatomy, places: Descriptors, stack: Stack, grid: InPlaneGrid) -> Comparison:
        """places: of the planes of the other patient's stack, on the cells of its own grid."""
        return cls(anatomy, _body(places, stack.gap, grid), {})

    def overlay(self, turn: int, runner: Runner[QNet], job: Job) -> Overlay:
        """Laid over when it is first asked for."""
        if turn not in self.overlays:
            self.overlays[turn] = Overlay.of(self.query, self.anatomy.body(turn, runner, job))
        return self.overlays[turn]

    def place(
        self, patient: Patient, stack: Stack, grid: InPlaneGrid, runner: Runner[QNet], job: Job
    ) -> Place:
        """Where the patient's structure lies in the other one's stack.

        The patient is turned for it until the sum of two similarities falls: of both bodies, and of their
        places there.
        """
        tried: dict[int, tuple[float, Placed]] = {}

        def similarity(turn: int) -> float:
            if turn not in tried:
                left = 0.7 ** np.arange(
                    len(tried), len(tried) + 2
                )  # how many turns will be tried is not known
                overlay = self.overlay(turn, runner, job.part(1 - left[0], 1 - left[1]))
                planes = turned(patient.covered, turn)
                placed = place(overlay, torch.from_numpy(self.anatomy.grid.to_model(planes)), job.check)
                tried[turn] = overlay.similarity + placed.similarity, placed
            return tried[turn][0]

        turn = step = max(TURNS, key=similarity)
        while turn and abs(turn) < MOST_TURN and similarity(turn + step) > similarity(turn):
            turn += step
        best = tried[turn][1]
        found = best.finer().found(grid.size)
        there = stack.between_planes(found.numpy())
        areas = best.structure.sum(dim=(1, 2)).numpy()
        return Place(grid.to_native(there), patient.volume_ml, _share(areas, best.overlay.covered))


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


def turned(planes: np.ndarray, degrees: int, fill: float = 0.0) -> np.ndarray:
    """(P, N, N) float32 planes turned about their middle, rows towards columns."""
    if not degrees:
        return planes
    return ndimage.rotate(planes, degrees, axes=(1, 2), reshape=False, order=1, cval=fill)


def _units(images: torch.Tensor, basis: Basis, runner: Runner[QNet], job: Job) -> torch.Tensor:
    """(P, D, h, w) unit vectors of (P, N, N) images along the axes of a basis."""
    found = runner.batches(
        images, lambda _, found: basis.unit(found.cpu()), "slices", job, encode=runner.finest
    )
    return torch.cat([units for _, units in found])


def _described(units: torch.Tensor, images: torch.Tensor, image: PatientImage, grid: InPlaneGrid) -> Body:
    """units: of the (P, N, N) images, which are the patient's planes on the grid."""
    places = Descriptors.of(units, images, (units.shape[-2], units.shape[-1]))
    return _body(places, image.spacing[0], grid)


def _body(places: Descriptors, gap: float, grid: InPlaneGrid) -> Body:
    return Body.of(places, gap, grid.spacing * grid.size / places.size[0])
