"""Two bodies laid over each other, and a structure that is found in the right place with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from qnetseg.errors import Cancelled, InputError
from qnetseg.segment import SegmentOptions, bending, segment_volume
from qnetseg.segment.alignment import Body, Overlay, place
from qnetseg.segment.anatomy import Comparison, turned
from qnetseg.segment.descriptors import Descriptors
from qnetseg.volume import support_from_mask
from qnetseg_lab.evaluation.body_phantom import body_phantom
from support.walker_network import simple_networks

EXACT = SegmentOptions(device="cpu", precision="fp32", batch_size=4)
CELLS = 32


def landscape():
    """(1, 8, 16, 40, 40) smooth random features of a large body."""
    coarse = torch.randn(1, 8, 7, 12, 12, generator=torch.Generator().manual_seed(2))
    return F.interpolate(coarse, (16, 40, 40), mode="trilinear", align_corners=True)


def body(first, size, scale=1.0):
    """A part of the landscape from a corner (planes, rows, columns) on, `scale` of its cells to a cell."""
    grid = torch.stack(
        torch.meshgrid(*(torch.arange(n).float() for n in size), indexing="ij"), dim=-1
    ) * scale + torch.tensor(first)
    at = (2 * grid / torch.tensor([15.0, 39.0, 39.0]) - 1).flip(-1)[None]
    features = F.grid_sample(landscape(), at, align_corners=True)[0].movedim(0, 1)
    around = torch.zeros(size[0], 9, *size[1:])
    around[:, 4] = 1.0  # all of it is body
    return Body.of(Descriptors(F.normalize(features, dim=1), 0.2 * around), 5.0 * scale, 5.0 * scale)


# Of 5 mm cells, or of smaller ones.
@pytest.mark.parametrize(("first", "scale"), [((3.0, 4.0, 6.0), 1.0), ((2.0, 3.0, 2.0), 0.9)])
def test_a_body_is_found_where_it_lies(first, scale):
    query, support = body(first, (8, CELLS, CELLS), scale), body((0.0, 0.0, 0.0), (16, 40, 40))
    support = Body(support.places[:, :, :CELLS, :CELLS], support.inside[:, :8, :8], (5.0, 5.0, 5.0))
    overlay = Overlay.of(query, support)
    assert overlay.scale.tolist() == pytest.approx([1.0] * 3, abs=0.1)
    pixels = torch.zeros(16, 2 * CELLS, 2 * CELLS)
    pixels[4:9, 20:40, 24:44] = 1  # of two pixels to a cell
    placed = place(overlay, pixels)
    assert overlay.covered == pytest.approx((first[0], first[0] + 7 * scale), abs=1.0)
    assert placed.similarity > 0.8
    found = placed.finer().found(2 * CELLS) > 0.5
    expected = torch.zeros_like(found)
    lo, hi = (
        ((torch.tensor([20.0, 24.0]) / 2 - torch.tensor(first)[1:]) / scale * 2).round().int(),
        20 / scale,
    )
    expected[
        max(0, round((4 - first[0]) / scale)) : round((9 - first[0]) / scale),
        max(0, int(lo[0])) : round(float(lo[0]) + hi),
        max(0, int(lo[1])) : round(float(lo[1]) + hi),
    ] = True
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.7


@pytest.mark.parametrize("planes", [1, 2])
def test_a_few_planes_are_laid_into_a_body(planes):
    support = body((0.0, 0.0, 0.0), (16, CELLS, CELLS))
    structure = torch.zeros(16, CELLS, CELLS)
    structure[3:10, 8:20, 8:20] = 1
    overlay = Overlay.of(body((6.0, 0.0, 0.0), (planes, CELLS, CELLS)), support)
    found = place(overlay, structure).finer().found(CELLS)
    assert overlay.covered[0] == pytest.approx(6.0, abs=1.0)
    assert found.shape == (planes, CELLS, CELLS) and bool((found[:, 10:18, 10:18] > 0.5).all())


def test_a_structure_that_lies_elsewhere_than_the_rest_of_the_body_says_is_found_by_its_surroundings():
    support = body((0.0, 0.0, 0.0), (8, CELLS, CELLS))
    places = support.places.clone()
    places[:, :, 2:20, 2:20] = support.places[:, :, 8:26, 8:26]  # moved by six cells
    query = Body(places, support.inside, support.spacing)
    structure = torch.zeros(8, CELLS, CELLS)
    structure[2:6, 13:19, 13:19] = 1
    overlay = Overlay.of(query, support)
    placed = place(replace(overlay, shift=torch.zeros(3), scale=torch.ones(3)), structure)
    expected = torch.roll(structure, (-6, -6), (1, 2)) > 0.5
    found = placed.finer().found(CELLS) > 0.5
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.7


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 4), (2, 1, 7), (4, 9, 3)])
def test_what_a_displacement_costs_is_how_unlike_the_places_are_around(shape):
    planes, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    query = F.normalize(torch.randn(planes, 6, rows, columns, generator=generator), dim=1)
    support = F.normalize(torch.randn(planes + 2, 6, rows + 4, columns + 4, generator=generator), dim=1)
    at = bending.places_of(query) + torch.tensor([1.0, 2.0, 2.0])
    costs = bending._costs(query, support, at, (1, 2, 2)).unflatten(-1, (rows, columns))
    moves = list(product((0, 1, 2), range(5), range(5)))
    assert len(costs) == len(moves)
    for cost, (plane, row, column) in zip(costs, moves, strict=True):
        there = support[plane : plane + planes, :, row : row + rows, column : column + columns]
        alike = (query * there).sum(dim=1)[None, None]
        cells = [3 if size >= 3 else 1 for size in shape]
        for _ in range(2):
            alike = F.avg_pool3d(alike, cells, 1, [n // 2 for n in cells], count_include_pad=False)
        assert torch.allclose(cost, -alike[0, 0], atol=1e-5)


def test_nothing_but_air_is_laid_over_as_it_lies():
    air = Body(torch.zeros(3, 4, 8, 8), torch.zeros(3, 2, 2, dtype=torch.bool), (5.0, 5.0, 5.0))
    overlay = Overlay.of(air, air)
    assert overlay.scale.tolist() == [1, 1, 1] and overlay.shift.tolist() == [0, 0, 0]
    structure = torch.zeros(3, 16, 16)
    structure[1, 4:10, 4:10] = 1
    assert torch.isfinite(place(overlay, structure).finer().found(16)).all()


@pytest.fixture(scope="module")
def patients():
    """A volume, the support drawn on it, another patient's volume and its truth."""
    volume, truth = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))
    mask = np.zeros_like(truth)
    mask[6] = truth[6]
    return (
        volume,
        support_from_mask(volume, mask, plane="axial"),
        *body_phantom((10, 70, 64), (9.0, 4.0, 4.0), seed=5),
    )


