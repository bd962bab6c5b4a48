"""Two bodies laid over each other by what they look like to Q-Net's encoder.

First by a shift and a scale of each axis, from places that are each other's most similar ones: of the whole
bodies, and of the surroundings of the structure that is looked for. Both are bent (`bending`), and where the
structure's surroundings are more similar, there it is. Bodies that lie turned are turned before (`anatomy`).
Nothing is learned for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .bending import bent_finely, bent_roughly, places_of, sampled
from .descriptors import Descriptors

# Set by hand on pairs of CHAOST2 patients of the development data, which R3 scores, too.
AXES = 32  # principal axes of the features that tell places apart
CLOSE = 0.83  # weight of the intensities around a place beside its features
AIR = -0.11  # weighted z-score up to which a group of cells is outside of the body
SHRINK = 5.0  # weight of a scale of 1, as a share of all matches
SPREAD = (45.0, 110.0, 110.0)  # mm off the fit at which a match loses most of its weight
ROUNDS = 30  # of the fit
MATCH = 0.05  # similarity over which a match gains a factor e of weight
NEAR = (20.0, 30.0, 30.0)  # mm from a structure over which matches lose weight, in the fit around it
NEAR_SPREAD = (30.0, 60.0, 60.0)  # SPREAD of that fit
FARTHEST = 50.0  # mm that the fit around a structure may lie off that of the bodies
MARGIN = 40.0  # mm around a structure that are bent
AROUND = 5  # cells by which the surroundings that are compared are wider than the structure, both sides

_HALF = torch.tensor([0.0, 0.5, 0.5])


@dataclass(frozen=True)
class Body:
    """What a volume looks like on its planes.

    Attributes:
        places: (P, D, h, w) float32, unit vectors.
        inside: (P, h / 4, w / 4) bool, where the body is.
        spacing: mm from plane to plane, row to row and column to column.
    """

    places: Tensor
    inside: Tensor
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, described: Descriptors, gap: float, cell: float) -> Body:
        """described: of the planes, along axes that both bodies share; gap: mm from plane to plane; cell: mm
        from place to place in a plane."""
        features, around = described.features[:, -AXES:], described.intensities
        inside = F.avg_pool2d(around[:, around.shape[1] // 2, None], 4)[:, 0] > AIR
        places = _unit(torch.cat([_unit(features), CLOSE * around], dim=1))
        return cls(places, inside, (gap, cell, cell))

    def pooled(self, cells: int) -> Tensor:
        """(P, D, h / cells, w / cells) float32, unit vectors."""
        return _unit(F.avg_pool2d(self.places, cells))

    def mm(self, index: Tensor, cells: float) -> Tensor:
        """Where groups of so many cells along both edges lie: (*, 3) mm from the first plane, and from the
        edges of the planes."""
        return (index + _HALF) * self._units(cells)

    def index(self, mm: Tensor, cells: float) -> Tensor:
        """The inverse of `mm`."""
        return mm / self._units(cells) - _HALF

    def volume(self, structure: Tensor) -> float:
        """mm^3 of a structure (P, N, N) float32 on its planes, 0 to 1."""
        cells = self.places.shape[-1] / structure.shape[-1]
        return float(structure.sum() * self._units(cells).prod())

    def _units(self, cells: float) -> Tensor:
        return torch.tensor(self.spacing) * torch.tensor([1.0, cells, cells])


@dataclass(frozen=True)
class Overlay:
    """A body that is searched, and another one laid over it.

    Attributes:
        query: is searched.
        support: of the same number of cells in a plane.
        here, there: (n, 3) mm in query and support, of places that are each other's most similar ones.
        weight: (n,) of these matches.
        scale, shift: (3,) from mm of the query to those of the support.
    """

    query: Body
    support: Body
    here: Tensor
    there: Tensor
    weight: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, query: Body, support: Body) -> Overlay:
        """Lay the support over the query."""
        own, other = (body.pooled(4).movedim(1, -1)[body.inside] for body in (query, support))
        if not (len(own) and len(other)):
            nothing = torch.zeros(0, 3)
            return cls(query, support, nothing, nothing, torch.zeros(0), torch.ones(3), torch.zeros(3))
        alike = own @ other.T
        best, partner = alike.max(dim=1)
        mutual = alike.argmax(dim=0)[partner] == torch.arange(len(own))
        here = query.mm(torch.nonzero(query.inside)[mutual].float(), 4)
        there = support.mm(torch.nonzero(support.inside).float()[partner[mutual]], 4)
        weight = (best[mutual] / MATCH).exp()
        return cls(query, support, here, there, weight, *_fitted(here, there, weight))

    @property
    def similarity(self) -> float:
        """Of both bodies: a soft maximum over their matches, which grows with their number, too."""
        return MATCH * float(self.weight.sum().log())

    @property
    def covered(self) -> tuple[float, float]:
        """The support's planes at the query's first and last one."""
        ends = self.query.spacing[0] * torch.tensor([0.0, len(self.query.places) - 1.0])
        first, last = ((ends * self.scale[0] + self.shift[0]) / self.support.spacing[0]).tolist()
        return first, last

    def near(self, lower: Tensor, upper: Tensor) -> Tensor:
        """(3,) the shift that fits a box of the support and its surroundings best; the scale stays.

        lower, upper: (3,) mm of its corners.
        """
        shift = self.shift.clone()
        off = torch.maximum(lower - self.there, self.there - upper).clamp_min(0) / torch.tensor(NEAR)
        weight = self.weight * torch.exp(-0.5 * off.square().sum(dim=1))
        moves = self.there - self.here * self.scale
        for _ in range(ROUNDS if len(weight) else 0):
            off = (moves - shift) / torch.tensor(NEAR_SPREAD)
            close = (weight / (1 + off.square().sum(dim=1)).square())[:, None]
            shift = (close * moves).sum(dim=0) / close.sum().clamp_min(1e-12)
        return shift


Part = tuple[slice, slice, slice]
"""Planes, rows and columns."""


@dataclass(frozen=True)
class Placed:
    """A structure of the support in the query.

    Attributes:
        overlay: of both bodies.
        structure: (P', N, N) float32 on the support's planes, 0 to 1.
        positions: (P, h, w, 3) float32, planes, rows and columns of the support for the query's places.
        window: pairs of cells of the query that were bent.
        similarity: of both bodies where it is; less where less than half of it lies in the query.
    """

    overlay: Overlay
    structure: Tensor
    positions: Tensor
    window: Part
    similarity: float

    def finer(self) -> Placed:
        """Bent once more, cell by cell."""
        query, part = self.overlay.query, _cells(self.window)
        planes, rows, columns = part
        positions = self.positions.clone()
        own = query.places[planes, :, rows, columns]
        positions[part] = bent_finely(own, self.overlay.support.places, self.positions[part])
        return replace(self, positions=positions)

    def found(self, size: int) -> Tensor:
        """(P, size, size) float32, how much of a pixel it covers."""
        return moved(self.structure, self.positions, size)


def place(overlay: Overlay, structure: Tensor, check: Callable[[], None] = lambda: None) -> Placed:
    """Find where a structure of the support lies in the query, roughly: pairs of cells are bent.

    Args:
        overlay: of both bodies.
        structure: (P', N, N) float32 on the support's planes, 0 to 1.
        check: called between steps; raises to stop.
    """
    lower, upper = _box(structure, overlay.support)
    near, tried = overlay.near(lower, upper), []
    believed = [near] if float((near - overlay.shift).norm()) < FARTHEST else []
    for shift in (overlay.shift, *believed):
        check()
        corners = torch.stack([(lower - shift) / overlay.scale, (upper - shift) / overlay.scale])
        tried.append(_placed(overlay, shift, _window(overlay.query, corners), structure))
    return max(tried, key=lambda one: one.similarity)


def moved(volume: Tensor, positions: Tensor, size: int) -> Tensor:
    """A volume of the support as it lies in the query.

    Args:
        volume: (P', N, N) float32 on the support's planes, N pixels over its h cells.
        positions: (P, h, w, 3) float32, planes, rows and columns of the support for each place of the query.
        size: pixels along the edges of the result.

    Returns:
        (P, size, size) float32; of the nearest border beyond it.
    """
    cells, pixels = positions.shape[1], volume.shape[-1]
    found = torch.empty(len(positions), size, size)
    for plane, own in enumerate(positions):
        fine = F.interpolate(own.permute(2, 0, 1)[None], (size, size), mode="bilinear", align_corners=False)[
            0
        ]
        at = fine.permute(1, 2, 0).clone()
        at[..., 1:] = (at[..., 1:] + 0.5) * (pixels / cells) - 0.5
        found[plane] = sampled(volume[None], at)[0]
    return found


def _box(structure: Tensor, support: Body) -> tuple[Tensor, Tensor]:
    """(3,) mm each: corners of the box around what is covered by half; else by most."""
    at = torch.nonzero(structure >= min(0.5, float(structure.max()))).float()
    cells = support.places.shape[-1] / structure.shape[-1]
    mm = support.mm(at, cells)
    return mm.min(dim=0).values, mm.max(dim=0).values


def _window(query: Body, corners: Tensor) -> Part:
    """The pairs of cells within MARGIN of a box of the query (2, 3) in mm; at least one along each axis."""
    lower, upper = corners.min(dim=0).values - MARGIN, corners.max(dim=0).values + MARGIN
    sizes = (len(query.places), *(size // 2 for size in query.places.shape[2:]))
    ends = zip(query.index(lower, 2).tolist(), query.index(upper, 2).tolist(), sizes, strict=True)
    found = []
    for low, high, size in ends:
        first = int(np.clip(np.floor(low), 0, size - 1))
        found.append(slice(first, int(np.clip(np.ceil(high) + 1, first + 1, size))))
    planes, rows, columns = found
    return planes, rows, columns


def _placed(overlay: Overlay, shift: Tensor, window: Part, structure: Tensor) -> Placed:
    """The structure by an overlay of this shift, which is bent in the window."""
    query, support, (planes, rows, columns), part = overlay.query, overlay.support, window, _cells(window)

    def start(places: Tensor, cells: int) -> Tensor:
        return support.index(query.mm(places_of(places), cells) * overlay.scale + shift, cells)

    pairs, positions = query.pooled(2), start(query.places, 1)
    own = bent_roughly(pairs[planes, :, rows, columns], support.pooled(2), start(pairs, 2)[window])
    positions[part] = own
    size = query.places.shape[-1]
    found = moved(F.adaptive_avg_pool2d(structure[:, None], size)[:, 0], positions, size)
    there = 2 * query.volume(found) * float(overlay.scale.prod()) / max(support.volume(structure), 1e-6)
    similarity = min(1.0, there) * _similarity(query, support, own, part, found)
    return Placed(overlay, structure, positions, window, similarity)


def _cells(pairs: Part) -> Part:
    """The single cells in pairs of them."""
    planes, rows, columns = pairs
    return planes, slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)


def _similarity(query: Body, support: Body, positions: Tensor, window: Part, found: Tensor) -> float:
    """Mean similarity of both bodies where the structure was found, (P, h, w), and close around it."""
    planes, rows, columns = window
    here = query.places[planes, :, rows, columns].movedim(1, 0)
    there = F.normalize(sampled(support.places.movedim(1, 0).contiguous(), positions), dim=0)
    near = F.max_pool2d(found[planes, None], AROUND, 1, AROUND // 2)[:, 0][:, rows, columns]
    return float(((here * there).sum(dim=0) * near).sum() / near.sum().clamp_min(1e-3))


def _fitted(first: Tensor, second: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift in mm of each axis from (n, 3) places to (n, 3) others.

    Found in rounds, in which those far off lose their weight.
    """
    scale, shift = torch.ones(3), (second - first).median(dim=0).values
    for _ in range(ROUNDS):
        off = (first * scale + shift - second) / torch.tensor(SPREAD)
        near = (weight / (1 + off.square().sum(dim=1)).square())[:, None]
        middle, other = ((near * places).sum(dim=0) / near.sum() for places in (first, second))
        apart = first - middle
        spread, together = near * apart.square(), near * apart * (second - other)
        pull = SHRINK * spread.sum(dim=0)
        scale = (together.sum(dim=0) + pull) / (spread.sum(dim=0) + pull).clamp_min(1e-6)
        scale = torch.where(spread.sum(dim=0) > 1e-6, scale, torch.ones(3))
        shift = other - scale * middle
    return scale, shift


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1)
