"""A drawing that is propagated through its own volume, by a network that needs no training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from qnetseg.errors import Cancelled
from qnetseg.segment import SegmentOptions
from qnetseg.segment.drawn import MOST_WINDOWS, propagate
from qnetseg.segment.evidence import Appearance, Scene, evidence
from qnetseg.segment.job import Job
from qnetseg.segment.propagator import Propagator
from qnetseg.segment.scenes import Known, Scenes
from qnetseg_lab.evaluation.metrics import dice
from support.walker_network import walker_model

SPACING = (2.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def propagator():
    return Propagator(walker_model().network, SegmentOptions(device="cpu", precision="fp32"))


def tube(count=60, shape=(96, 96), radius=9, first=0, last=None, drift=0.0, seed=0):
    """A bright tube along the slices, and its mask."""
    rows, columns = np.indices(shape)
    last = count if last is None else last
    mask = np.zeros((count, *shape), bool)
    for index in range(first, last):
        middle = shape[0] / 2 + drift * (index - count / 2)
        mask[index] = np.hypot(rows - middle, columns - shape[1] / 2) <= radius
    noise = np.random.default_rng(seed).normal(0, 0.05, mask.shape)
    return (mask + noise).astype(np.float32), mask


def test_a_long_tube_is_followed_to_its_end_by_windows_that_move_aside(propagator):
    image, truth = tube(count=120, drift=0.25, first=4, last=118)
    told = []
    job = Job(progress=lambda *event: told.append(event))
    found = propagate(propagator, image, SPACING, Known({60: truth[60]}), job)
    assert found.probability.shape == image.shape and found.probability.dtype == np.float32
    assert dice(found.probability > 0.5, truth) > 0.85
    assert len(told) >= 3 and all(stage == "slices" and total == 120 for _, total, stage in told)


def cone(count=24, shape=(96, 96)):
    """A bright body that grows from slice to slice, and its mask."""
    rows, columns = np.indices(shape)
    far = np.hypot(rows - 48, columns - 48)
    mask = np.stack([far <= 5 + 1.2 * index for index in range(count)])
    noise = np.random.default_rng(0).normal(0, 0.05, mask.shape)
    return (mask + noise).astype(np.float32), mask


def test_a_much_larger_slice_that_was_found_joins_the_drawn_one(propagator, monkeypatch):
    image, truth = cone()
    known = []
    init = Scenes.__init__

    def watched(self, slices, spacing, drawing):
        known.append(sorted(drawing.masks))
        init(self, slices, spacing, drawing)

    monkeypatch.setattr(Scenes, "__init__", watched)
    found = propagate(propagator, image, (4.0, 1.0, 1.0), Known({4: truth[4]}))
    assert known[0] == [4] and len(known) > 1 and known[1][0] == 4 and known[1][1] > 10
    assert dice(found.probability > 0.5, truth) > 0.8
    known.clear()
    propagate(propagator, image, (4.0, 1.0, 1.0), Known({23: truth[23]}))
    assert known == [[23]]


def test_a_hint_that_lies_beside_the_structure_is_moved_onto_it(propagator):
    image, truth = tube(count=24, first=4, last=20)
    near = np.roll(truth, (2, 4), axis=(0, 2)).astype(np.float32)
    soft = ndimage.gaussian_filter(near, (0, 3, 3))
    found = propagate(propagator, image, SPACING, Known({}, hint=soft))
    assert dice(near > 0.5, truth) < 0.75 < 0.8 < dice(found.probability > 0.5, truth)


@pytest.mark.parametrize("hinted", [slice(50, 70), slice(4, 118)])
def test_windows_that_move_on_from_a_hint_go_by_what_was_found(propagator, hinted):
    image, truth = tube(count=120, first=4, last=118)
    hint = np.zeros(truth.shape, np.float32)
    hint[hinted] = truth[hinted]
    hint[50:70] = ndimage.gaussian_filter(truth[50:70].astype(np.float32), (0, 2, 2))
    found = propagate(propagator, image, SPACING, Known({}, hint=hint)).probability > 0.5
    reached = slice(max(4, hinted.start - 4), hinted.stop)
    assert dice(found[reached], truth[reached]) > 0.9


def test_a_hint_beyond_a_gap_is_reached(propagator):
    image, truth = tube(count=120)
    truth[40:80] = False
    image[40:80] = image[40:80].min()
    found = propagate(propagator, image, SPACING, Known({}, hint=truth.astype(np.float32)))
    assert dice(found.probability > 0.5, truth) > 0.9


def test_slices_between_planes_are_interpolated(propagator):
    image, truth = tube(count=80, radius=30)
    found = propagate(propagator, image, (1.0, 1.0, 1.0), Known({40: truth[40]}))
    assert dice(found.probability > 0.5, truth) > 0.9
    assert (found.trust.presence[5:75] > 0.5).all()


def test_all_drawn_slices_are_looked_at_however_far_apart(propagator):
    image, truth = tube(count=150, first=0, last=20)
    image[120:140], truth[120:140] = image[0:20], truth[0:20]
    found = propagate(propagator, image, SPACING, Known({10: truth[10], 130: truth[130]}))
    assert (found.probability[130] > 0.5).any() and (found.probability[126] > 0.5).any()


def test_nothing_is_found_where_something_else_is_known(propagator):
    image, truth = tube(count=24)
    others = truth.copy()
    others[:16] = False
    found = propagate(propagator, image, SPACING, Known({8: truth[8]}, others))
    assert not (found.probability[18:] > 0.5).any() and (found.probability[10] > 0.5).any()


def test_a_drawing_that_fills_its_slice_and_one_of_a_single_pixel_are_taken(propagator):
    image, truth = tube(count=8)
    whole = np.ones(truth.shape[1:], bool)
    assert np.isfinite(propagate(propagator, image, SPACING, Known({3: whole})).probability).all()
    dot = np.zeros_like(whole)
    dot[48, 48] = True
    assert np.isfinite(propagate(propagator, image, SPACING, Known({3: dot})).probability).all()


@pytest.mark.parametrize("shape", [(1, 40, 40), (2, 3, 5), (5, 1, 64), (64, 64, 2)])
def test_volumes_of_any_shape_are_taken(propagator, shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mask = np.zeros(shape[1:], bool)
    mask[: (shape[1] + 1) // 2, : (shape[2] + 1) // 2] = True
    found = propagate(propagator, image, SPACING, Known({0: mask}))
    assert found.probability.shape == shape and np.isfinite(found.probability).all()


def test_a_run_can_be_cancelled_between_windows(propagator):
    image, truth = tube(count=120)
    looks = []
    job = Job(progress=lambda *event: looks.append(event), cancel=lambda: len(looks) >= 1)
    with pytest.raises(Cancelled):
        propagate(propagator, image, SPACING, Known({60: truth[60]}), job)
    assert len(looks) == 1 < MOST_WINDOWS


def test_the_same_drawing_gives_the_same_answer_twice(propagator):
    image, truth = tube(count=40)
    first, second = (
        propagate(propagator, image, SPACING, Known({20: truth[20]})).probability for _ in range(2)
    )
    assert np.array_equal(first, second)


def scene(batch=1, depth=4, side=16):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, depth, side, side, generator=generator)
    drawing = torch.zeros_like(image)
    drawing[:, 1] = -1
    drawing[:, 1, 4:12, 4:12] = 1
    image[drawing > 0] += 4
    drawn = torch.zeros(batch, depth, dtype=torch.bool)
    drawn[:, 1] = True
    distance = torch.tensor([[2.0, 0, 2, 4]]).expand(batch, -1)
    gap, radius = torch.full((batch,), 2.0), torch.full((batch,), 4.5)
    return Scene(image, drawing, drawn, distance, torch.ones_like(image), gap, radius)


def test_the_evidence_does_not_depend_on_the_unit_of_the_intensities():
    one = scene()
    other = Scene(**{**vars(one), "image": 40 * one.image - 1000})
    seen = evidence(one, Appearance.of(one))
    # Rounding moves a few voxels to a neighbouring bin of the histogram.
    assert (seen - evidence(other, Appearance.of(other))).abs().mean() < 1e-3
    assert torch.isfinite(seen).all() and float(seen.abs().max()) <= 4


def test_the_odds_are_high_where_intensities_are_like_the_drawing_s():
    one = scene()
    odds = evidence(one, Appearance.of(one))[:, 4]
    inside = one.drawing > 0
    assert odds[inside].mean() > 0.5 > 0 > odds[one.drawing < 0].mean()


def test_windows_of_a_batch_are_described_each_on_its_own():
    both = scene(batch=2)
    both.image[1] *= 3
    alone = [
        Scene(**{key: None if value is None else value[n : n + 1] for key, value in vars(both).items()})
        for n in range(2)
    ]
    together = evidence(both, Appearance.of(both))
    for number, one in enumerate(alone):
        assert torch.allclose(evidence(one, Appearance.of(one))[0], together[number], atol=1e-3)


def test_a_second_look_starts_from_the_first_one():
    one = scene()
    prior = torch.full_like(one.image, 0.25)
    again = Scene(**{**vars(one), "prior": prior})
    seen = evidence(again, Appearance.of(one))
    assert (seen[:, 0] == -0.5).all() and (seen[:, 8] == 1).all()
    assert (evidence(one, Appearance.of(one))[:, 8] == 0).all()


def test_spacing_of_double_precision_is_taken(propagator):
    image, truth = tube(count=20, radius=10)
    spacing = tuple(np.array([2.0, 1.0, 1.0]))
    found = propagate(propagator, image, spacing, Known({10: truth[10]}))
    single = propagate(propagator, image, (2.0, 1.0, 1.0), Known({10: truth[10]}))
    assert np.array_equal(found.probability, single.probability)
