"""One drawn slice or several, the same volume: the structure on every slice.

Three steps: a random walker that sees the image only; propagation of the drawing by what the encoder sees,
held back where that walker doubts; a second walker that hears the propagation and draws the outline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .descriptors import Descriptors
from .inference import ProgressCallback
from .lattice import Lattice, radius_mm
from .propagation import propagate
from .walker import Edges, conductances, walk

# Chosen on a few patients of CHAOST2 and CMR. Each holds for cells of REFERENCE mm and is scaled to others,
# so that the same structure is found on a finer lattice.
REFERENCE = 3.33
CONTRAST = 16.0  # mean squared differences of the surroundings over which an edge loses a factor e
ACROSS = 0.5  # share of a difference between slices that counts
ISOTROPY = 11.0**2  # mm squared: slices this far apart are tied like neighbouring cells
LENGTH = 0.00025  # pull to background one radius away from the drawing; it grows with the 4th power
FARTHEST = 3.0  # radii, after which it grows no more: long structures exist
TRUST = 1.0  # pull of the propagation
LARGEST_ODDS = 3.0  # of a walker's probability


def delineate(
    images: Tensor,
    masks: dict[int, np.ndarray],
    descriptors: Descriptors,
    spacing: tuple[float, float],
    check: Callable[[], None] = lambda: None,
    without: Collection[str] = (),
    progress: ProgressCallback | None = None,
) -> Tensor:
    """Probability of the structure.

    Args:
        images: (S, N, N) float32, z-scored.
        masks: slice -> (N, N) float32 in [0, 1], what is drawn there, not empty.
        descriptors: of the images.
        spacing: mm between slices, and of a pixel.
        check: called between steps; raises to stop.
        without: steps to leave out (`options.STEPS`).
        progress: called as progress(done, total, "outline") after every step.

    Returns:
        (S, N, N) float32 in [0, 1].
    """

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, 3, "outline")

    between, pixel = spacing
    drawn = np.stack([mask >= 0.5 * mask.max() for mask in masks.values()])
    radius = max(radius_mm(mask, pixel) for mask in drawn)
    lattice = Lattice.around(drawn, radius, pixel)
    scale = (lattice.cell * pixel / REFERENCE) ** 2
    cells = lattice.cells(images)
    known = torch.from_numpy(np.stack(list(masks.values())))
    seeds, values = torch.zeros(cells.shape, dtype=torch.bool), torch.zeros(cells.shape)
    indices = torch.tensor(list(masks))
    seeds[indices], values[indices] = True, lattice.cells(known)
    far = _distance(len(images), sorted(masks)) * between / max(radius, pixel)
    length = 0.0 if "ends" in without else scale * LENGTH
    end = length * far.clamp(max=FARTHEST)[:, None, None] ** 4 + torch.zeros_like(cells)
    edges = _edges(cells, sorted(masks), scale, between)

    alone = walk(edges, torch.zeros_like(cells), end, seeds, values, check)
    tell(1)
    if "propagation" in without:
        return lattice.images(alone)
    descriptors = descriptors.without(without)
    size = (descriptors.features.shape[-2], descriptors.features.shape[-1])
    odds = torch.logit(alone.clamp(1e-6, 1 - 1e-6)).clamp(-LARGEST_ODDS, LARGEST_ODDS)
    evidence = F.adaptive_avg_pool2d(lattice.images(odds + LARGEST_ODDS)[:, None], size)[:, 0] - LARGEST_ODDS
    if "doubt" in without:
        evidence = torch.zeros_like(evidence)
    coarse = F.adaptive_avg_pool2d(known[:, None], size)[:, 0]
    carried = propagate(
        descriptors, dict(zip(masks, coarse, strict=True)), evidence, "anywhere" not in without, check
    )
    tell(2)
    whole = F.interpolate(carried[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    if "outline" in without:
        return whole
    likely = lattice.cells(whole)
    trust = scale * TRUST
    outlined = walk(edges, trust * likely, trust * (1 - likely) + end, seeds, values, check)
    tell(3)
    return lattice.images(outlined)


def _edges(cells: Tensor, drawn: list[int], scale: float, between: float) -> Edges:
    """Conductances; what counts as an edge is told by the differences on the drawn slices themselves."""
    seen = cells[drawn]
    noise = float(seen.diff(dim=1).square().mean() + seen.diff(dim=2).square().mean()) / 2
    tied = scale * ISOTROPY / between**2
    return conductances(cells, max(noise, 1e-12) / CONTRAST, ACROSS, tied)


def _distance(count: int, drawn: list[int]) -> Tensor:
    """(S,) slices to the nearest drawn one beyond the outermost; 0 between them."""
    slices = torch.arange(count)
    return ((drawn[0] - slices).clamp(min=0) + (slices - drawn[-1]).clamp(min=0)).float()
