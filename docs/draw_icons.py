"""Draws the module's icon and the thumbnail of its sample data: `python docs/draw_icons.py`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

MODULE = Path(__file__).resolve().parents[1] / "QNetSegment"
ICONS = MODULE / "Resources" / "Icons"
PHANTOM = MODULE / "Logic" / "QNetSegmentLib" / "sample_data" / "phantom.py"

TILE, DRAWN_SLICE, OTHER_SLICES = "#17678c", "#ffffff", ("#8fbfd3", "#b9d8e5")
OUTLINE, FILL = "#f2600c", "#ff8a1f"
SLICE_WIDTH, SLICE_HEIGHT, LEAN = 70, 38, 26  # pixels; the lean makes a slice look as lying in space


def canvas(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure of this size in pixels, and axes that cover it in units of a pixel, y upwards."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def points(pixels: float) -> float:
    """Line width of so many pixels at 100 dpi."""
    return pixels * 0.72


def organ(center: tuple[float, float], width: float, height: float) -> np.ndarray:
    """A smooth closed outline (N, 2) that could be an organ's, leaning as the slices do."""
    t = np.linspace(0, 2 * np.pi, 200)
    radius = 1 + 0.16 * np.cos(2 * t + 0.5) - 0.14 * np.sin(t - 0.6) + 0.07 * np.cos(3 * t)
    x, y = radius * np.cos(t) * width / 2, radius * np.sin(t) * height / 2
    return np.column_stack([center[0] + x + y * LEAN / SLICE_HEIGHT, center[1] + y])


def slice_outline(center: tuple[float, float]) -> np.ndarray:
    """Corners (4, 2) of a slice that is seen from the side."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    x = corners[:, 0] * SLICE_WIDTH + corners[:, 1] * LEAN
    return np.column_stack([center[0] + x, center[1] + corners[:, 1] * SLICE_HEIGHT])


def draw_icon(file: Path) -> None:
    """128 x 128: one slice with a drawn outline, the others filled with the same shape.

    Few and large parts, strong against each other, so that the icon is still read at 16 pixels; the
    tile keeps it apart from light and dark themes.
    """
    figure, axes = canvas(128, 128)
    tile = FancyBboxPatch((26, 26), 76, 76, boxstyle="round,pad=26,rounding_size=28", fc=TILE, ec="none")
    axes.add_patch(tile)
    for y, color in zip((33, 63, 94), (*OTHER_SLICES, DRAWN_SLICE), strict=True):
        sheet = slice_outline((64, y))
        axes.add_patch(Polygon(sheet, fc=TILE, ec=TILE, lw=points(11), joinstyle="round"))
        axes.add_patch(Polygon(sheet, fc=color, ec=color, lw=points(5.5), joinstyle="round"))
        if color == DRAWN_SLICE:
            ring = organ((64, y), 44, 24)
            axes.add_patch(Polygon(ring, fc="none", ec=OUTLINE, lw=points(8), joinstyle="round"))
        else:
            axes.add_patch(Polygon(organ((64, y), 50, 29), fc=FILL, ec="none"))
    figure.savefig(file, transparent=True, metadata={"Software": None})


def draw_thumbnail(file: Path) -> None:
    """260 x 280: the slice of the phantom on which the liver is drawn, with its outline."""
    phantom = runpy.run_path(str(PHANTOM))  # by its path: the package around it needs Slicer
    volume, truth = phantom["abdomen"]()
    drawn = phantom["largest_slice"](truth["Liver"])
    k = int(drawn.any(axis=(1, 2)).argmax())
    figure, axes = canvas(260, 280)
    axes.imshow(volume.array[k], cmap="gray", vmin=0, vmax=650)
    axes.contour(drawn[k], [0.5], colors=OUTLINE, linewidths=points(4))
    middle, height = drawn.shape[1] / 2, 158  # all but the outermost rows, and columns of as large pixels
    width = height * 260 / 280
    axes.set(xlim=(middle - width / 2, middle + width / 2), ylim=(middle + height / 2, middle - height / 2))
    figure.savefig(file, metadata={"Software": None})


def main(folder: Path) -> None:
    """Writes both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_icon(folder / "QNetSegment.png")
    draw_thumbnail(folder / "QNetSegmentPhantom.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ICONS)
