"""An alignment of two bodies bent place by place.

The similarity under many small displacements is a cost volume, of which convex optimisation finds a smooth
choice (Siebert, Hansen, Heinrich 2021, https://arxiv.org/abs/2112.03053), on pairs of cells and again on
single ones.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

# Set by hand on pairs of CHAOST2 patients of the development data, which R3 scores, too.
COARSE, FINE = (2, 3, 3), (1, 2, 2)  # largest displacements in (planes, rows, columns) of cells
STIFFNESS = (0.002, 0.006, 0.02, 0.06, 0.2)  # similarity that a squared cell off the smooth choice costs
SMOOTH = 3  # cells that similarities and displacements are averaged over, twice


def bent_roughly(query: Tensor, support: Tensor, start: Tensor) -> Tensor:
    """Positions in the support that make both bodies most similar, but smooth.

    Args:
        query: (P, D, h / 2, w / 2) float32 unit vectors of pairs of cells.
        support: the same of the other body, of any number of planes and pairs.
        start: (P, h / 2, w / 2, 3) float32 planes, rows and columns of the support's pairs of cells.

    Returns:
        (P, h, w, 3) float32 planes, rows and columns of the support's single cells.
    """
    positions = _bend(query, support, start, COARSE)
    finer = F.interpolate(positions.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=False)
    finer = finer.permute(0, 2, 3, 1).clone()
    finer[..., 1:] = 2 * finer[..., 1:] + 0.5  # a pair's middle lies between its cells
    return finer


def bent_finely(query: Tensor, support: Tensor, positions: Tensor) -> Tensor:
    """The same once more of single cells.

    query, support: (P, D, h, w) float32 unit vectors; positions: (P, h, w, 3) of the support's single cells,
    as those that are returned.
    """
    return _bend(query, support, positions, FINE)


def _bend(query: Tensor, support: Tensor, positions: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """Positions (P, h, w, 3) moved by the smooth field of displacements that is most similar."""
    moves = torch.tensor(list(product(*(range(-n, n + 1) for n in reach))), dtype=torch.float32)
    costs = _costs(query, support, positions, reach)
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
    bent = places_of(query) + _smoothed(field).movedim(0, -1)
    return sampled(positions.movedim(-1, 0).contiguous(), bent).movedim(0, -1)


def _costs(query: Tensor, support: Tensor, positions: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """(M, P, h w) float32: how unlike the places are under each displacement within reach."""
    planes, rows, columns = shape = positions.shape[:3]
    down, across = (2 * n + 1 for n in reach[1:])
    ahead = F.normalize(sampled(support.movedim(1, 0).contiguous(), _beyond(positions, reach)), dim=0)
    ahead = ahead.movedim(0, -1).contiguous()
    here = query.permute(0, 2, 3, 1).reshape(planes * rows, columns, -1)
    alike = torch.empty(2 * reach[0] + 1, down, across, *shape)
    for by_planes, by_rows in product(range(len(alike)), range(down)):
        # All places of a row with all of another one, of which a band is wanted: a product of matrices is
        # many times as fast as one of vectors for each displacement.
        there = ahead[by_planes : by_planes + planes, by_rows : by_rows + rows].flatten(0, 1)
        products = torch.bmm(here, there.mT)
        length = products.shape[-1]
        band = products.as_strided((planes * rows, columns, across), (columns * length, length + 1, 1))
        alike[by_planes, by_rows] = band.permute(2, 0, 1).unflatten(1, (planes, rows))
    return _smoothed(alike.flatten(0, 2)).neg_().flatten(2)


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


def places_of(places: Tensor) -> Tensor:
    """(P, h, w, 3) the own position of each of (P, D, h, w) places."""
    sizes = (places.shape[0], *places.shape[2:])
    return torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in sizes), indexing="ij"), dim=-1)


def sampled(volume: Tensor, positions: Tensor) -> Tensor:
    """(C, *) a (C, P, h, w) volume at positions (*, 3); beyond it that of the nearest border."""
    last = torch.tensor(volume.shape[1:], dtype=torch.float32).sub(1).clamp_min(1)
    at = (2 * positions / last - 1).flip(-1).reshape(1, -1, 1, 1, 3)
    found = F.grid_sample(volume[None], at, align_corners=True, padding_mode="border")
    return found.reshape(len(volume), *positions.shape[:-1])


def _smoothed(volumes: Tensor) -> Tensor:
    """(C, P, h, w) averaged over SMOOTH cells along each axis that has as many, twice."""
    planes, rows, columns = (_smoothing(count) for count in volumes.shape[1:])
    along = (volumes.flatten(0, 2) @ columns.T).view_as(volumes)
    return (planes @ (rows @ along).flatten(2)).view_as(volumes)


@cache
def _smoothing(count: int) -> Tensor:
    """(count, count) float32: averages over SMOOTH of so many cells, fewer at the ends, twice."""
    if count < SMOOTH:
        return torch.eye(count)
    at = torch.arange(count)
    near = ((at[:, None] - at).abs() <= SMOOTH // 2).float()
    once = near / near.sum(dim=1, keepdim=True)
    return once @ once
