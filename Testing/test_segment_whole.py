"""The parts that find a structure in the volume that it was drawn on: lattice, walker, propagation, cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from qnetseg.errors import Cancelled
from qnetseg.evaluation.metrics import dice
from qnetseg.evaluation.phantom import body_phantom
from qnetseg.segment import FeatureCache, SegmentOptions, delineation, segment_volume
from qnetseg.segment.delineation import _middle, delineate
from qnetseg.segment.descriptors import Basis, Descriptors, neighbourhoods
from qnetseg.segment.inference import Runner
from qnetseg.segment.lattice import Lattice, radius_mm
from qnetseg.segment.propagation import propagate
from qnetseg.segment.walker import Edges, conductances, walk
from qnetseg.volume import support_from_mask
from support.intensity_model import intensity_model

EXACT = SegmentOptions(device="cpu", precision="fp32", batch_size=4)


def lattice_system(edges, inside, outside):
    """Dense matrix and right side of the walker's normal equations, voxel by voxel."""
    shape, count = tuple(inside.shape), inside.numel()
    number = torch.arange(count).reshape(shape)
    matrix = torch.diag((inside + outside).flatten().double())
    for axis, weights in enumerate(edges):
        low = number.narrow(axis, 0, shape[axis] - 1).flatten()
        high = number.narrow(axis, 1, shape[axis] - 1).flatten()
        for a, b, weight in zip(low, high, weights.flatten().double(), strict=True):
            matrix[a, a] += weight
            matrix[b, b] += weight
            matrix[a, b] -= weight
            matrix[b, a] -= weight
    return matrix, inside.flatten().double()


def test_the_walker_solves_its_normal_equations():
    generator = torch.Generator().manual_seed(0)
    shape = (3, 4, 5)
    edges = conductances(torch.randn(shape, generator=generator), 2.0, 0.5, 0.7)
    inside, outside = (0.1 * torch.rand(shape, generator=generator) for _ in range(2))
    seeds, values = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    seeds[1] = True
    values[1, 1:3, 1:3] = 1
    matrix, right = lattice_system(edges, inside, outside)
    free, known = (~seeds).flatten(), values.flatten().double()
    solved = torch.linalg.solve(matrix[free][:, free], (right - matrix @ (known * seeds.flatten()))[free])
    found = walk(edges, inside, outside, seeds, values)
    assert torch.allclose(found.flatten()[free].double(), solved, atol=2e-3)
    assert torch.equal(found[1], values[1])


def test_conductances_are_low_over_edges_and_scaled_between_slices():
    image = torch.zeros(2, 2, 2)
    image[:, :, 1] = 3.0
    edges = conductances(image, 1.0, 0.5, 4.0)
    assert isinstance(edges, Edges) and torch.allclose(edges.slices, torch.tensor(4.0), atol=1e-3)
    assert torch.allclose(edges.rows, torch.tensor(1.0), atol=1e-3)
    assert torch.all(edges.columns < 1e-3) and torch.all(edges.columns > 0)


def test_a_walker_without_pull_stays_inside_the_edges_of_the_image():
    image = torch.zeros(5, 12, 12)
    image[:, 3:9, 3:9] = 1.0
    seeds, values = torch.zeros(image.shape, dtype=torch.bool), torch.zeros(image.shape)
    seeds[2], values[2, 3:9, 3:9] = True, 1.0
    nothing = torch.zeros_like(image)
    found = walk(conductances(image, 0.1, 1.0, 1.0), nothing, nothing, seeds, values) > 0.5
    assert torch.equal(found, image > 0.5)


@pytest.mark.parametrize(("thickness", "cell"), [(4, 1), (30, 2)])
def test_cells_are_as_fine_as_the_drawing_is_thin(thickness, cell):
    mask = np.zeros((1, 256, 256), bool)
    mask[0, 100 : 100 + thickness, 80:140] = True
    lattice = Lattice.around(mask, radius_mm(mask[0], 1.25), 1.25)
    assert lattice.cell == cell
    rows, columns = lattice.rows, lattice.columns
    assert rows.start <= 100 - 16 and rows.stop >= 100 + thickness + 16 and columns.stop <= 256
    assert (rows.stop - rows.start) % cell == (columns.stop - columns.start) % cell == 0


