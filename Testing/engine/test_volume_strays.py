"""Drawn slices told from clicks and from strips of a tilted drawing; labels of a mask stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg.errors import MaskError
from qnetseg.segment import segment_volume
from qnetseg.segment.engine import slices_text
from qnetseg.volume import SupportSet, Volume, support_from_mask
from qnetseg_lab.evaluation.body_phantom import body_phantom
from support.walker_network import simple_networks

SHAPE = (12, 40, 44)
SPACING = (6.0, 2.0, 2.0)
CENTRE = (5.5, 19.0, 22.0)


def volume(shape=SHAPE) -> Volume:
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Volume(noise, np.diag([*SPACING[::-1], 1.0]), "v")


def ball(radius: float = 28.0) -> np.ndarray:
    """(K, J, I) bool: a ball of that radius in mm."""
    grid = np.indices(SHAPE)
    return sum(((grid[a] - CENTRE[a]) * SPACING[a] / radius) ** 2 for a in range(3)) < 1


def only(mask: np.ndarray, *slices: int) -> np.ndarray:
    kept = np.zeros_like(mask)
    kept[list(slices)] = mask[list(slices)]
    return kept


def support_of(mask: np.ndarray) -> SupportSet:
    """Index 0 of the phantom's arrays is the lowest axial slice."""
    return support_from_mask(volume(mask.shape), mask, plane="axial")


def drawn(support: SupportSet) -> list[int]:
    return [part.index for part in support.slices if part.finished]


@pytest.mark.parametrize("where", [(1, 3, 3), (1, 19, 22), (6, 19, 22), (4, 2, 40), (11, 19, 22)])
@pytest.mark.parametrize("size", [1, 2])
def test_a_click_on_another_slice_is_a_stray(where, size):
    mask = only(ball(), 5)
    k, j, i = where
    mask[k, j : j + size, i : i + size] = True
    support = support_of(mask)
    assert (drawn(support), support.strays) == ([5], (k,))


@pytest.mark.parametrize("size", [3, 5])
def test_a_stamp_of_the_brush_beside_the_structure_is_a_stray(size):
    mask = only(ball(), 5)
    mask[9, 1 : 1 + size, 1 : 1 + size] = True
    assert support_of(mask).strays == (9,)


@pytest.mark.parametrize("radius", [8.0, 13.0, 20.0, 28.0, 32.9])
def test_a_structure_that_is_drawn_everywhere_has_no_strays(radius):
    support = support_of(ball(radius))
    assert support.strays == () and drawn(support) == np.flatnonzero(ball(radius).any((1, 2))).tolist()


def test_first_middle_and_last_slice_are_drawn():
    support = support_of(only(ball(30.0), 1, 5, 10))
    assert support.strays == () and drawn(support) == [1, 5, 10]


def test_clicks_do_not_decide_on_the_plane():
    """A sagittal slice of a volume of three axial ones, and clicks on two more sagittal slices."""
    mask = np.zeros((3, 40, 44), bool)
    mask[:, 5:35, 22] = True
    mask[1, 3, 2] = mask[2, 30, 40] = True
    support = support_from_mask(volume(mask.shape), mask)
    assert support.plane == "sagittal" and len(support.slices) == 1 and len(support.strays) == 2


def test_two_thin_drawings_of_one_pixel_are_drawn():
    mask = np.zeros(SHAPE, bool)
    mask[2, 5, 5] = mask[8, 20, 30] = True
    assert drawn(support_of(mask)) == [2, 8]


def tilted(degrees: float, axis: int = 1, radius: float = 28.0) -> np.ndarray:
    """What is painted on one slice of a view that is turned by `degrees`: each column of voxels once."""
    grid = np.indices(SHAPE)
    along = (grid[axis] - CENTRE[axis]) * SPACING[axis]
    height = np.rint(CENTRE[0] + 0.3 + along * np.tan(np.radians(degrees)) / SPACING[0])
    return ball(radius) & (grid[0] == height)


@pytest.mark.parametrize("degrees", [-40, -20, -7, 7, 12, 20, 30])
@pytest.mark.parametrize("axis", [1, 2])
def test_strips_of_a_tilted_drawing_are_one_rough_slice(degrees, axis):
    mask = tilted(degrees, axis)
    support = support_of(mask)
    (part,) = support.slices
    assert not part.finished and part.index in (5, 6)
    assert part.mask.sum() == mask.any(axis=0).sum()


