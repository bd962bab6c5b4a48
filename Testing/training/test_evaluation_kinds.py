"""Kinds of structures, told from shapes with answers by eye, and what the tables say of them."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg_lab.evaluation.whole_volume.kinds import KINDS, kind_of
from qnetseg_lab.evaluation.whole_volume.r1 import by_kind
from qnetseg_lab.evaluation.whole_volume.tables import tables

SHAPE, SPACING = (24, 48, 48), (4.0, 2.0, 2.0)


def ball(radius, row=24.0, column=24.0, middle=12.0):
    """(S, H, W) bool; radius in mm, the centre in voxels."""
    centre = (middle, row, column)
    axes = [(np.arange(n) - c) * mm for n, c, mm in zip(SHAPE, centre, SPACING, strict=True)]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    return k**2 + j**2 + i**2 <= radius**2


def tube(radius):
    """A cylinder through all slices."""
    disc = ball(radius)[12]
    return np.broadcast_to(disc, SHAPE).copy()


SHAPES = {
    "compact": {
        "ball": ball(20.0),
        "ball with a pinhole": ball(20.0) & ~ball(2.5),
        "ball and a crumb": ball(20.0) | ball(4.0, 5.0, 5.0),
        "one voxel": ball(1.0),
        "short tube": np.where(np.abs(np.arange(24) - 12)[:, None, None] < 5, tube(16.0), False),
    },
    "long and thin": {"tube": tube(5.0), "tube along the rows": np.swapaxes(tube(5.0), 0, 1)[:24]},
    "shell": {"ring": tube(24.0) & ~tube(16.0), "hollow ball": ball(24.0) & ~ball(16.0)},
    "many parts": {
        "two balls side by side": ball(12.0, 12.0, 24.0) | ball(12.0, 36.0, 24.0),
        "two tubes": np.roll(tube(5.0), 12, 1) | np.roll(tube(5.0), -12, 1),
    },
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, shapes in SHAPES.items() for name in shapes], ids=lambda x: x
)
def test_kinds_are_those_that_one_sees(kind, name):
    assert kind_of(SHAPES[kind][name], SPACING) == kind and kind in KINDS


def test_millimetres_count_and_not_voxels():
    mask = ball(20.0)
    assert kind_of(mask, SPACING) == "compact"
    assert kind_of(mask, (20.0, 2.0, 2.0)) == "long and thin"


def rows_of(kind, *dice):
    return [{"kind": kind, "dice": value} for value in dice]


def test_figures_of_a_kind():
    rows = [*rows_of("shell", *(n / 20 for n in range(20))), *rows_of("compact", 0.9)]
    found = by_kind(rows)
    assert found["compact"] == {"rows": 1, "dice": pytest.approx(90), "worst_tenth": pytest.approx(90)}
    assert found["shell"] == {"rows": 20, "dice": pytest.approx(47.5), "worst_tenth": pytest.approx(2.5)}


def r1_result(**figures):
    measures = {"dice": 80.0, "interval": [70.0, 90.0], "surface_dice": None, "hd95": None}
    rest = dict.fromkeys(("volume_error", "end_error_slices", "end_error_mm", "false_ml", "seconds"))
    method = {"structures": {"mean": measures, "organ": measures}, **rest, **figures}
    summary = {"largest": {"qnet": method}}
    return {"protocol": "R1", "structures": ["organ"], "summary": summary, "paired": {"largest": {}}}


def test_a_table_by_kind_follows_that_of_r1_where_the_result_has_kinds():
    kinds = {"compact": {"rows": 3, "dice": 81.26, "worst_tenth": 60.0}}
    _, (heading, columns, rows) = tables(r1_result(kinds=kinds))
    assert heading == "By kind of structure, drawn slice: largest area"
    assert columns == ["method", "kind of structure", "rows", "mean Dice", "worst tenth"]
    assert rows == [["QNetSegment", "compact", "3", "81.3", "60.0"]]
    assert [heading for heading, *_ in tables(r1_result())] == ["Drawn slice: largest area"]
