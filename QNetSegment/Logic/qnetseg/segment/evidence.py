"""What the propagation network sees of a window: the image, what is drawn, and what both say together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .walker import conductances, walk

CHANNELS = (
    *("prior", "image", "drawing", "field of view", "intensity odds"),
    *("distance to the drawing", "plane distance", "radius", "second look"),
)

REACH = 4.0  # intensities are cut at so many standard deviations from the drawn structure's mean
BINS = 40  # of the intensity histograms over that range
COUNTED = 2e-3  # share of a histogram that counts as seen in every bin: odds of a few pixels say little
BLUR = (0.06, 0.24, 0.4, 0.24, 0.06)  # weights over neighbouring bins
KNOWN = 0.5  # |drawing| from which a voxel's intensity belongs to one of the histograms
FAR = 1e6  # planes: nowhere in the window
FOUND = 0.8  # how much a plane that the network found counts as a drawing, as in training
SEEN = (1 + KNOWN / FOUND) / 2  # probability of a hint from which a voxel counts as known
FARTHEST = 4.0  # radii from the drawing, beyond which distances count as equal
USUAL_RADIUS = 16.0  # pixels

# The walker's constants. The network learns with them: other values need another training.
CELL = 2  # pixels of the window in a cell of the walker's lattice
NOISE_SHARE = 1 / 16  # of the image's own variance between neighbours that counts as noise
ACROSS = 0.5  # how much a difference between planes counts beside one in the plane
BETWEEN = 40.0  # conductance between planes one pixel apart
PRIOR = 4e-4  # for background, at one radius from the drawing; grows with the fourth power


@dataclass(frozen=True)
class Scene:
    """B windows of one shape: D planes of N x N pixels.

    Attributes:
        image: (B, D, N, N) float32, any unit.
        drawing: (B, D, N, N) float32, 1 inside what is drawn, -1 where it is known not to be, 0 unknown;
            values between are for what was found in an earlier window, or is hinted at.
        drawn: (B, D) bool, planes that somebody drew.
        distance: (B, D) float32, pixels to the nearest plane that somebody drew, in this window or not.
        valid: (B, D, N, N) float32, 1 inside the volume.
        gap: (B,) float32, distance between planes in pixels.
        radius: (B,) float32, of the drawn structure in pixels: that of a circle of the same area.
        prior: (B, D, N, N) float32 probability from a first look at a coarser window; None at the first look.
    """

    image: Tensor
    drawing: Tensor
    drawn: Tensor
    distance: Tensor
    valid: Tensor
    gap: Tensor
    radius: Tensor
    prior: Tensor | None = None

    def to(self, device: torch.device) -> Scene:
        """The same on a device."""
        moved: dict[str, Any] = {
            key: None if value is None else value.to(device) for key, value in vars(self).items()
        }
        return Scene(**moved)

    def planes(self, part: slice) -> Scene:
        """Only some of the planes."""
        return replace(
            self,
            image=self.image[:, part],
            drawing=self.drawing[:, part],
            drawn=self.drawn[:, part],
            distance=self.distance[:, part],
            valid=self.valid[:, part],
            prior=None if self.prior is None else self.prior[:, part],
        )


@dataclass(frozen=True)
class Appearance:
    """How the drawn structure looks beside its surroundings, learned once from what is drawn or hinted at.

    Attributes:
        mean, deviation: (B,) float32, of the structure, and of the whole window.
        odds: (B, BINS) float32, log-likelihood ratio of the intensity inside against outside.
    """

    mean: Tensor
    deviation: Tensor
    odds: Tensor

    @classmethod
    def of(cls, scene: Scene) -> Appearance:
        """From what is drawn or hinted at in B windows."""
        valid = scene.valid > 0
        inside, outside = (scene.drawing > KNOWN) & valid, (scene.drawing < -KNOWN) & valid
        mean = _mean(scene.image, inside)
        spread = _mean((scene.image - _mean(scene.image, valid)[:, None, None, None]).square(), valid)
        deviation = spread.sqrt() + 1e-3
        bins = _bins(_standardised(scene.image, mean, deviation))
        odds = (_histogram(bins, inside).log() - _histogram(bins, outside).log()).clamp(-4, 4)
        return cls(mean, deviation, odds)

    def to(self, device: torch.device) -> Appearance:
        """The same on a device."""
        return Appearance(*(value.to(device) for value in vars(self).values()))

    def standardised(self, image: Tensor) -> Tensor:
        """(B, D, N, N) intensities relative to the structure's, in -REACH..REACH."""
        return _standardised(image, self.mean, self.deviation)

    def odds_of(self, standardised: Tensor) -> Tensor:
        """(B, D, N, N) log-likelihood ratio of each voxel's intensity."""
        flat = _bins(standardised).flatten(1)
        return self.odds.gather(1, flat).reshape(standardised.shape)