def test_the_volume_that_was_drawn_on_helps_to_find_the_place(patients):
    drawn_on, support, query, truth = patients
    result = segment_volume(support, query, simple_networks(), EXACT, drawn_on=drawn_on)
    found = result.mask > 0
    assert 2 * (found & (truth > 0)).sum() / (found.sum() + (truth > 0).sum()) > 0.8
    again = segment_volume(support, query, simple_networks(), EXACT, drawn_on=drawn_on)
    assert np.array_equal(result.mask, again.mask)


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (0, [0, -20, 20]),
        (20, [0, -20, 20, 40]),
        (60, [0, -20, 20, 40, 60]),
        (-40, [0, -20, 20, -40, -60]),
    ],
)
def test_a_patient_is_turned_as_long_as_that_makes_both_more_similar(patients, monkeypatch, best, tried):
    drawn_on, support, query, _ = patients
    turns: list[int] = []
    overlay = Comparison.overlay

    def asked(self, turn, *where):
        turns.append(turn)
        return overlay(self, turn, *where)

    def judged(*where):
        return replace(place(*where), similarity=-10 * abs(turns[-1] - best))

    monkeypatch.setattr(Comparison, "overlay", asked)
    monkeypatch.setattr("qnetseg.segment.anatomy.place", judged)
    segment_volume(support, query, simple_networks(), EXACT, drawn_on=drawn_on)
    assert turns == tried


@pytest.mark.parametrize("degrees", [-30, 90])
def test_a_patient_that_lies_turned_is_found(patients, degrees):
    drawn_on, support, *_ = patients
    low = float(drawn_on.array.min())
    other = replace(drawn_on, array=turned(drawn_on.array, degrees, low))
    result = segment_volume(support, other, simple_networks(), EXACT, drawn_on=drawn_on)
    own = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))[1] > 0
    expected, found = turned(own.astype(np.float32), degrees) > 0.5, result.mask > 0
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.8


def test_a_volume_that_was_not_drawn_on_is_refused(patients):
    _, support, query, _ = patients
    with pytest.raises(InputError, match="not drawn on the volume"):
        segment_volume(support, query, simple_networks(), EXACT, drawn_on=query)


def test_it_can_be_cancelled_while_bodies_are_laid_over_each_other(patients, monkeypatch):
    drawn_on, support, query, _ = patients

    def cancelled(*_):
        raise Cancelled("enough")

    monkeypatch.setattr("qnetseg.segment.anatomy.place", cancelled)
    with pytest.raises(Cancelled):
        segment_volume(support, query, simple_networks(), EXACT, drawn_on=drawn_on)
