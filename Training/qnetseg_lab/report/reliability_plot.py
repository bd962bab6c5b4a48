"""Whether the confidence of our method is right: a table and a diagram beside R1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qnetseg.cli.pictures import save

from ..evaluation.whole_volume.reliability import BINS, binned
from ..evaluation.whole_volume.rows import R1Row, ReliabilityFigures
from ..evaluation.whole_volume.scoring import WORST_FEW
from ..evaluation.whole_volume.tables import CHOICE_TITLES, where
from .markdown import table

RELIABILITY = (
    "Confidence against truth, on slices that nobody drew. Left in each diagram: voxels by their probability,"
    " without those of a negligible one. Right: slices by the Dice that the method expects of them. On the"
    " diagonal the confidence is right; errors are mean distances from it."
)


def reliability(result: dict[str, Any], folder: Path) -> list[str]:
    """Parts of a section, none where nothing is known; draws its diagrams into the folder."""
    rows, pictures = [], []
    for choice, figures in _known(result):
        hits = figures["least_sure_hits"]
        cells = (figures["voxel_error"], figures["slice_error"], figures["correlation"])
        row = [CHOICE_TITLES[choice], str(figures["slices"])]
        row += ["" if cell is None else f"{cell:.3f}" for cell in cells]
        rows.append([*row, "" if hits is None else f"{hits:.0f}"])
        picture = f"{Path(result['file']).stem}-reliability-{choice}.png"
        _draw(figures["voxels"], _pairs(result, choice), folder / picture)
        pictures.append(f"![Confidence, {where(result)}, {CHOICE_TITLES[choice]}]({picture})")
    if not rows:
        return []
    head = ["drawn slice", "slices", "voxels' error", "slices' error", "correlation"]
    return [table([*head, f"least certain slice is of the {WORST_FEW} worst, %"], rows), *pictures]


def _known(result: dict[str, Any]) -> Iterator[tuple[str, ReliabilityFigures]]:
    """Choice of the drawn slice and figures of the run's first method, where it gives its confidence."""
    if result["protocol"] == "R1":
        for choice, methods in result["summary"].items():
            figures = methods[result["method"]].get("reliability")
            if figures is not None:
                yield choice, figures


def _pairs(result: dict[str, Any], choice: str) -> np.ndarray:
    """(n, 2) expected and true Dice of the first method's slices."""
    rows: list[R1Row] = result["rows"]
    own = [row["reliability"] for row in rows if (row["method"], row["choice"]) == (result["method"], choice)]
    return np.array([pair for entry in own if entry for pair in entry["slices"]])


def _draw(voxels: list[list[int]], pairs: np.ndarray, picture: Path) -> None:
    sheet = Figure(figsize=(8.2, 4), dpi=110, layout="constrained")
    left, right = sheet.subplots(1, 2)
    full = [(b, count, hits) for b, (count, hits) in enumerate(voxels) if count]
    left.bar([(b + 0.5) / BINS for b, _, _ in full], [h / n for _, n, h in full], 0.9 / BINS, color="#4c9bd6")
    left.set(xlabel="probability of a voxel", ylabel="share that is the structure")
    right.scatter(*pairs.T, s=4, alpha=0.25, color="0.5", linewidths=0)
    right.plot(*np.array(binned(pairs)).T, marker="o", color="#d6604d")
    right.set(xlabel="Dice that is expected of a slice", ylabel="its Dice")
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    save(sheet, picture)
