"""Pictures of results, for the demonstration and the documentation. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..volume import PLANES, FileSlices, SupportSet, SupportSlice, Volume, canonical, file_slices, plane_name
from .pictures import plain, save

if TYPE_CHECKING:
    from ..segment.result import Found, Report, SliceReport

COLUMNS, ROWS = 4, 3
MOST_DRAWN = 3  # drawn slices that are shown
MARGIN = 6.0  # mm around the body
CELL_WIDTH = 3.2  # inches
DPI = 110
DRAWN_COLOR, FOUND_COLOR = "#ff9500", "#00e5ff"


def contact_sheet(
    volume: Volume, found: Found, support: SupportSet, path: str | os.PathLike[str], title: str
) -> None:
    """Draw a PNG: the drawn slices, then slices spread over the structure, then the confidence.

    Slices are shown as radiologists do: superior or anterior above, the patient's left on the right;
    sagittal ones with anterior on the left.

    Args:
        volume: the query.
        found: result of `segment_volume` on it.
        support: what was drawn, on this or another volume.
        path: PNG file, replaced whole or not at all. Raises OutputError.
        title: first line.
    """
    from matplotlib.figure import Figure

    from ..segment.result import volume_text

    cells = _cells(volume, found, support)
    height = CELL_WIDTH * max(cell.height / cell.width for cell in cells)
    rows = -(-len(cells) // COLUMNS)
    figure = Figure(
        figsize=(CELL_WIDTH * COLUMNS, (height + 0.2) * rows + 1.9), dpi=DPI, layout="constrained"
    )
    grid = figure.add_gridspec(rows + 1, COLUMNS, height_ratios=[height + 0.2] * rows + [0.75])
    for number, cell in enumerate(cells):
        cell.draw(figure.add_subplot(grid[number // COLUMNS, number % COLUMNS]))
    slices = file_slices(volume, support.plane, support.axes)
    shown = {cell.index for cell in cells}
    _confidence_strip(figure, figure.add_subplot(grid[rows, :]), found.report, shown, slices)
    report = found.report
    here = any(part.drawn for part in report.slices)
    plane = slices.name if here else plane_name(support.axes[PLANES[support.plane]])
    figure.suptitle(
        f"{plain(title)}: {plain(report.structure)}, {volume_text(report.volume_ml)}\n",
        fontsize=15,
        fontweight="bold",
    )
    how = (
        f"drawn by hand (orange) on {_count(len(support.slices), plane)}, "
        f"found (cyan) in {report.seconds:.0f} s on {report.device} by {plain(report.model)}"
    )
    figure.text(0.5, 1 - 0.36 / figure.get_figheight(), how, ha="center", va="top", fontsize=10, color="0.25")
    save(figure, path)


def _count(slices: int, plane: str) -> str:
    return f"one {plane} slice" if slices == 1 else f"{slices} {plane} slices"


@dataclass(frozen=True)
class _Cell:
    """One picture: image (H, W) from 0 to 1, mask (H, W) bool, mm of (rows, columns); rows run downwards."""

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float]
    label: str
    color: str
    index: int  # canonical slice index of the query; -1 for a slice of another volume

    @property
    def height(self) -> float:
        return self.image.shape[0] * self.spacing[0]

    @property
    def width(self) -> float:
        return self.image.shape[1] * self.spacing[1]

    def draw(self, axes: Any) -> None:
        axes.imshow(self.image, cmap="gray", vmin=0, vmax=1, aspect=self.spacing[0] / self.spacing[1])
        if self.mask.any():
            axes.contour(self.mask, [0.5], colors=self.color, linewidths=1.6)
        axes.set_title(self.label, fontsize=10, color="black", pad=3)
        axes.set_axis_off()


def _cells(volume: Volume, found: Found, support: SupportSet) -> list[_Cell]:
    """The drawn slices first, then those chosen from the query."""
    turned, orientation = canonical(volume, support.axes)
    axis = PLANES[support.plane]
    rows, columns = (mm for other, mm in enumerate(turned.spacing) if other != axis)
    box = _body(turned.array, axis, (rows, columns))
    low, high = np.percentile(turned.array[turned.array > turned.array.min()], (1, 99.5))
    mask = orientation.apply(found.mask.placed(volume.shape))
    here = {part.index for part in found.report.slices if part.drawn}
    slices = file_slices(volume, support.plane, support.axes)
    cells = [_drawn_cell(part, box, part.index in here, slices) for part in support.slices[:MOST_DRAWN]]
    for part in chosen_slices(found.report.slices, COLUMNS * ROWS - len(cells)):
        image = _shades(turned.array.take(part.index, axis)[box], low, high)
        label = f"slice {slices.at(part.index)}" + (
            f", confidence {part.score:.2f}" if part.occupied else ", not found"
        )
        cells.append(
            _cell(
                image,
                mask.take(part.index, axis)[box] > 0,
                support.plane,
                (rows, columns),
                label,
                FOUND_COLOR,
                part.index,
            )
        )
    return cells


def _shades(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Intensities from `low` to `high` as 0 to 1."""
    shades: np.ndarray = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return shades


