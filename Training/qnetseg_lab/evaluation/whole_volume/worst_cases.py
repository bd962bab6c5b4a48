"""What errors look like: the worst results of R1 or R3, each on three slices."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from qnetseg.cli.pictures import plain, save

from ..gallery import CELL, DPI, DRAWN_COLOR, FOUND_COLOR, MARGIN, TRUE_COLOR
from .collections import Study
from .methods import Task
from .rows import MethodRow
from .scoring import slice_dice

WORST = 10
SLICES = 3  # of the volume, at equal shares of where the structure is or was found

Shown = TypeVar("Shown", bound=MethodRow)


@dataclass(frozen=True, eq=False)
class Redone:
    """A result made again, with its masks.

    Attributes:
        row: of the result file.
        drawing: what was drawn, on this volume or another patient's.
        study: the volume that was scored.
        truth, found: (S, H, W) bool.
    """

    row: MethodRow
    drawing: Task
    study: Study
    truth: np.ndarray
    found: np.ndarray


def worst(rows: list[Shown], method: str, count: int = WORST) -> list[Shown]:
    """Rows of a method with the lowest Dice, or with the most false volume where the structure is absent; of
    several drawings on one patient's structure the worst only."""

    def badness(row: Shown) -> float:
        return row["false_ml"] or 0 if "dice" not in row else -row["dice"]

    chosen: dict[tuple[object, ...], Shown] = {}
    for row in sorted((row for row in rows if row["method"] == method), key=badness, reverse=True):
        chosen.setdefault((row["query"], row["structure"], row.get("support", "")), row)
    return list(chosen.values())[:count]


def gallery(
    content: dict[str, Any], redo: Callable[[Shown], Redone], path: str | os.PathLike[str]
) -> list[Shown]:
    """Draw a PNG of the first method's worst results, which are made again one by one.

    Args:
        content: of the result file.
        redo: gives the masks of a row.
        path: PNG file, replaced whole or not at all. Raises OutputError.

    Returns:
        The rows that are shown, worst first.
    """
    from matplotlib.figure import Figure

    every: list[Shown] = content["rows"]
    rows = worst(every, content["methods"][0])
    figure = Figure(figsize=(CELL * (SLICES + 1), CELL * len(rows) + 0.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), SLICES + 1, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        _draw(line, redo(row))
    figure.suptitle(
        f"{content['protocol']}, {plain(content['dataset'])}: the worst results of {content['methods'][0]}\n"
        "orange what was drawn, green the truth, blue what was found",
        fontsize=10,
    )
    save(figure, path)
    return rows


def _draw(line: Any, result: Redone) -> None:
    """One row of pictures."""
    row, drawing = result.row, result.drawing
    scored = f"Dice {100 * row['dice']:.0f}" if "dice" in row else f"{row['false_ml']:.0f} ml false"
    drawn = drawing.filled[0]
    title = f"{plain(row['structure'])}, {plain(drawing.study.name)}, slice {drawing.study.file_index(drawn)}"
    _picture(line[0], drawing.study, drawn, [(drawing.mask, DRAWN_COLOR)], drawing.mask, title)
    either = result.truth | result.found
    occupied = np.flatnonzero(either.any(axis=(1, 2)))
    if not len(occupied):
        occupied = np.arange(len(either))
    dice = slice_dice(result.found, result.truth)
    for number, axes in enumerate(line[1:]):
        index = int(occupied[int((number + 0.5) / SLICES * len(occupied))])
        title = f"slice {result.study.file_index(index)}: {100 * dice[index]:.0f}"
        if number == 0:
            title = f"{plain(row['query'])}, {scored}; {title}"
        outlines = [(result.truth, TRUE_COLOR), (result.found, FOUND_COLOR)]
        _picture(axes, result.study, index, outlines, either, title)


def _picture(
    axes: Any, study: Study, index: int, outlines: list[tuple[np.ndarray, str]], shown: np.ndarray, title: str
) -> None:
    """One slice with outlines, cut around what is shown anywhere."""
    rows, columns = (_span(np.asarray(shown.any(axis=(0, axis)))) for axis in (2, 1))
    image = study.stack(study.volume.array)[index].astype(np.float32)
    low, high = np.percentile(image, (1, 99.5))
    aspect = study.spacing[1] / study.spacing[2]
    axes.imshow(image[rows, columns], cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
    for mask, color in outlines:
        if mask[index][rows, columns].any():
            axes.contour(mask[index][rows, columns], [0.5], colors=color, linewidths=1.2)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _span(occupied: np.ndarray) -> slice:
    """The occupied indices with a margin; all of them where nothing is."""
    places = np.flatnonzero(occupied)
    if not len(places):
        return slice(None)
    return slice(max(int(places[0]) - 2 * MARGIN, 0), int(places[-1]) + 2 * MARGIN + 1)
