"""The icons are what their script draws, and are read at small sizes on light and dark ground."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from cmake_list import ROOT

ICONS = ROOT / "QNetSegment" / "Resources" / "Icons"
SIZES = {"QNetSegment.png": (128, 128), "QNetSegmentPhantom.png": (260, 280)}  # width, height


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Folder in which the script has drawn the icons anew."""
    folder = tmp_path_factory.mktemp("icons")
    runpy.run_path(str(ROOT / "docs" / "draw_icons.py"))["main"](folder)
    return folder


def test_every_icon_has_its_source(drawn):
    assert {path.name for path in ICONS.iterdir()} == {path.name for path in drawn.iterdir()} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_icons_are_png_of_the_right_size_as_drawn(name, drawn):
    kept, new = imread(ICONS / name, "png"), imread(drawn / name, "png")
    assert kept.shape[1::-1] == SIZES[name]
    assert np.abs(kept - new).mean() < 0.01  # other versions of matplotlib smooth edges differently


@pytest.mark.parametrize("ground", [1.0, 0.17], ids=["light", "dark"])
def test_icon_stands_out_at_16_pixels(ground):
    icon = imread(ICONS / "QNetSegment.png", "png")
    shown = icon[..., :3] * icon[..., 3:] + ground * (1 - icon[..., 3:])
    small = shown.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3))
    assert np.abs(small[8, 1] - ground).max() > 0.3  # the tile against the theme
    assert small[4, 6:10].min() > 0.9  # white within the drawn outline
    orange = (small[..., 0] > 0.9) & (small[..., 2] < 0.6)
    assert orange[:5].sum() >= 6 and orange[5:].sum() >= 12  # the outline; the shapes below it