def test_a_lattice_gives_flat_images_back_and_nothing_outside():
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 0:20, 50:64] = True
    lattice = Lattice.around(mask, 4.0, 4.0)
    there = lattice.images(lattice.cells(torch.ones(2, 64, 64)))
    assert there.shape == (2, 64, 64) and float(there[:, :20, 50:].min()) == 1.0
    assert float(there[:, 40:, :30].max()) == 0.0


def test_a_radius_is_that_of_the_filled_outline():
    rows, columns = np.indices((101, 101)) - 50
    far = np.hypot(rows, columns)
    assert radius_mm(far <= 30, 2.0) == pytest.approx(60, rel=0.01)
    assert radius_mm((far <= 30) & (far > 20), 2.0) == pytest.approx(60, rel=0.01)


def moving_square(count=5, size=24):
    """Descriptors of a square that moves by a cell a slice, told apart by its features; the square."""
    truth = torch.zeros(count, size, size)
    for index in range(count):
        truth[index, 6 + index : 14 + index, 5:13] = 1
    features = torch.stack([truth, 1 - truth], dim=1)
    return Descriptors(features, torch.zeros(count, 9, size, size)), truth


def test_a_drawing_follows_what_it_resembles():
    descriptors, truth = moving_square()
    found = propagate(descriptors, {0: truth[0]}, torch.zeros_like(truth))
    assert torch.equal(found > 0.5, truth > 0.5)


def test_a_drawing_ends_where_nothing_resembles_it_and_does_not_come_back():
    descriptors, truth = moving_square()
    descriptors.features[2] = torch.tensor([0.0, 1.0])[:, None, None]
    found = propagate(descriptors, {0: truth[0]}, torch.zeros_like(truth))
    assert (found[1] > 0.5).any() and not (found[2:] > 0.5).any()


def test_evidence_from_elsewhere_may_overrule():
    descriptors, truth = moving_square()
    evidence = torch.zeros_like(truth)
    evidence[3] = -3.0
    found = propagate(descriptors, {0: truth[0]}, evidence)
    assert (found[2] > 0.5).any() and not (found[3] > 0.5).any()


def test_between_two_drawn_slices_the_nearer_one_counts_more():
    descriptors, truth = moving_square()
    blind = Descriptors(torch.ones_like(descriptors.features) / 2**0.5, descriptors.intensities)
    drawn = {0: torch.ones(24, 24), 4: torch.zeros(24, 24)}
    drawn[4][:2, :2] = 1
    found = propagate(blind, drawn, torch.zeros_like(truth))
    assert float(found[1].mean()) > float(found[3].mean())
    assert torch.equal(found[0], drawn[0]) and torch.equal(found[4], drawn[4])


def test_a_basis_keeps_what_varies():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 8, 8, generator=generator)
    units = Basis.of(torch.cat([features, torch.zeros(2, 5, 8, 8)], dim=1)).unit(
        torch.cat([features, torch.zeros(2, 5, 8, 8)], dim=1)
    )
    assert units.shape == (2, 8, 8, 8)
    assert torch.allclose(units.norm(dim=1), torch.ones(2, 8, 8), atol=1e-4)


def test_neighbourhoods_weigh_a_difference_by_its_square():
    first, second = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    difference = neighbourhoods(first, (4, 4)) - neighbourhoods(second, (4, 4))
    assert torch.allclose(difference.square().sum(dim=1), torch.tensor(0.36))


@pytest.fixture(scope="module")
def phantom():
    return body_phantom((12, 64, 60), (8.0, 4.0, 4.0))


def drawn_on(volume, truth, slices):
    mask = np.zeros_like(truth)
    mask[slices] = truth[slices]
    return support_from_mask(volume, mask, plane="axial", top_percent=0.0)


