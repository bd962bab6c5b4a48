"""Two bodies laid over each other by what they look like to Q-Net's encoder.

First by a shift and a scale of each axis, from places that are each other's most similar ones; then place by
place: the similarity under many small displacements is a cost volume, of which convex optimisation finds a
smooth choice (Siebert, Hansen, Heinrich 2021, https://arxiv.org/abs/2112.03053), on pairs of cells and
again on single ones. Nothing is learned for it, and no structure is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .descriptors import Descriptors

# Set by hand on pairs of CHAOST2 patients of the development data, which R3 scores, too.
LEAST_GAP = 5.0  # mm between two planes; slices that lie closer are left out
AXES = 32  # principal axes of the features that tell places apart
CLOSE = 0.83  # weight of the intensities around a place beside its features
AIR = -0.11  # weighted z-score up to which a group of cells is outside of the body
COARSE, FINE = (2, 3, 3), (1, 2, 2)  # largest displacements in (planes, rows, columns) of cells
STIFFNESS = (0.002, 0.006, 0.02, 0.06, 0.2)  # similarity that a squared cell off the smooth choice costs
SMOOTH = 3  # cells that similarities and displacements are averaged over, twice
SHRINK = 5.0  # weight of a scale of 1, as a share of all matches
SPREAD = (45.0, 110.0, 110.0)  # mm off the fit at which a match loses most of its weight
ROUNDS = 30  # of the fit
MATCH = 0.05  # similarity over which a match gains a factor e of weight


@dataclass(frozen=True)
class Body:
    """What a volume looks like on its planes.

    Attributes:
        places: (P, D, h, w) float32, unit vectors.
        inside: (P, h / 4, w / 4) bool, where the body is.
        step: slices from one plane to the next; the first slice is a plane.
        spacing: mm from plane to plane, row to row and column to column.
    """

    places: Tensor
    inside: Tensor
    step: int
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, described: Descriptors, gap: float, cell: float) -> Body:
        """described: of all slices, along axes that both bodies share; gap: mm from slice to slice; cell: mm
        from place to place in a slice."""
        step = max(1, round(LEAST_GAP / gap))
        features, around = described.features[::step, -AXES:], described.intensities[::step]
        inside = F.avg_pool2d(around[:, around.shape[1] // 2, None], 4)[:, 0] > AIR
        places = _unit(torch.cat([_unit(features), CLOSE * around], dim=1))
        return cls(places, inside, step, (gap * step, cell, cell))

    def pooled(self, cells: int) -> Tensor:
        """(P, D, h / cells, w / cells) float32, unit vectors."""
        return _unit(F.avg_pool2d(self.places, cells))


@dataclass(frozen=True)
class Alignment:
    """Where the places of a query lie in a support.

    Attributes:
        positions: (P, h, w, 3) float32, planes, rows and columns of the support for each place of the query.
        covered: support's planes at the query's first and last plane, before the bodies are bent.
    """

    positions: Tensor
    covered: tuple[float, float]


def align(query: Body, support: Body, check: Callable[[], None] = lambda: None) -> Alignment:
    """Where the places of the query lie in the support.

    Args:
        query: the P planes that are looked for.
        support: of the same number of cells in a plane.
        check: called between steps; raises to stop.
    """
    scale, shift = _affine(query, support)
    first = float(shift[0])
    covered = first, first + float(scale[0]) * (len(query.places) - 1)
    check()
    positions = _grid(query.pooled(2)) * scale + shift
    positions = _bend(query.pooled(2), support.pooled(2), positions, COARSE)
    check()
    finer = F.interpolate(positions.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=False)
    finer = finer.permute(0, 2, 3, 1).clone()
    finer[..., 1:] = 2 * finer[..., 1:] + 0.5  # a pair's middle lies between its cells
    return Alignment(_bend(query.places, support.places, finer, FINE), covered)


def moved(volume: Tensor, positions: Tensor, size: int) -> Tensor:
    """A volume of the support as it lies in the query.

    Args:
        volume: (P', N, N) float32 on the support's planes, N pixels over its h cells.
        positions: (P, h, w, 3), of `align`.
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
        found[plane] = _sampled(volume[None], at)[0]
    return found


def _affine(query: Body, support: Body) -> tuple[Tensor, Tensor]:
    """(3,) scale and (3,) shift from pairs of the query's cells to pairs of the support's."""
    here, there = (
        body.pooled(4).movedim(1, -1)[body.inside] if body.inside.any() else body.pooled(4).movedim(1, -1)[:0]
        for body in (query, support)
    )
    # Fours of cells in mm: bodies are about as large as each other, whatever their slices are.
    own, other = (torch.tensor(body.spacing) * torch.tensor([1.0, 4.0, 4.0]) for body in (query, support))
    scale, shift = torch.ones(3), torch.zeros(3)
    if len(here) and len(there):
        alike = here @ there.T
        best, partner = alike.max(dim=1)
        mutual = alike.argmax(dim=0)[partner] == torch.arange(len(here))
        first, second = torch.nonzero(query.inside)[mutual].float(), torch.nonzero(support.inside).float()
        scale, shift = _fitted(first * own, second[partner[mutual]] * other, (best[mutual] / MATCH).exp())
    scale, shift = scale * own / other, shift / other
    # Fours of cells to pairs of them, whose middles lie elsewhere.
    shift[1:] = 2 * shift[1:] + 0.5 - 0.5 * scale[1:]
    return scale, shift


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


def _bend(query: Tensor, support: Tensor, positions: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """Positions (P, h, w, 3) moved by the smooth field of displacements that is most similar."""
    moves = torch.tensor(list(product(*(range(-n, n + 1) for n in reach))), dtype=torch.float32)
    costs = _costs(query, support, positions, reach, moves)
    factors = torch.cat([moves, moves.square().sum(dim=1, keepdim=True)], dim=1)
    room = torch.empty(len(moves), costs.shape[2])
    field = torch.zeros(3, *positions.shape[:3])
    for stiffness in (0.0, *STIFFNESS):
        smooth = _smoothed(field).flatten(2)
        # What a move d costs more than no move where the smooth choice is s: |d - s|^2 - |s|^2.
        pull = stiffness * torch.cat([-2 * smooth, torch.ones(1, *smooth.shape[1:])])
        for plane in range(len(positions)):
            torch.addmm(costs[:, plane], factors, pull[:, plane], out=room)
            field[:, plane] = moves[room.argmin(dim=0)].T.reshape(field[:, plane].shape)
    bent = _grid(query) + _smoothed(field).movedim(0, -1)
    return _sampled(positions.movedim(-1, 0).contiguous(), bent).movedim(0, -1)


def _costs(
    query: Tensor, support: Tensor, positions: Tensor, reach: tuple[int, int, int], moves: Tensor
) -> Tensor:
    """(M, P, h w) float32: how unlike the places are under each of (M, 3) displacements."""
    shape, here = positions.shape[:3], query.movedim(1, 0).contiguous()
    ahead = F.normalize(_sampled(support.movedim(1, 0).contiguous(), _beyond(positions, reach)), dim=0)
    costs, both, alike = torch.empty(len(moves), *shape), torch.empty_like(here), torch.empty(shape)
    for number, move in enumerate(moves.int().tolist()):
        window = ahead
        for axis, (by, most) in enumerate(zip(move, reach, strict=True)):
            window = window.narrow(axis + 1, by + most, shape[axis])
        torch.mul(window, here, out=both)  # in the same memory again: the system gives new one slowly
        torch.sum(both, dim=0, out=alike)
        costs[number] = -_smoothed(alike[None])[0]
    return costs.flatten(2)


def _beyond(positions: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """Positions (P, h, w, 3) with a rim of `reach` cells, which goes on as the last two cells do."""
    shape = positions.shape[:3]
    wide = [torch.arange(-n, size + n) for n, size in zip(reach, shape, strict=True)]
    inner = [axis.clamp(0, size - 1) for axis, size in zip(wide, shape, strict=True)]
    rim = torch.stack(
        torch.meshgrid(*(a - b for a, b in zip(wide, inner, strict=True)), indexing="ij"), dim=-1
    )
    planes, rows, columns = inner
    return positions[planes][:, rows][:, :, columns] + rim


def _grid(places: Tensor) -> Tensor:
    """(P, h, w, 3) the own position of each of (P, D, h, w) places."""
    sizes = (places.shape[0], *places.shape[2:])
    return torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in sizes), indexing="ij"), dim=-1)


def _sampled(volume: Tensor, positions: Tensor) -> Tensor:
    """(C, *) a (C, P, h, w) volume at positions (*, 3); beyond it that of the nearest border."""
    last = torch.tensor(volume.shape[1:], dtype=torch.float32).sub(1).clamp_min(1)
    at = (2 * positions / last - 1).flip(-1).reshape(1, -1, 1, 1, 3)
    found = F.grid_sample(volume[None], at, align_corners=True, padding_mode="border")
    return found.reshape(len(volume), *positions.shape[:-1])


def _smoothed(volumes: Tensor) -> Tensor:
    """(C, P, h, w) averaged over SMOOTH cells along each axis that has as many, twice."""
    cells = [SMOOTH if size >= SMOOTH else 1 for size in volumes.shape[1:]]
    for _ in range(2):
        volumes = F.avg_pool3d(
            volumes[None], cells, 1, [count // 2 for count in cells], count_include_pad=False
        )[0]
    return volumes


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1)
