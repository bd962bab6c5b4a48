"""What the windows of a training are like: the section [windows] of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from qnetseg.errors import RecipeError
from qnetseg.segment.drawn import SHIFT


@dataclass(frozen=True)
class WindowRecipe:
    """Shares are of batches, unless said otherwise.

    Attributes:
        voxels: of a batch, about.
        sides: edges in pixels, multiples of 16. often: how often each is taken, relative to the others.
        depth: planes of a window, a multiple of 8; a shallow one has half as many.
        shallow: share of shallow windows.
        moved: share that goes on in a second window with what the network found in the first.
        second: share that is a second, finer look.
        real: share that is cut out of real volumes, where there are some.
        segmented: share of segmentations among the structures of volumes that have one; the rest are
            supervoxels.
        repainted: share of real windows that get random contrast.
    """

    voxels: int = 900_000
    sides: tuple[int, ...] = (64, 96, 128)
    often: tuple[float, ...] = (0.3, 0.4, 0.3)
    depth: int = 32
    shallow: float = 0.15
    moved: float = 0.15
    second: float = 0.12
    real: float = 0.35
    segmented: float = 0.5
    repainted: float = 0.25

    def __post_init__(self) -> None:
        if not self.sides or any(side < 16 or side % 16 for side in self.sides):
            raise RecipeError(
                f"The recipe's windows have the edges {list(self.sides)}.", "Write multiples of 16 pixels."
            )
        if len(self.often) != len(self.sides) or not sum(self.often) > 0:
            raise RecipeError(
                f"The recipe takes {len(self.sides)} edges of windows {list(self.often)} times.",
                "Write one number for each edge, at least one of them above 0.",
            )
        if self.depth % 8 or self.depth < 8:
            raise RecipeError(
                f"The recipe's windows have a depth of {self.depth} planes.", "Write a multiple of 8."
            )
        if self.moved and self.depth <= SHIFT:
            raise RecipeError(
                f"Windows of {self.depth} planes do not overlap when they move on by {SHIFT}.",
                f"Write a depth above {SHIFT}, or moved = 0.",
            )
        if self.moved + self.second > 1:
            raise RecipeError(
                f"The recipe's shares moved and second are {self.moved + self.second:g} together.",
                "Their sum is 1 at most: no window is both.",
            )
