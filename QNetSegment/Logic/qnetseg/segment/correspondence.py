"""Which place of a drawn slice does a place of another patient look like: inside the drawing or outside?

Beside one prototype for a whole structure, every drawn place is one of its own (dense matching, as in
Voigtlaender et al. 2019, FEELVOS), near where it lies once both bodies are laid over each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .descriptors import Descriptors, sides

# Chosen on a few pairs of CMR patients.
SOFTNESS = 0.05  # difference in similarity that is one log-odds
DISTANCE = 0.005  # similarity lost for each squared cell between two places
FARTHEST = 0.4  # similarity lost at most: anatomy varies
INTENSITY = 0.3  # of the intensities' weight within one volume: between two they mean less
CLEAREST = 20.0  # log-odds at most: a drawing that fills its slice has no surroundings to compare with
MOST_DRAWN = 8  # drawn slices that are compared with, those of the largest area: each takes 64 MiB
VOTE = 0.05  # similarity over which votes for a displacement lose their weight
SPARSE = 4  # of the surroundings only every so many places are looked for: their mean is what counts
BLUR = 5  # coarse cells that votes are pooled over


@dataclass(frozen=True)
class Correspondence:
    """What the places of S slices and those of the drawn ones say of each other.

    Attributes:
        odds: (S, h, w) float32, log-odds of the structure: how much more alike the most alike place of the
            drawings is than that of their surroundings.
        found: (S,) float32, mean over the drawn places of the largest cosine of their features to a place of
            the slice: one that does not show the structure cannot answer for all of it.
        surroundings: (S,) float32, the same for what lies around the drawings.
    """

    odds: Tensor
    found: Tensor
    surroundings: Tensor


def correspond(
    query: Descriptors, support: Descriptors, masks: Tensor, check: Callable[[], None] = lambda: None
) -> Correspondence:
    """Compare every place of a volume with every place of the drawn slices.

    Args:
        query: of S slices.
        support: of n drawn slices, along the same axes.
        masks: (n, h, w) float32 in [0, 1], what is drawn there.
        check: called between slices; raises to stop.
    """
    size, count = (masks.shape[-2], masks.shape[-1]), len(query.features)
    moved = displacement(query.features, support.features)
    largest = masks.sum(dim=(1, 2)).topk(min(MOST_DRAWN, len(masks))).indices.tolist()
    drawn = [_Drawn.of(support, number, masks[number], moved) for number in largest]
    odds, back = torch.empty(count, *size), torch.full((2, count), -torch.inf)
    dimensions = len(support.features[0])
    room = torch.empty(max(places.apart.numel() for places in drawn))  # asked of the system once
    for index in range(count):
        check()
        here = query.factors(index, INTENSITY).T.contiguous()
        best = torch.full((2, len(here)), -torch.inf)
        for places in drawn:
            alike = room[: places.apart.numel()].view_as(places.apart)
            torch.addmm(places.apart, here, places.joined, beta=-1, out=alike)
            for side, part in enumerate(places.sides):
                if part.start < part.stop:
                    seen = places.joined[:dimensions, part][:, :: (1, SPARSE)[side]]
                    best[side] = torch.maximum(best[side], alike[:, part].amax(dim=1))
                    back[side, index] = max(
                        back[side, index], (here[:, :dimensions] @ seen).amax(dim=0).mean()
                    )
        odds[index] = ((best[0] - best[1]) / SOFTNESS).clamp(-CLEAREST, CLEAREST).view(size)
    return Correspondence(odds, *back)


def displacement(query: Tensor, support: Tensor) -> tuple[int, int]:
    """Rows and columns by which a body lies elsewhere in its slices than another in the drawn ones.

    Every place votes for the way to the most alike place (as in Hough 1962), the surer the more.

    Args:
        query, support: (S, D, h, w) and (n, D, h, w) float32, unit vectors.

    Returns:
        Cells from a place of the support to its like in the query.
    """
    here, there = (
        torch.stack([F.normalize(F.avg_pool2d(side[index], 2), dim=0) for index in range(len(side))])
        for side in (query, support)
    )
    rows, columns = here.shape[-2:]
    drawn = there.movedim(1, 0).flatten(1)
    places = torch.arange(rows * columns)
    votes = torch.zeros(2 * rows - 1, 2 * columns - 1)
    for image in here:
        best, like = (image.flatten(1).T @ drawn).max(dim=1)
        like = like % len(places)
        down, right = places // columns - like // columns, places % columns - like % columns
        votes.index_put_((down + rows - 1, right + columns - 1), (best / VOTE).exp(), accumulate=True)
    pooled = votes[None]
    for _ in range(2):  # twice, so that the middle of what was voted for counts most
        pooled = F.avg_pool2d(pooled, BLUR, stride=1, padding=BLUR // 2)
    row, column = divmod(int(pooled.argmax()), 2 * columns - 1)
    return 2 * (row - rows + 1), 2 * (column - columns + 1)


@dataclass(frozen=True)
class _Drawn:
    """The places of a drawn slice that are compared with, the first `inside` of them of the structure.

    Attributes:
        joined: (D + 11, places) float32, see `Descriptors.factors`.
        apart: (h w, places) float32, similarity lost by the distance to each place of a query's slice.
    """

    joined: Tensor
    apart: Tensor
    inside: int

    @property
    def sides(self) -> tuple[slice, slice]:
        """Places of the structure, and others."""
        return slice(0, self.inside), slice(self.inside, self.joined.shape[1])

    @classmethod
    def of(cls, support: Descriptors, number: int, mask: Tensor, moved: tuple[int, int]) -> _Drawn:
        outside, inside = (torch.nonzero(side)[:, 0] for side in sides(mask))
        order = torch.cat([inside, outside])
        rows, columns = (
            DISTANCE * (torch.arange(count)[:, None] - there - by).float().square()
            for count, there, by in zip(
                mask.shape, (order // mask.shape[1], order % mask.shape[1]), moved, strict=True
            )
        )
        apart = (rows[:, None] + columns).flatten(0, 1).clamp_(max=FARTHEST)
        joined = support.factors(number, INTENSITY, right=True)[:, order].contiguous()
        return cls(joined, apart, len(inside))
