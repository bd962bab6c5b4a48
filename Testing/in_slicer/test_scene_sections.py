"""Planes that are none of the three: their names, and slices by the file's own index."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg.segment import Report, SliceReport
from support.scene_bed import SHAPE, add_volume, drawn, empty_scene

# isort: split
from QNetSegmentLib.panel.review import plane_text, slice_text
from QNetSegmentLib.scene.canonical import CanonicalGrid
from QNetSegmentLib.scene.drawings import drawn_slices, slice_place
from QNetSegmentLib.scene.not_here import mark_slice, marked_slices

__all__ = ["empty_scene"]


def heart(flip=False):
    """IJK to RAS of a short-axis stack, its slices 8 mm apart."""
    normal = np.array([-0.6, 0.62, -0.5]) / np.linalg.norm([-0.6, 0.62, -0.5])
    across = np.cross(normal, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    matrix = np.eye(4)
    columns = np.stack([across, np.cross(normal, across), normal], axis=1)
    matrix[:3, :3] = columns * [1.4, 1.4, -8 if flip else 8]
    return matrix


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("name", "section"), [("cine SA", "short axis"), ("volume", "oblique")])
def test_slices_of_an_oblique_stack_are_called_by_their_index_in_the_file(name, section, flip):
    volume = add_volume(heart(flip), name=name)
    mask = np.zeros(SHAPE, bool)
    mask[1, 1:4, 2:6] = True
    node, segment_id = drawn(volume, mask)
    found = drawn_slices(node, volume)
    assert [(part.section, part.position) for part in found] == [(section, "slice 1")]
    grid = CanonicalGrid.of(volume)
    other = next(k for k in range(grid.turned.shape[0]) if grid.native_slice(found[0].plane, k)[1] == 3)
    mark_slice(node, segment_id, volume, found[0].plane, other)
    (marked,) = marked_slices(node, volume, found)
    assert (marked.section, marked.position, marked.not_here) == (section, "slice 3", True)


def test_slices_of_the_three_planes_are_where_the_views_say():
    grid = CanonicalGrid.of(add_volume(np.diag([2.0, 3.0, 5.0, 1.0])))
    assert grid.section("axial", "SA") == "axial"
    assert slice_place(grid, "axial", 2, "axial", (0.0, 0.0, 10.0)) == "S 10.0 mm"


def test_the_review_says_plane_and_index():
    parts = (SliceReport(0, True, 0.9, 0, 120.0, False), SliceReport(1, False, 0.9, 0, 0.0, False))
    report = Report("x", "m", "cpu", "fp32", 1.0, 2.0, "sagittal", 0.0, parts, ())
    assert slice_text(report, 0, 0.5, "slice 6", "short axis") == (
        "short axis slice 6: confidence 90 %, 1.2 cm²."
    )
    assert slice_text(report, 1, 0.5, "R 4.0 mm", "sagittal", 6) == (
        "sagittal R 4.0 mm: nothing found. Slice 6 of the file."
    )
    assert plane_text("oblique") == "oblique"
