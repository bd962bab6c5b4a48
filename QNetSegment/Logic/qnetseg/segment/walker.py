"""A random walker through windows of a volume.

Grady 2006 (Random Walks for Image Segmentation) lets walkers start at every voxel and asks which seed they
reach first; Grady 2005 (Multilabel Random Walker Segmentation Using Prior Models) adds a prior of every voxel
for either label. Both are one sparse, positive definite linear system, solved here by conjugate gradients for
B windows at once, without building its matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST = 1e-4  # least conductance: an edge never cuts a region off, or its part of the system were singular
TOLERANCE = 3e-3  # of the residual; the network needs no more
MOST_STEPS = 100
LOOK_EVERY = 10  # steps between two looks at the residual, for each of which a GPU has to wait


class Edges(NamedTuple):
    """Conductances between neighbours of B lattices of (D, H, W), all above 0.

    Attributes:
        planes: (B, D - 1, H, W) float32.
        rows: (B, D, H - 1, W) float32.
        columns: (B, D, H, W - 1) float32.
    """

    planes: Tensor
    rows: Tensor
    columns: Tensor


def conductances(image: Tensor, contrast: Tensor, across: float, between: Tensor) -> Edges:
    """High inside uniform regions, low over an edge of the image (Grady 2006, Eq. 1).

    Args:
        image: (B, D, H, W) float32.
        contrast: (B,) variance of the difference of two neighbours that counts as noise, above 0.
        across: how much a difference between two planes counts beside one in the plane.
        between: (B,) conductance of two equal neighbours on adjacent planes, where in the plane it is 1.
    """
    noise = contrast[:, None, None, None]
    planes, rows, columns = (image.diff(dim=axis).square() / noise for axis in (1, 2, 3))
    apart = between[:, None, None, None]
    return Edges(apart * (-across * planes).exp() + LEAST, (-rows).exp() + LEAST, (-columns).exp() + LEAST)


def walk(edges: Edges, outside: Tensor, seeds: Tensor, values: Tensor) -> Tensor:
    """Probability of the structure: minimises the sum of conductance x difference squared over all edges and
    of outside x p squared over all voxels (Grady 2005, Eq. 9).

    Args:
        edges: of the lattices.
        outside: (B, D, H, W) float32 at least 0, the prior for background.
        seeds: (B, D, H, W) bool, voxels that are known.
        values: (B, D, H, W) float32 in [0, 1]; p where it is known.

    Returns:
        (B, D, H, W) float32 in [0, 1].
    """
    free = (~seeds).float()
    known = values * seeds
    degree = _neighbours(edges, torch.ones_like(values)) + outside
    rest = _neighbours(edges, known) * free
    goal = TOLERANCE**2 * _total(rest * rest / degree)
    found = torch.zeros_like(values)
    step = rest / degree  # Jacobi's preconditioner
    size = _total(rest * step)
    for number in range(MOST_STEPS):
        if number % LOOK_EVERY == 0 and bool((size <= goal).all()):
            break
        image = (degree * step - _neighbours(edges, step)) * free
        length = size / _total(step * image).clamp(min=1e-30)
        found += length * step
        rest = rest - length * image
        scaled = rest / degree
        previous, size = size, _total(rest * scaled)
        step = scaled + size / previous.clamp(min=1e-30) * step
    return (found + known).clamp(0, 1)


def _total(values: Tensor) -> Tensor:
    """Sum over each lattice, (B, 1, 1, 1)."""
    return values.sum((1, 2, 3), keepdim=True)


def _neighbours(edges: Edges, values: Tensor) -> Tensor:
    """Sum over every voxel's neighbours of conductance x value."""
    total = torch.zeros_like(values)
    for axis, conductance in enumerate(edges, start=1):
        count = conductance.shape[axis]
        low, high = values.narrow(axis, 0, count), values.narrow(axis, 1, count)
        total.narrow(axis, 1, count).addcmul_(conductance, low)
        total.narrow(axis, 0, count).addcmul_(conductance, high)
    return total
