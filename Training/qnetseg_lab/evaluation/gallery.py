"""Figure 3: what each model finds on one slice of every organ, beside the expert's mask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.cli.pictures import plain, save
from qnetseg.model import Model
from qnetseg.segment.matching import thirds

from ..baselines import load_method
from ..data import Case, dataset
from .features import Scorer
from .metrics import dice
from .protocol_p import (
    Pair,
    ProtocolP,
    fold_cases,
    occupied_slices,
    pairs,
    predictor,
    scored_structures,
    support_slice_indices,
)
from .results import run_name

CELL = 2.4  # inches
DPI = 110
MARGIN = 24  # pixels around the organs
TRUE_COLOR, FOUND_COLOR, DRAWN_COLOR = "#7dff5a", "#00e5ff", "#ff9500"


@dataclass(frozen=True)
class Shown:
    """A structure on one query slice and the support slice that it is predicted from.

    Attributes:
        pair: the structure and its cases.
        slice: index on the query, where the structure is largest.
        drawn: index on the support.
        found: masks (H, W) bool by name of the model; a model that does not score the structure has none.
    """

    pair: Pair
    slice: int
    drawn: int
    found: dict[str, np.ndarray]


def gallery(protocol: ProtocolP, weights: Sequence[str | Path], path: str | os.PathLike[str]) -> list[Shown]:
    """Draw a PNG: a row a structure with support, expert's mask and each model's, with the slice's Dice.

    The slices are chosen without a look at any result: the fold's first query, where the structure is
    largest. Only those slices are encoded.

    Args:
        protocol: fold and options; a method that has no refinement is shown without.
        weights: files of any methods, one column each.
        path: PNG file, replaced whole or not at all. Raises OutputError.
    """
    models = [load_method(file) for file in weights]
    names = _names(models, [run_name(Path(file)) for file in weights])
    scored = [scored_structures(protocol, model) for model in models]
    structures = [s for s in dataset(protocol.dataset).labels if any(s in own for own in scored)]
    cases = fold_cases(protocol)
    rows = [_row(pair) for pair in _first(pairs(protocol, structures, cases))]
    for name, model, own in zip(names, models, scored, strict=True):
        scorer = Scorer(model.network, cases, protocol.options())
        predict = predictor(protocol, model.network)
        for row in rows:
            if row.pair.structure in own:
                drawn = np.array([row.drawn])
                conditioned = scorer.condition(row.pair.support, row.pair.label, drawn)
                masks = scorer.masks(conditioned, row.pair.query, np.array([row.slice]), predict)
                row.found[name] = masks[0, 0]
    _draw(rows, names, protocol, path)
    return rows


def _names(models: list[Model[Any]], runs: list[str]) -> list[str]:
    """Titles of the methods, with the runs' names where a method is there twice."""
    titles = [model.network.title for model in models]
    return [
        f"{title}\n{run}" if titles.count(title) > 1 else title
        for title, run in zip(titles, runs, strict=True)
    ]


def _first(found: Any) -> list[Pair]:
    """The first pair of every structure."""
    first: dict[str, Pair] = {}
    for pair in found:
        first.setdefault(pair.structure, pair)
    return list(first.values())


def _row(pair: Pair) -> Shown:
    occupied = occupied_slices(pair.query, pair.label)
    position = int(pair.target()[occupied].sum(axis=(1, 2)).argmax())
    chosen = support_slice_indices(occupied_slices(pair.support, pair.label))
    part = thirds(len(occupied), len(chosen))[position]
    return Shown(pair, int(occupied[position]), int(chosen[part]), {})


def _draw(rows: list[Shown], names: list[str], protocol: ProtocolP, path: str | os.PathLike[str]) -> None:
    from matplotlib.figure import Figure

    columns = len(names) + 2
    figure = Figure(figsize=(CELL * columns, CELL * len(rows) + 0.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, title in zip(grid[0], ("support", "ground truth", *names), strict=True):
        axes.set_title(plain(title), fontsize=10, pad=14)
    for line, row in zip(grid, rows, strict=True):
        pair = row.pair
        drawn, truth = pair.support.labels[row.drawn] == pair.label, pair.target()[row.slice]
        _picture(
            line[0],
            pair.support,
            row.drawn,
            drawn,
            DRAWN_COLOR,
            f"{plain(pair.structure)}, case {plain(pair.support.name)}",
        )
        _picture(
            line[1],
            pair.query,
            row.slice,
            truth,
            TRUE_COLOR,
            f"case {plain(pair.query.name)}, slice {row.slice}",
        )
        for axes, name in zip(line[2:], names, strict=True):
            if name in row.found:
                label = f"Dice {100 * dice(row.found[name], truth):.0f}"
                _picture(axes, pair.query, row.slice, row.found[name], FOUND_COLOR, label, truth)
            else:
                axes.set_axis_off()
    figure.suptitle(
        f"{plain(protocol.dataset)}, Setting {protocol.setting}, fold {protocol.fold}, {protocol.scheme}",
        fontsize=11,
    )
    save(figure, path)


def _picture(
    axes: Any,
    case: Case,
    index: int,
    mask: np.ndarray,
    color: str,
    label: str,
    truth: np.ndarray | None = None,
) -> None:
    """One slice with a mask's outline, and that of the truth, thin."""
    image, (rows, columns) = case.image[index], _box(case.labels > 0)
    low, high = np.percentile(image, (1, 99.5))
    aspect = case.spacing[1] / case.spacing[2]
    axes.imshow(image[rows, columns], cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
    for outline, own, width in ((truth, TRUE_COLOR, 0.8), (mask, color, 1.6)):
        if outline is not None and outline[rows, columns].any():
            axes.contour(outline[rows, columns], [0.5], colors=own, linewidths=width)
    axes.text(0.5, 1.01, label, transform=axes.transAxes, ha="center", va="bottom", fontsize=8)
    axes.set_axis_off()


def _box(labelled: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns around all labelled pixels of a case."""
    spans = []
    for axis in (1, 2):
        other = tuple({0, 1, 2} - {axis})
        occupied = np.flatnonzero(labelled.any(axis=other))
        spans.append(slice(max(int(occupied[0]) - MARGIN, 0), int(occupied[-1]) + MARGIN + 1))
    return spans[0], spans[1]
