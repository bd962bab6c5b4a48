"""Windows from real volumes: their supervoxels and segmentations are structures to find."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.errors import DatasetError
from qnetseg.segment.window import averaged

from .chance import Chance

ISOTROPIC = 2.0  # times the finest spacing, up to which slices are taken along an axis
LEAST = 24  # pixels of a structure on the slice that is drawn on
SHARE = 0.3  # of the structure's largest area, that the drawn slice must have
ROUGH = 1.25  # times the outline of discs of its areas, that a supervoxel may have
THICKER = (1, 1, 2, 4)  # times the usual distance of planes
TRIES = 50


@dataclass(frozen=True, eq=False)
class Division:
    """A volume's division into structures, seen along each axis: (S, H, W) int16 labels, 0 for none.

    areas: for each axis (S, labels) pixels of each label on each slice, label 0 left at 0.
    smooth: for each axis (labels,) bool, whether somebody would draw such a thing: no sponge.
    """

    labels: Tensor
    areas: tuple[np.ndarray, ...]
    smooth: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, labels: np.ndarray, device: torch.device) -> Division:
        """labels: (K, J, I) of any integer type; renumbered."""
        values, flat = np.unique(labels, return_inverse=True)
        first = int(values[0] != 0)
        small = (flat.reshape(labels.shape) + first).astype(np.int16)
        count = len(values) + first
        areas, smooth = [], []
        for axis in range(3):
            rows = np.moveaxis(small, axis, 0).reshape(small.shape[axis], -1).astype(np.int64)
            rows += np.arange(len(rows))[:, None] * count
            area = np.bincount(rows.ravel(), minlength=len(rows) * count).reshape(len(rows), count)
            area[:, 0] = 0
            areas.append(area)
            smooth.append(_smooth(np.moveaxis(small, axis, 0), area))
        return cls(torch.from_numpy(small).to(device), tuple(areas), tuple(smooth))


@dataclass(frozen=True, eq=False)
class Tissue:
    """A real volume: (K, J, I) float32 z-scored, spacing in mm, and its divisions.

    segmented: how many of the divisions, the first ones, are somebody's segmentation.
    """

    name: str
    image: Tensor
    spacing: tuple[float, float, float]
    divisions: tuple[Division, ...]
    segmented: int

    def axes(self) -> list[int]:
        """Axes along which the volume can be sliced."""
        finest = min(self.spacing)
        thick = [axis for axis in range(3) if self.spacing[axis] > ISOTROPIC * finest]
        return thick or [0, 1, 2]


@dataclass(frozen=True)
class Place:
    """A structure on a slice of a volume."""

    tissue: Tissue
    division: Division
    axis: int
    label: int
    slice: int
    joined: int  # a neighbour that belongs to it, too; 0 for none


def find_place(tissues: Sequence[Tissue], luck: random.Random, segmented: float) -> Place:
    """A structure at random. segmented: share of segmentations, where there are some.

    Raises `DatasetError` where the volumes hold next to none.
    """
    for _ in range(TRIES):
        tissue = luck.choice(tissues)
        own = tissue.segmented and (luck.random() < segmented or tissue.segmented == len(tissue.divisions))
        low, high = (0, tissue.segmented) if own else (tissue.segmented, len(tissue.divisions))
        if low == high:
            continue
        division = tissue.divisions[luck.randrange(low, high)]
        axis = luck.choice(tissue.axes())
        areas = division.areas[axis]
        labels = np.flatnonzero((areas.max(0) >= LEAST) & (own | division.smooth[axis]))
        if not len(labels):
            continue
        label = int(luck.choice(labels.tolist()))
        column = areas[:, label]
        slices = np.flatnonzero(column >= max(LEAST, SHARE * column.max()))
        chosen = luck.choices(slices.tolist(), column[slices].tolist())[0]
        joined = 0 if own or luck.random() < 0.6 else _neighbour(tissue, division, axis, label, chosen)
        return Place(tissue, division, axis, label, chosen, joined)
    raise DatasetError(
        f"In {TRIES} tries no structure of {LEAST} pixels with a smooth outline was found in the volumes.",
        "Leave out volumes that are empty or very small, or train without any.",
    )


def _smooth(labels: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(labels,) bool: pixels at the outline are at most ROUGH times those of discs of the same areas.

    labels: (S, H, W). areas: (S, labels), see `Division`.
    """
    edge = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        differs = np.diff(labels, axis=axis) != 0
        before, after = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        edge[before] |= differs
        edge[after] |= differs
    outline = np.bincount(labels[edge], minlength=areas.shape[1])
    discs = np.sqrt(4 * math.pi * areas).sum(0)
    return np.asarray(outline <= ROUGH * discs)


