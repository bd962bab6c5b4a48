"""A random walker through a stack of slices, informed by what is known of each voxel.

Grady 2006 (Random Walks for Image Segmentation) lets walkers start at every voxel and asks which seed they
reach first; Grady 2005 (Multilabel Random Walker Segmentation Using Prior Models) adds a pull of every voxel
towards either label. Both are one sparse, positive definite linear system, solved here without building its
matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-4  # least conductance: an edge never cuts a region off, or its part of the system were singular
TOLERANCE = 1e-3  # of the residual; only which side of one half a voxel is on matters
MOST_STEPS = 500


class Edges(NamedTuple):
    """Conductances between neighbours of an (S, H, W) lattice, all above 0.

    Attributes:
        slices: (S - 1, H, W) float32.
        rows: (S, H - 1, W) float32.
        columns: (S, H, W - 1) float32.
    """

    slices: Tensor
    rows: Tensor
    columns: Tensor


def conductances(image: Tensor, contrast: float, across: float, between: float) -> Edges:
    """High inside uniform regions, low over an edge of the image (Grady 2006, Eq. 1).

    Args:
        image: (S, H, W) float32.
        contrast: variance of the difference of two neighbours that counts as noise, above 0.
        across: how much a difference between two slices counts beside one in the plane: they lie further
            apart.
        between: conductance of two equal neighbours on adjacent slices, where in the plane it is 1.
    """
    slices, rows, columns = (image.diff(dim=axis).square() / contrast for axis in range(3))
    return Edges(between * (-across * slices).exp() + FLOOR, (-rows).exp() + FLOOR, (-columns).exp() + FLOOR)


def walk(
    edges: Edges,
    inside: Tensor,
    outside: Tensor,
    seeds: Tensor,
    values: Tensor,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Probability of the structure: minimises the sum of conductance x difference squared over all edges, of
    inside x (1 - p) squared and of outside x p squared over all voxels (Grady 2005, Eq. 9).

    Args:
        edges: of the lattice.
        inside, outside: (S, H, W) float32 at least 0, the pull towards 1 and towards 0.
        seeds: (S, H, W) bool, voxels that are known.
        values: (S, H, W) float32 in [0, 1]; p where it is known.
        check: called between steps; raises to stop.

    Returns:
        (S, H, W) float32 in [0, 1].
    """
    free = (~seeds).float()
    known = values * seeds
    degree = _neighbours(edges, torch.ones_like(values)) + inside + outside
    right = (inside + _neighbours(edges, known)) * free
    found = values * free  # the caller's guess
    rest = right - (degree * found - _neighbours(edges, found)) * free
    step = rest / degree  # Jacobi's preconditioner
    size = (rest * step).sum()
    goal = TOLERANCE**2 * float((right.square() / degree).sum())
    for _ in range(MOST_STEPS):
        if float(size) <= goal:
            break
        check()
        image = (degree * step - _neighbours(edges, step)) * free
        length = size / (step * image).sum()
        found += length * step
        rest -= length * image
        scaled = rest / degree
        previous, size = size, (rest * scaled).sum()
        step = scaled + size / previous * step
    return (found + known).clamp(0, 1)


def _neighbours(edges: Edges, values: Tensor) -> Tensor:
    """Sum over every voxel's neighbours of conductance x value."""
    total = torch.zeros_like(values)
    for axis, conductance in enumerate(edges):
        count = conductance.shape[axis]
        low, high = values.narrow(axis, 0, count), values.narrow(axis, 1, count)
        total.narrow(axis, 1, count).addcmul_(conductance, low)
        total.narrow(axis, 0, count).addcmul_(conductance, high)
    return total