def test_a_second_run_on_the_same_volume_needs_no_encoder_and_gives_the_same(phantom, monkeypatch):
    volume, truth = phantom
    model, cache = intensity_model(), FeatureCache()
    one, two = drawn_on(volume, truth, [6]), drawn_on(volume, truth, [4, 7])
    segment_volume(one, volume, model, EXACT, cache=cache)
    expected = segment_volume(two, volume, model, EXACT)
    monkeypatch.setattr(Runner, "encode", lambda *_: pytest.fail("the encoder was asked again"))
    again = segment_volume(two, volume, model, EXACT, cache=cache)
    assert np.array_equal(again.mask, expected.mask)
    assert np.array_equal(again.confidence, expected.confidence)


def test_slices_beyond_the_structures_end_are_encoded_once_another_drawing_needs_them(monkeypatch):
    volume, truth = body_phantom((60, 64, 60), (2.0, 4.0, 4.0))
    model, cache, far = intensity_model(), FeatureCache(), np.roll(truth, 15, axis=0)
    expected = segment_volume(drawn_on(volume, far, [45]), volume, model, EXACT)
    encode, seen = Runner.encode, []
    monkeypatch.setattr(
        Runner, "encode", lambda self, images, how: seen.append(len(images)) or encode(self, images, how)
    )
    segment_volume(drawn_on(volume, truth, [30]), volume, model, EXACT, cache=cache)
    first = sum(seen)
    assert truth.any(axis=(1, 2)).sum() <= first < 60
    later = segment_volume(drawn_on(volume, far, [45]), volume, model, EXACT, cache=cache)
    assert first < sum(seen) <= 60
    assert np.array_equal(later.confidence, expected.confidence)


def test_another_network_or_volume_is_encoded_anew():
    cache, built = FeatureCache(), []
    network, other = intensity_model().network, intensity_model().network
    for net, key in ((network, (1,)), (network, (1,)), (other, (1,)), (other, (2,))):
        cache.get(net, key, lambda: built.append(1) or torch.zeros(1))
    assert len(built) == 3


def test_cancelling_is_noticed_behind_the_encoder(phantom):
    volume, truth = phantom
    asked = []

    def cancel():
        asked.append(1)
        return len(asked) > 4  # three batches of slices come before

    with pytest.raises(Cancelled):
        segment_volume(drawn_on(volume, truth, [6]), volume, intensity_model(), EXACT, cancel=cancel)


def test_cancelling_is_noticed_within_a_step():
    def check():
        raise Cancelled("The segmentation was cancelled.")

    descriptors, truth = moving_square()
    with pytest.raises(Cancelled):
        propagate(descriptors, {0: truth[0]}, torch.zeros_like(truth), check=check)
    edges, seeds = conductances(truth, 1.0, 1.0, 1.0), torch.zeros(truth.shape, dtype=torch.bool)
    seeds[0] = True
    with pytest.raises(Cancelled):
        walk(edges, torch.zeros_like(truth), torch.zeros_like(truth), seeds, truth, check)


def test_a_correction_counts_around_the_slice_that_it_is_drawn_on(phantom):
    volume, truth = phantom
    model = intensity_model()
    half = truth.copy()
    half[:, :, truth.any(axis=(0, 1)).nonzero()[0].mean().astype(int) :] = 0
    first = segment_volume(drawn_on(volume, truth, [6]), volume, model, EXACT).mask
    mask = np.zeros_like(truth)
    mask[6], mask[8] = truth[6], half[8]
    support = support_from_mask(volume, mask, plane="axial", top_percent=0.0)
    corrected = segment_volume(support, volume, model, EXACT).mask
    assert np.array_equal(corrected[8], half[8]) and np.array_equal(corrected[6], truth[6])
    assert dice(corrected[7], first[7]) < 1.0 or not np.array_equal(corrected[9], first[9])


