"""The volume that was drawn on: the drawing is propagated from window to window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.propagation import Propagated
from .confidence import Trust
from .evidence import FOUND, Appearance, Scene
from .job import Job
from .planes import Found, Planes
from .propagator import Propagator
from .scenes import Known, Scenes
from .second_look import look_again
from .window import DEPTH, Window

SHIFT = DEPTH // 2  # planes by which a window moves on, as in training
EDGE = 4  # planes at a window's end that lead no further, as in training
GROWN = 1.15  # times the largest drawn area, from which another slice is nearer to the structure's middle
CLIMBS = 2  # times that such a slice joins the drawn ones
MOST_WINDOWS = 200  # in one direction


def propagate(
    propagator: Propagator,
    slices: np.ndarray,
    spacing: tuple[float, float, float],
    drawing: Known,
    job: Job | None = None,
    again: bool = True,
) -> Found:
    """Find the drawn structure in a stack.

    Args:
        propagator: the network on its device.
        slices: (S, H, W) float32 intensities of any unit.
        spacing: mm along (S, H, W).
        drawing: at least one of its slices holds the structure, or a hint does.
        job: hears of every window; None for nobody.
        again: look a second time at the outline, where pixels are finer than those of the first look.
    """
    known, job = drawing, (job or Job()).part(0, 1, len(slices))
    for _ in range(CLIMBS + 1):
        journey = _Journey(propagator, Scenes(slices, spacing, known), job)
        journey.go()
        larger = _larger_slice(journey.planes, known) if known.masks else None
        if larger is None:
            break
        known = replace(known, masks={**known.masks, **larger})
    if again:
        journey.look_again()
    trust = Trust(journey.planes.presence(), abs(journey.first.step), propagator.network.config.confidence)
    return Found(journey.planes.probability(), trust)


def _larger_slice(planes: Planes, known: Known) -> dict[int, np.ndarray] | None:
    """The largest slice that was found, if it is much larger than all known ones: who draws near an end of
    a structure is told what its middle looks like. None if there is no such slice."""
    found = {index: (planes.at(index) > 0).numpy() for index in planes.known() if index not in known.masks}
    largest = max(found, key=lambda index: int(found[index].sum()), default=None)
    most = max(int(mask.sum()) for mask in known.masks.values())
    if largest is None or found[largest].sum() < GROWN * most:
        return None
    return {largest: found[largest]}


class _Journey:
    """The windows of one structure."""

    def __init__(self, propagator: Propagator, scenes: Scenes, job: Job) -> None:
        self.propagator, self.scenes, self.job = propagator, scenes, job
        self.planes = Planes(scenes.shape)
        self.first = scenes.first_window()
        self._scene = scenes.scene(self.first)
        self.appearance = Appearance.of(self._scene)

    def go(self) -> None:
        """Look through the first window, then through those beyond it in both directions."""
        said = self._look(self._scene)
        self._keep(self.first, said, range(len(self.first.planes)))
        flipped = Propagated(said.logits.flip(1), said.presence.flip(1))
        for window, seen in ((self.first, said), (self.first.turned(), flipped)):
            self._go_on(window, seen)

    def look_again(self) -> None:
        """Refine the outline."""
        look_again(self.scenes, self.planes, self.first, self.appearance, self.propagator, self.job)

    def _go_on(self, window: Window, said: Propagated) -> None:
        for _ in range(MOST_WINDOWS):
            following = self._following(window, said)
            if following is None:
                return
            window, scene, first = following
            said = self._look(scene)
            self._keep(window, said, range(first, len(window.planes)))

    def _following(self, window: Window, said: Propagated) -> tuple[Window, Scene, int] | None:
        """The next window, what is known of it, and its first plane that is news; None where the structure,
        or the stack, ends, and nothing is drawn or hinted at further on."""
        end = int(window.planes[-1])
        beyond = 0 <= end + window.step < self.scenes.shape[0]
        probability, leads = leading(said.logits, said.presence)
        overlap = leads[0, SHIFT:]
        drawn_ahead = any((index - end) * window.step > 0 for index in self.scenes.drawing.filled)
        if not beyond or not (bool(overlap.any()) or drawn_ahead) or len(window.planes) <= SHIFT:
            return None
        down, right = _aside(probability[0, SHIFT:], overlap, window.side)
        inner = self.scenes.inner
        moved = window.moved(
            SHIFT, round(down * window.pixel / inner[0]), round(right * window.pixel / inner[1])
        )
        scene = self.scenes.scene(moved)
        known = torch.zeros_like(scene.drawing)
        found = self._resampled(probability[0, SHIFT:], window, moved)
        count = len(found)
        known[0, :count] = FOUND * (2 * found - 1)
        leads = torch.zeros(len(moved.planes), dtype=torch.bool)
        leads[:count] = overlap
        free = leads[:, None, None] & (scene.drawing.abs() < 1)  # what was found goes before a hint
        drawing = torch.where(free, known, scene.drawing) * scene.valid
        last = int(torch.nonzero(overlap)[-1]) if bool(overlap.any()) else count - EDGE - 1
        return moved, replace(scene, drawing=drawing), last + 1

    def _resampled(self, planes: Tensor, window: Window, moved: Window) -> Tensor:
        """(D, N, N) planes of one window on the pixels of another of the same scale."""
        shifted = [
            (new - old) * mm / window.pixel
            for new, old, mm in zip(moved.centre, window.centre, self.scenes.inner, strict=True)
        ]
        across = torch.arange(window.side) + 0.5
        y, x = torch.meshgrid(*(2 * (across + by) / window.side - 1 for by in shifted), indexing="ij")
        grid = torch.stack([x, y], -1)[None]
        return F.grid_sample(planes[None], grid, padding_mode="zeros", align_corners=False)[0]

    def _look(self, scene: Scene) -> Propagated:
        self.job.check()
        return self.propagator.look(scene, self.appearance)

    def _keep(self, window: Window, said: Propagated, planes: range) -> None:
        count = self.scenes.shape[0]
        chosen = [plane for plane in planes if 0 <= window.planes[plane] < count]
        native, box = window.native(said.logits[0, chosen], self.scenes.shape[1:], self.scenes.inner)
        presence = torch.sigmoid(said.presence[0]).tolist()
        for number, plane in enumerate(chosen):
            self.planes.put(int(window.planes[plane]), box, native[number], presence[plane])
        known = self.planes.known()
        self.job.tell(known[-1] - known[0] + 1, count, "slices")


def leading(logits: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
    """What a window hands to the one that goes on beyond its last plane.

    Args:
        logits, presence: of `Propagated`.

    Returns:
        (B, D, N, N) float32 probability, and (B, D) bool, planes that lead: before the structure's end, and
        not at the window's.
    """
    found = torch.sigmoid(logits)
    there = (presence > 0) & (found > 0.5).flatten(2).any(2)
    there[:, -EDGE:] = False
    return found, there


def _aside(planes: Tensor, leads: Tensor, side: int) -> tuple[float, float]:
    """Pixels by which the structure's middle on the last planes that lead lies off the window's."""
    last = torch.nonzero(leads)[-2:, 0]
    weight = (planes[last] > 0.5).float().sum(0)
    if not bool(weight.any()):
        return 0.0, 0.0
    places = torch.arange(side) - (side - 1) / 2
    total = weight.sum()
    return float((weight.sum(1) * places).sum() / total), float((weight.sum(0) * places).sum() / total)