def _neighbour(tissue: Tissue, division: Division, axis: int, label: int, index: int) -> int:
    """The label around it on the slice whose intensity is nearest; 0 for none."""
    plane = division.labels.select(axis, index)
    mask = (plane == label).float()[None, None]
    ring = (F.max_pool2d(mask, 5, 1, 2)[0, 0] > 0) & (plane != label) & (plane != 0)
    image = tissue.image.select(axis, index)
    own = image[plane == label].mean()
    found = plane[ring].unique().tolist()
    return min(found, key=lambda other: abs(float(image[plane == other].mean() - own)), default=0)


def cut_out(
    place: Place, luck: random.Random, depth: int, side: int, radius: float, moves: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, float, int]:
    """A window around a place, rotated and flipped at random.

    Returns:
        image, coverage by the structure, labels as far as they are other structures, validity: (D, N, N) each
        float32; pixels between planes; and the drawn plane's index.
    """
    tissue, axis = place.tissue, place.axis
    image = tissue.image.movedim(axis, 0)
    labels = place.division.labels.movedim(axis, 0)
    thick = tissue.spacing[axis]
    spacing = [mm for other, mm in enumerate(tissue.spacing) if other != axis]
    plane = labels[place.slice]
    mask = (plane == place.label) | ((plane == place.joined) & (place.joined > 0))
    pixel = max(math.sqrt(float(mask.sum()) * spacing[0] * spacing[1] / math.pi) / radius, 0.5 * min(spacing))
    step = max(1, round(radius / 8 * pixel / thick * luck.choice(THICKER)))
    part = step if luck.random() < 0.5 else 1  # slices that one of the window's planes is the mean of
    low, high = (depth // 6, depth // 3) if moves else (depth // 4, depth - 1 - depth // 4)
    position = luck.randint(low, high)
    index = place.slice + step * (torch.arange(depth) - position)
    inside = (index >= 0) & (index < len(image))
    parts = (index[:, None] + torch.arange(part) - part // 2).clamp(0, len(image) - 1).to(image.device)
    index = index.clamp(0, len(image) - 1).to(image.device)
    places = torch.nonzero(mask).float().mean(0)
    centre = [float(places[n]) + luck.uniform(-0.4, 0.4) * radius * pixel / spacing[n] for n in (0, 1)]
    grid, valid = _grid(centre, pixel, spacing, plane.shape, side, luck, image.device)
    other = labels[index].float()
    every = labels[parts]
    structure = ((every == place.label) | ((every == place.joined) & (place.joined > 0))).float().mean(1)
    factor = max(1, int(pixel / max(spacing)))
    seen = torch.stack([averaged(image[parts].mean(1), factor), averaged(structure, factor)], 1)
    sampled = F.grid_sample(seen, grid.expand(depth, -1, -1, -1), padding_mode="border", align_corners=False)
    nearest = F.grid_sample(
        other[:, None],
        grid.expand(depth, -1, -1, -1),
        mode="nearest",
        padding_mode="border",
        align_corners=False,
    )[:, 0]
    cover = sampled[:, 1]
    if place.division not in tissue.divisions[: tissue.segmented]:
        cover = F.avg_pool2d(F.avg_pool2d(cover, 3, 1, 1), 3, 1, 1)
    validity = valid[None] * inside.to(image.device)[:, None, None]
    made = [sampled[:, 0], cover, nearest, validity]
    if not moves and luck.random() < 0.5:
        made, position = [each.flip(0) for each in made], depth - 1 - position
    return made[0], made[1], made[2], made[3], step * thick / pixel, position


def _grid(
    centre: list[float],
    pixel: float,
    spacing: list[float],
    shape: Sequence[int],
    side: int,
    luck: random.Random,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """(1, N, N, 2) sampling grid of a rotated, perhaps mirrored window; (N, N) where it is in the image."""
    angle, mirror = luck.uniform(-math.pi, math.pi), luck.choice((-1, 1))
    across = (torch.arange(side, device=device) - (side - 1) / 2) * pixel
    y, x = torch.meshgrid(across, across * mirror, indexing="ij")
    rows = (math.cos(angle) * y - math.sin(angle) * x) / spacing[0] + centre[0]
    columns = (math.sin(angle) * y + math.cos(angle) * x) / spacing[1] + centre[1]
    inside = (rows > -0.5) & (rows < shape[0] - 0.5) & (columns > -0.5) & (columns < shape[1] - 0.5)
    grid = torch.stack([(2 * columns + 1) / shape[1] - 1, (2 * rows + 1) / shape[0] - 1], -1)
    return grid[None], inside.float()


def repainted(chance: Chance, labels: Tensor) -> Tensor:
    """(B, D, N, N) random levels for (B, D, N, N) float32 labels: real shapes in another contrast."""
    count = 256
    levels = chance.normal(count) * 1.2
    flat = labels.long().flatten(1) % count
    return levels.gather(1, flat).reshape(labels.shape)