def _drawn_cell(part: SupportSlice, box: tuple[slice, slice], here: bool, slices: FileSlices) -> _Cell:
    """A drawn slice; `here`: on the query itself, whose crop then fits."""
    low, high = np.percentile(part.image, (1, 99.5))
    image, mask = _shades(part.image, low, high), part.mask > 0
    if here:
        image, mask = image[box], mask[box]
    label = f"slice {slices.at(part.index)}, drawn" if here else "drawn on another scan"
    return _cell(image, mask, part.plane, part.spacing, label, DRAWN_COLOR, part.index if here else -1)


def _cell(
    image: np.ndarray,
    mask: np.ndarray,
    plane: str,
    spacing: tuple[float, float],
    label: str,
    color: str,
    index: int,
) -> _Cell:
    """Axial rows run to posterior already; the others run to superior and are turned."""
    up = slice(None) if plane == "axial" else slice(None, None, -1)
    return _Cell(image[up], mask[up], spacing, label, color, index)


def _body(array: np.ndarray, axis: int, spacing: tuple[float, float]) -> tuple[slice, slice]:
    """The rectangle, the same in all slices, outside of which the volume is dark."""
    low, high = float(array.min()), float(np.percentile(array, 99.5))
    bright: np.ndarray = np.any(array > low + 0.1 * (high - low), axis=axis)
    box = []
    for across, mm in zip((1, 0), spacing, strict=True):
        occupied = np.flatnonzero(bright.any(axis=across))
        margin = round(MARGIN / mm)
        box.append(slice(max(int(occupied[0]) - margin, 0), int(occupied[-1]) + margin + 1))
    return box[0], box[1]


def chosen_slices(slices: tuple[SliceReport, ...], count: int) -> list[SliceReport]:
    """Up to `count` slices that were not drawn, spread over the range that holds the structure."""
    occupied = [part.index for part in slices if part.occupied]
    candidates = [
        part
        for part in slices
        if not part.drawn and (not occupied or occupied[0] <= part.index <= occupied[-1])
    ]
    if len(candidates) <= count:
        return candidates
    return [candidates[number] for number in np.linspace(0, len(candidates) - 1, count).round().astype(int)]


def _confidence_strip(figure: Any, axes: Any, report: Report, shown: set[int], slices: FileSlices) -> None:
    """One coloured field a slice, counted as in the file; white where the structure was not found."""
    parts = {slices.at(part.index): part for part in report.slices}
    first, last = min(parts), max(parts)
    values = np.full((1, last - first + 1), np.nan)
    for index, part in parts.items():
        if part.occupied:
            values[0, index - first] = part.score
    image = axes.imshow(
        values,
        cmap="viridis",
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=(first - 0.5, last + 0.5, 0, 1),
        interpolation="nearest",
    )
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"{slices.name} slice; white: not found, orange: drawn, ticks above: shown")
    axes.set_title("Confidence", fontsize=10, loc="left")
    axes.tick_params(axis="x", labelsize=9)
    for index, part in parts.items():
        if part.drawn:
            axes.axvspan(index - 0.5, index + 0.5, color=DRAWN_COLOR)
    for index in map(slices.at, shown - {-1}):
        axes.plot([index, index], [1.0, 1.15], color="0.2", linewidth=1.2, clip_on=False)
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01, ticks=(0, 0.5, 1))