def test_thin_and_thick_slices_of_one_body_give_the_same_volume():
    found = []
    for count, mm in ((12, 8.0), (24, 4.0)):
        volume, truth = body_phantom((count, 64, 60), (mm, 4.0, 4.0))
        result = segment_volume(drawn_on(volume, truth, [count // 2]), volume, intensity_model(), EXACT)
        assert dice(result.mask, truth) > 0.8
        found.append(result.report.volume_ml)
    assert found[0] == pytest.approx(found[1], rel=0.15)


def test_a_drawing_that_fills_its_slice_is_taken():
    images = torch.zeros(3, 32, 32)
    descriptors = Descriptors(torch.ones(3, 1, 8, 8), neighbourhoods(images, (8, 8)))
    found = delineate(images, {1: np.ones((32, 32), np.float32)}, descriptors, (5.0, 1.0))
    assert found.shape == images.shape and torch.isfinite(found).all() and float(found[1].min()) == 1.0


def test_another_patient_is_segmented_from_its_surest_slice(phantom):
    volume, truth = phantom
    other, other_truth = body_phantom((10, 70, 64), (9.0, 4.0, 4.0), seed=5)
    support = drawn_on(volume, truth, [6])
    whole = segment_volume(support, other, intensity_model(), EXACT)
    alone = segment_volume(support, other, intensity_model(), replace(EXACT, whole=False))
    assert dice(whole.mask, other_truth) > max(0.8, dice(alone.mask, other_truth) - 0.02)
    assert not any(entry.drawn for entry in whole.report.slices)
    assert all(entry.score < 0.9999 for entry in whole.report.slices if entry.occupied)


def test_what_is_drawn_near_one_end_of_a_long_structure_is_found_up_to_the_other():
    rows, columns = np.indices((48, 48)) - 24
    reach = 15 * np.sqrt(1 - (np.linspace(-1, 1, 23)[1:-1]) ** 2)  # pixels, of a spindle of 21 slices
    truth = np.stack([np.hypot(rows, columns) <= radius for radius in reach])
    noise = np.random.default_rng(0).normal(0, 0.3, truth.shape)
    images = torch.from_numpy(truth + noise).float()
    blind = Descriptors(torch.zeros(21, 2, 12, 12), torch.zeros(21, 9, 12, 12))
    drawn = {2: truth[2].astype(np.float32)}
    found = delineate(images, drawn, blind, (6.0, 3.0), without=("propagation",)).numpy() > 0.5
    assert dice(found[17], truth[17]) > 0.8


@pytest.mark.parametrize(
    ("areas", "drawn", "expected"),
    [
        ([0, 90, 100, 108, 70, 0], [2], [2]),  # hardly larger
        ([50, 100, 140, 180, 200, 150, 0], [1], [1, 4]),  # it grows to its middle
        ([50, 100, 90, 200, 220, 0], [1], [1]),  # the area jumps: another structure
        ([50, 100, 60, 80, 110, 150, 0], [1], [1]),  # it had ended in between
        ([390, 430, 427, 415, 560, 650, 0], [2], [2]),  # it had reached its middle, and grows once more
        ([150, 130, 100, 70, 100, 0], [2, 4], [0, 2, 4]),  # outside of two drawn slices
    ],
)
def test_the_middle_is_where_the_radius_grows_to_less_and_less(areas, drawn, expected):
    assert _middle(areas, drawn) == expected


def test_a_drawing_that_the_propagation_loses_leaves_numbers(monkeypatch):
    mask = np.zeros((32, 32), np.float32)
    mask[12:20, 12:20] = 1
    images = torch.randn(5, 32, 32, generator=torch.Generator().manual_seed(0))
    blind = Descriptors(torch.zeros(5, 2, 16, 16), torch.zeros(5, 9, 16, 16))
    monkeypatch.setattr(delineation, "propagate", lambda *_: torch.zeros(5, 16, 16))
    assert torch.isfinite(delineate(images, {2: mask}, blind, (6.0, 3.0))).all()
