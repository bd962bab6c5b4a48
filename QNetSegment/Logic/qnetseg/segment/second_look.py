"""A second look at the outline, where the image is finer than the first windows were.

Windows of smaller pixels, and of planes nearer to each other, along the outline that was found; what the
first look said takes the random walker's place in their evidence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .evidence import Appearance
from .job import Job
from .planes import Planes
from .propagator import Propagator
from .scenes import Scenes
from .window import DEPTH, SIDE, Window, rounded_up

FINER = 3.0  # times as fine as the first look at most, as in training (up to 4)
WORTH = 2.2  # times as fine at least, or the outline gains too little for the time
LARGEST = 88.0  # pixels of radius, as in training
GAP = 4.0  # pixels between planes, at least
SURE = 0.03  # probability from which a pixel is not certain
OVERLAP = 0.75  # of a window's edge from one window to the next


def look_again(
    scenes: Scenes, planes: Planes, first: Window, appearance: Appearance, propagator: Propagator, job: Job
) -> None:
    """Put finer log-odds into `planes`, if the image has more to show.

    first: the first window of the first look.
    """
    pixel = max(min(scenes.inner), first.pixel / FINER, first.radius * first.pixel / LARGEST)
    if first.pixel < WORTH * pixel:
        return
    step = min(abs(first.step), max(1, round(GAP * pixel / scenes.spacing[0])))
    wanted = _planes_to_see(planes, int(first.planes[0]), step)
    fine: list[tuple[int, Tensor, float]] = []
    for start in range(0, len(wanted), DEPTH):
        fine += _block(
            scenes, planes, wanted[start : start + DEPTH], (first, pixel, step), appearance, propagator, job
        )
    if fine:
        planes.drop(wanted[0], wanted[-1])
    whole = ((0, scenes.shape[1]), (0, scenes.shape[2]))
    for index, logits, presence in fine:
        box = _box(torch.isfinite(logits)) or whole
        planes.put(index, box, logits[slice(*box[0]), slice(*box[1])], presence)


def _planes_to_see(planes: Planes, origin: int, step: int) -> list[int]:
    """Every `step`-th slice from just before the structure to just behind it."""
    known = [index for index in planes.known() if bool((planes.at(index) > 0).any())]
    if not known:
        return []
    first, last = max(known[0] - step, planes.known()[0]), min(known[-1] + step, planes.known()[-1])
    return [index for index in range(first, last + 1) if (index - origin) % step == 0]


def _block(
    scenes: Scenes,
    planes: Planes,
    wanted: list[int],
    how: tuple[Window, float, int],
    appearance: Appearance,
    propagator: Propagator,
    job: Job,
) -> list[tuple[int, Tensor, float]]:
    """(slice, (H, W) log-odds, presence) of up to DEPTH planes."""
    first, pixel, step = how
    coarse = torch.stack([planes.at(index) for index in wanted])
    prior = torch.sigmoid(coarse)
    uncertain = ((prior > SURE) & (prior < 1 - SURE)).any(0)
    total, weight = torch.zeros_like(coarse), torch.zeros(coarse.shape[1:])
    depth = rounded_up(len(wanted), 4)
    window = Window(
        centre=(0.0, 0.0),
        pixel=pixel,
        side=SIDE,
        planes=wanted[0] + step * np.arange(depth),
        radius=first.radius * first.pixel / pixel,
        gap=step * scenes.spacing[0] / pixel,
    )
    for centre in _centres(uncertain, SIDE * pixel, scenes.inner):
        job.check()
        here = replace(window, centre=centre)
        seen = replace(here, planes=np.arange(depth)).sample(prior, scenes.inner)
        scene = replace(scenes.scene(here), prior=seen[None])
        said = propagator.look(scene, appearance).logits[0, : len(wanted)]
        native, (rows, columns) = here.native(said, scenes.shape[1:], scenes.inner)
        share = _taper(native.shape[1], native.shape[2])
        total[:, slice(*rows), slice(*columns)] += native * share
        weight[slice(*rows), slice(*columns)] += share
    mixed = torch.where(weight > 0, total / weight.clamp(min=1e-6), coarse)
    presence = [planes.presence_at(index) for index in wanted]
    return list(zip(wanted, mixed, presence, strict=True))


def _centres(uncertain: Tensor, edge: float, inner: tuple[float, float]) -> list[tuple[float, float]]:
    """Middles of windows of `edge` mm that cover an (H, W) bool mask, without those that see none of it."""
    box = _box(uncertain)
    if box is None:
        return []
    axes = []
    for (low, high), mm in zip(box, inner, strict=True):
        length = (high - low) * mm
        count = max(1, int(np.ceil((length / edge - 1) / OVERLAP)) + 1)
        reach = max(length - edge, 0.0) / 2 / mm
        axes.append(np.linspace(-reach, reach, count) + (low + high - 1) / 2)
    found = []
    for row in axes[0].tolist():
        for column in axes[1].tolist():
            parts = [
                slice(max(int(middle - edge / mm / 2), 0), int(middle + edge / mm / 2) + 1)
                for middle, mm in zip((row, column), inner, strict=True)
            ]
            if bool(uncertain[parts[0], parts[1]].any()):
                found.append((row, column))
    return found


def _box(mask: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows and columns of the smallest box around an (H, W) bool mask; None if it is empty."""
    rows, columns = (torch.nonzero(mask.any(axis))[:, 0] for axis in (1, 0))
    if not len(rows):
        return None
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def _taper(rows: int, columns: int) -> Tensor:
    """(rows, columns) weights that fall towards a window's edges, where it sees less of what lies around."""

    def along(count: int) -> Tensor:
        place = (torch.arange(count) + 0.5) / count
        return (4 * torch.minimum(place, 1 - place)).clamp(0.02, 1)

    return along(rows)[:, None] * along(columns)[None]
