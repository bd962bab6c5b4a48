"""What is known of a window before the network has looked at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from .evidence import FAR, FOUND, Scene
from .window import Window


@dataclass(frozen=True)
class Known:
    """What is known of a stack of slices (S, H, W).

    Attributes:
        masks: slice -> (H, W) bool; an empty one says that the structure is not there.
        others: (S, H, W) bool, where something else is; None for nothing known.
        hint: (S, H, W) float32 probability of where it roughly lies, more than `evidence.SEEN` in a good part
            of it; None for nothing known.
    """

    masks: Mapping[int, np.ndarray]
    others: np.ndarray | None = None
    hint: np.ndarray | None = None

    @property
    def filled(self) -> list[int]:
        """Slices on which the structure is drawn, or hinted at, rising."""
        drawn = {index for index, mask in self.masks.items() if mask.any()}
        hinted = [] if self.hint is None else np.flatnonzero((self.hint > 0.5).any(axis=(1, 2))).tolist()
        return sorted(drawn.union(hinted))


class Scenes:
    """A stack and what is drawn on it, seen through windows."""

    def __init__(self, slices: np.ndarray, spacing: tuple[float, float, float], drawing: Known) -> None:
        """slices: (S, H, W) float32. spacing: mm along (S, H, W)."""
        self.slices, self.drawing = torch.from_numpy(slices), drawing
        self.spacing, self.inner = spacing, (spacing[1], spacing[2])
        self._others = None if drawing.others is None else torch.from_numpy(drawing.others)
        self._hint = None if drawing.hint is None else torch.from_numpy(drawing.hint)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, H, W)."""
        count, rows, columns = self.slices.shape
        return count, rows, columns

    def first_window(self) -> Window:
        """The window around the largest drawn slice; where none is drawn, around that of the hint."""
        masks = self.drawing.masks
        if self.drawing.hint is not None and not masks:
            found = self.drawing.hint > 0.5
            largest = int(found.sum(axis=(1, 2)).argmax())
            masks = {largest: found[largest]}
        return Window.around(masks, self.shape[0], self.spacing)

    def scene(self, window: Window) -> Scene:
        """(1, D, N, N) what is known without the network."""
        valid = window.inside(self.shape, self.inner)
        image = window.sample(self.slices, self.inner) * valid
        depth = len(window.planes)
        drawing, drawn = torch.zeros_like(image), torch.zeros(depth, dtype=torch.bool)
        if self._hint is not None:
            drawing = FOUND * (2 * window.sample(self._hint, self.inner) - 1)
        if self._others is not None:
            others = window.sample(self._others, self.inner)
            drawing = torch.where(others > 0.5, -1.0, drawing)
        for plane, index in self._drawn_planes(window).items():
            one = replace(window, planes=np.array([0]))
            mask = torch.from_numpy(self.drawing.masks[index])[None]
            drawing[plane] = 2 * (one.sample(mask, self.inner)[0] > 0.5).float() - 1
            drawn[plane] = True
        known = np.array(list(self.drawing.masks))
        slices_apart = np.abs(window.planes[:, None] - known[None]).min(1, initial=FAR)
        distance = torch.from_numpy(slices_apart / abs(window.step)).float() * window.gap
        return Scene(
            image=image[None],
            drawing=(drawing * valid)[None],
            drawn=drawn[None],
            distance=distance[None],
            valid=valid[None],
            gap=torch.tensor([window.gap], dtype=torch.float32),
            radius=torch.tensor([window.radius], dtype=torch.float32),
        )

    def _drawn_planes(self, window: Window) -> dict[int, int]:
        """plane -> the drawn slice nearest to it, within half a step; rather one that is not empty."""
        found: dict[int, int] = {}
        masks = self.drawing.masks
        for index in sorted(masks, key=lambda index: bool(masks[index].any())):
            plane = round((index - int(window.planes[0])) / window.step)
            if 0 <= plane < len(window.planes):
                found[plane] = index
        return found