@pytest.mark.parametrize("shift", [3, 6, 9, 12])
def test_a_vessel_that_runs_obliquely_is_no_tilted_drawing(shift):
    mask = np.zeros(SHAPE, bool)
    rows, columns = np.indices(SHAPE[1:])
    for k in range(3, 7):
        mask[k] = (rows - 20) ** 2 + (columns - 4 - shift * (k - 3)) ** 2 < 4**2
    support = support_of(mask)
    assert drawn(support) == [3, 4, 5, 6] and support.strays == ()


@pytest.mark.parametrize("steep", [1, 2])
def test_a_thin_sheet_that_is_drawn_slice_by_slice_is_drawn(steep):
    """A sheet across the slices, steeper than any view of them."""
    grid = np.indices(SHAPE)
    sheet = (grid[1] // steep == grid[0] + 4) & (np.abs(grid[2] - 22) < 15)
    support = support_of(sheet)
    assert drawn(support) == list(range(SHAPE[0])) and support.strays == ()


def test_strays_and_rough_slices_survive_saving(tmp_path):
    mask = tilted(20)
    mask[0, 0, 0] = True
    support_of(mask).save(tmp_path / "s.npz")
    found = SupportSet.load(tmp_path / "s.npz")
    assert found.strays == (0,) and [part.finished for part in found.slices] == [False]


def test_a_slice_with_a_click_can_be_said_to_be_empty():
    mask = only(ball(), 5)
    mask[9, 1, 1] = True
    support = support_from_mask(volume(), mask, plane="axial", not_here=[9])
    assert [(part.index, bool(part.mask.any())) for part in support.slices] == [(5, True), (9, False)]


def test_labels_are_not_merged():
    mask = only(ball(), 5).astype(np.uint8)
    mask[5, 18] *= 2
    with pytest.raises(MaskError, match="several labels, from 1 to 2") as caught:
        support_of(mask)
    assert "mask == 1" in caught.value.advice
    assert len(support_of((mask > 0) * 255).slices) == 1


@pytest.mark.parametrize("kind", ["U1", "O", "c8"])
def test_a_drawing_is_made_of_numbers(kind):
    with pytest.raises(MaskError, match="not a real number"):
        support_of(only(ball(), 5).astype(kind))


@pytest.mark.parametrize("kind", ["stray", "tilted", "small"])
def test_the_engine_warns_and_does_not_count_the_slice_as_drawn(kind):
    query, organ = body_phantom((10, 64, 64), (8.0, 4.0, 4.0), seed=1)
    middle = int(organ.sum((1, 2)).argmax())
    mask = np.zeros(organ.shape, bool)
    if kind == "tilted":
        rows = np.flatnonzero(organ[middle].any(axis=1))
        for row in rows:
            mask[middle + (row > rows.mean()), row] = organ[middle, row]
    else:
        mask[middle] = organ[middle] > 0
        size = 1 if kind == "stray" else round((0.06 * mask.sum()) ** 0.5)
        j, i = (int(np.mean(part)) for part in np.nonzero(organ[middle]))
        mask[middle + 3, j : j + size, i : i + size] = True
    result = segment_volume(support_from_mask(query, mask, plane="axial"), query, simple_networks())
    said = " ".join(result.report.warnings)
    counted = [part.index for part in result.report.slices if part.drawn]
    words = {"stray": "only a few voxels", "tilted": "runs across", "small": "Very little is drawn"}
    assert words[kind] in said
    assert counted == {"stray": [middle], "tilted": [], "small": [middle, middle + 3]}[kind]
    assert all(
        part.score <= 0.5 for part in result.report.slices if kind == "tilted" and part.index == middle
    )


@pytest.mark.parametrize("flipped", [False, True])
def test_warnings_name_slices_as_the_file_counts_them(flipped):
    query, organ = body_phantom((10, 64, 64), (8.0, 4.0, 4.0), seed=1)
    middle = int(organ.sum((1, 2)).argmax())
    mask = np.zeros(organ.shape, bool)
    mask[middle] = organ[middle] > 0
    mask[middle + 3, 30, 30] = True
    if flipped:  # the same voxels, counted from the other end
        turn = np.diag([1.0, 1.0, -1.0, 1.0])
        turn[2, 3] = len(mask) - 1
        query = Volume(query.array[::-1].copy(), query.ijk_to_ras @ turn, query.name)
        mask = mask[::-1]
    (stray,) = (index for index in range(len(mask)) if mask[index].sum() == 1)
    result = segment_volume(support_from_mask(query, mask, plane="axial"), query, simple_networks())
    assert f"On slice {stray} only a few" in " ".join(result.report.warnings)


def test_slices_of_a_file_that_is_not_known_are_counted():
    assert [slices_text(indices, None) for indices in ((4,), (4, 7))] == ["one slice", "2 slices"]