def evidence(scene: Scene, appearance: Appearance) -> Tensor:
    """(B, CHANNELS, D, N, N) float32: what the network sees, every channel of order one."""
    image = appearance.standardised(scene.image)
    distance = scene.distance / scene.radius[:, None]
    prior = scene.prior if scene.prior is not None else walked(image, scene)
    second = 0.0 if scene.prior is None else 1.0

    def everywhere(values: Tensor) -> Tensor:
        return values.expand_as(image)

    return torch.stack(
        [
            2 * prior - 1,
            image * scene.valid,
            scene.drawing,
            scene.valid,
            appearance.odds_of(image) / 2 * scene.valid,
            everywhere(distance.clamp(max=FARTHEST)[:, :, None, None] / 2),
            everywhere(scene.gap.log()[:, None, None, None]),
            everywhere((scene.radius / USUAL_RADIUS).log()[:, None, None, None]),
            torch.full_like(image, second),
        ],
        1,
    )


def walked(image: Tensor, scene: Scene) -> Tensor:
    """(B, D, N, N) probability of a random walker from everything known, on cells of CELL x CELL pixels.

    image: standardised.
    """
    cells = F.avg_pool2d(image, CELL)
    weight = F.avg_pool2d(scene.drawing.abs(), CELL)
    values = F.avg_pool2d((scene.drawing + 1) / 2 * scene.drawing.abs(), CELL) / weight.clamp(min=1e-6)
    seeds = weight > KNOWN
    drawn = scene.drawn[:, :, None, None]
    noise = (_squares(cells, 2, drawn) + _squares(cells, 3, drawn)) / 2
    edges = conductances(cells, noise.clamp(min=1e-6) * NOISE_SHARE, ACROSS, BETWEEN / scene.gap.square())
    background = PRIOR * _apart(scene).clamp(max=3) ** 4
    outside = background[:, :, None, None] + 0.05 * (1 - F.avg_pool2d(scene.valid, CELL))
    probability = walk(edges, outside, seeds, values * seeds)
    return F.interpolate(probability, image.shape[2:], mode="bilinear", align_corners=False)


def distance_to(planes: Tensor, gap: Tensor) -> Tensor:
    """(B, D) float32 pixels from each plane to the nearest chosen one.

    planes: (B, D) bool, the chosen ones. gap: (B,) pixels between planes.
    """
    places = torch.arange(planes.shape[1], device=planes.device)
    steps = (places[:, None] - places[None]).abs() + torch.where(planes, 0.0, FAR)[:, None]
    return steps.amin(2) * gap[:, None]


def _apart(scene: Scene) -> Tensor:
    """(B, D) radii to the nearest plane on which some of the structure is known, drawn or found."""
    known = (scene.drawing > KNOWN / 2).flatten(2).any(2)
    pixels = torch.minimum(distance_to(known, scene.gap), scene.distance)
    return pixels / scene.radius[:, None]


def _squares(cells: Tensor, axis: int, drawn: Tensor) -> Tensor:
    """(B,) mean squared difference of neighbours on drawn planes; on all where none is drawn."""
    squares = cells.diff(dim=axis).square()
    where = drawn | ~drawn.any(1, keepdim=True)
    return _mean(squares, where.expand_as(squares))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """(B,) mean over a mask; 0 where it is empty."""
    return (values * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1)


def _standardised(image: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    shifted = (image - mean[:, None, None, None]) / deviation[:, None, None, None]
    return shifted.clamp(-REACH, REACH)


def _bins(standardised: Tensor) -> Tensor:
    return ((standardised + REACH) * (BINS / (2 * REACH))).long().clamp(0, BINS - 1)


def _histogram(bins: Tensor, where: Tensor) -> Tensor:
    """(B, BINS) shares, blurred, none of them 0."""
    batch = len(bins)
    first = torch.arange(batch, device=bins.device)[:, None, None, None] * BINS
    counts = torch.bincount((bins + first)[where], minlength=batch * BINS).reshape(batch, 1, BINS).float()
    kernel = torch.tensor(BLUR, device=bins.device)[None, None]
    blurred = F.conv1d(counts, kernel, padding=len(BLUR) // 2)[:, 0]
    return blurred / blurred.sum(1, keepdim=True).clamp(min=1e-6) + COUNTED
