"""One drawn slice or several, the same volume: the structure on every slice.

Three steps: a random walker that sees the image only; propagation of the drawing by what the encoder sees,
held back where that walker doubts; a second walker that hears the propagation and draws the outline. Both
walkers are pulled to the background far from where the structure is largest.
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
LENGTH = 0.00025  # pull to background one radius away from the largest slice; it grows with the 4th power
FARTHEST = 3.0  # radii, after which it grows no more: long structures exist
GROWN = 1.15  # times the drawn area, from which another slice is believed to be nearer to the middle
BEND = 0.05  # radii by which a section may widen more than the one before; beyond it, it is a neighbour's
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
        progress: called as progress(done, total, "outline") once the drawing is carried, and at the end.

    Returns:
        (S, N, N) float32 in [0, 1].
    """

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, 2, "outline")

    walkers = _Walkers(images, masks, spacing, LENGTH if "ends" not in without else 0.0, check)
    alone = walkers.alone()
    if "propagation" in without:
        return walkers.images(alone)
    descriptors = descriptors.without(without)
    size = descriptors.size
    evidence = F.adaptive_avg_pool2d(walkers.odds(alone)[:, None], size)[:, 0]
    if "doubt" in without:
        evidence = torch.zeros_like(evidence)
    coarse = {k: F.adaptive_avg_pool2d(torch.from_numpy(mask)[None], size)[0] for k, mask in masks.items()}
    carried = propagate(descriptors, coarse, evidence, "anywhere" not in without, check)
    tell(1)
    whole = F.interpolate(carried[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    if "outline" in without:
        return whole
    outlined = walkers.informed(whole)
    tell(2)
    return walkers.images(outlined)


class _Walkers:
    """What both walkers have in common: the box around the drawings, what is known in it, and its edges.

    Its tensors (S, H, W) are of the box's cells. See `delineate` for the arguments; length is `LENGTH` or 0.
    """

    def __init__(
        self,
        images: Tensor,
        masks: dict[int, np.ndarray],
        spacing: tuple[float, float],
        length: float,
        check: Callable[[], None],
    ) -> None:
        self._between, pixel = spacing
        drawn = np.stack([mask >= 0.5 * mask.max() for mask in masks.values()])
        self._radius = max(*(radius_mm(mask, pixel) for mask in drawn), pixel)
        self._lattice = Lattice.around(drawn, self._radius, pixel)
        self._scale = (self._lattice.cell * pixel / REFERENCE) ** 2
        self._length, self._check, self._drawn = length, check, sorted(masks)
        cells = self._lattice.cells(images)
        self._nothing = torch.zeros_like(cells)
        self._seeds, self._values = torch.zeros(cells.shape, dtype=torch.bool), torch.zeros(cells.shape)
        self._seeds[list(masks)] = True
        self._values[list(masks)] = self._lattice.cells(torch.from_numpy(np.stack(list(masks.values()))))
        self._edges = _edges(cells, self._drawn, self._scale, self._between)

    def alone(self) -> Tensor:
        """Probability from the image only, (S, H, W) float32."""
        endless = self._walk(self._nothing, self._nothing)
        return self._walk(self._nothing, self._end(endless)) if self._length else endless

    def informed(self, whole: Tensor) -> Tensor:
        """Probability (S, H, W) float32 from the image and from (S, N, N) of another source."""
        likely, trust = self._lattice.cells(whole), self._scale * TRUST
        return self._walk(trust * likely, trust * (1 - likely) + self._end(likely))

    def odds(self, probability: Tensor) -> Tensor:
        """(S, N, N) limited log-odds of a walker's probability, the least outside the box."""
        odds = torch.logit(probability.clamp(1e-6, 1 - 1e-6)).clamp(-LARGEST_ODDS, LARGEST_ODDS)
        return self.images(odds + LARGEST_ODDS) - LARGEST_ODDS

    def images(self, cells: Tensor) -> Tensor:
        """(S, N, N) float32, 0 outside the box."""
        return self._lattice.images(cells)

    def _walk(self, inside: Tensor, outside: Tensor) -> Tensor:
        return walk(self._edges, inside, outside, self._seeds, self._values, self._check)

    def _end(self, found: Tensor) -> Tensor:
        """The pull to background, counted from the middle of what is found so far in radii of that."""
        areas = (found > 0.5).sum(dim=(1, 2)).tolist()
        middle = _middle(areas, self._drawn)
        drawn = max(1, *(areas[k] for k in self._drawn))  # none where the propagation lost the drawing
        grown = max(drawn, *(areas[k] for k in middle)) / drawn
        far = _distance(len(found), middle) * self._between / (self._radius * grown**0.5)
        pull = self._scale * self._length * far.clamp(max=FARTHEST) ** 4
        return pull[:, None, None] + self._nothing


def _middle(areas: list[int], drawn: list[int]) -> list[int]:
    """Slices in the structure's middle: the drawn ones, and one of clearly larger area that they grow to.

    What is drawn near one end of a structure reaches far to the other side. The radii of a convex body's
    sections are concave along its axis (Brunn's theorem): towards the middle they grow less and less. Where
    they grow more again, a neighbour of the structure was run into.
    """
    radius = [area**0.5 for area in areas]
    top = max(drawn, key=lambda index: radius[index])
    least, bend = GROWN * areas[top], BEND * radius[top]
    for start, step in ((drawn[0], -1), (drawn[-1], 1)):
        grown = radius[start] - radius[start - step] if 0 <= start - step < len(areas) else 0.0
        for index in range(start + step, len(areas) if step > 0 else -1, step):
            grown, before = radius[index] - radius[index - step], grown
            if grown > before + bend:
                break
            top = max(top, index, key=lambda index: radius[index])
    return sorted({*drawn, top}) if areas[top] > least else drawn


def _edges(cells: Tensor, drawn: list[int], scale: float, between: float) -> Edges:
    """Conductances; what counts as an edge is told by the differences on the drawn slices themselves."""
    seen = cells[drawn]
    noise = float(seen.diff(dim=1).square().mean() + seen.diff(dim=2).square().mean()) / 2
    tied = scale * ISOTROPY / between**2
    return conductances(cells, max(noise, 1e-12) / CONTRAST, ACROSS, tied)


def _distance(count: int, middle: list[int]) -> Tensor:
    """(S,) slices beyond the outermost of the middle ones; 0 between them."""
    slices = torch.arange(count)
    return ((middle[0] - slices).clamp(min=0) + (slices - middle[-1]).clamp(min=0)).float()
