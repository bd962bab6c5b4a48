"""Confidence of slices: the way back, its features, and the fit of their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qnetseg.model.propagation import Propagated, PropagationConfig
from qnetseg.segment.confidence import (
    FEATURES,
    Trust,
    agreement,
    expected,
    expected_dice,
    expected_overlap,
    features,
    way_back,
    way_back_dice,
)
from qnetseg.segment.evidence import Scene
from qnetseg.training.confidence import fit_confidence
from qnetseg.training.synthesis import WindowRecipe, make_batch
from support.walker_network import WalkerNet


def scene(depth=8, side=16):
    image = torch.zeros(1, depth, side, side)
    drawing, drawn = torch.zeros_like(image), torch.zeros(1, depth, dtype=torch.bool)
    drawing[0, 3] = -1
    drawing[0, 3, 4:12, 4:12] = 1
    drawn[0, 3] = True
    distance = (torch.arange(depth).float() - 3).abs()[None] * 2
    return Scene(
        image, drawing, drawn, distance, torch.ones_like(image), torch.tensor([2.0]), torch.tensor([4.5])
    )


def test_on_the_way_back_found_planes_on_both_sides_take_the_drawing_s_place():
    one = scene()
    found = torch.zeros_like(one.image)
    found[0, 1:7, 4:12, 4:12] = 0.9
    back = way_back(one, found)
    assert torch.nonzero(back.drawn[0])[:, 0].tolist() == [2, 5]
    assert not back.drawing[0, 3].any() and float(back.drawing[0, 5].max()) == pytest.approx(0.64)
    assert back.distance[0].tolist() == [4, 2, 0, 2, 2, 0, 2, 4]


def test_where_nothing_was_found_the_drawing_stays():
    one = scene()
    back = way_back(one, torch.zeros_like(one.image))
    assert torch.equal(back.drawing, one.drawing) and torch.equal(back.drawn, one.drawn)


def test_agreement_is_one_for_equals_and_for_two_times_nothing():
    one = torch.zeros(1, 3, 8, 8)
    one[0, 0, 2:6, 2:6] = 1
    other = one.clone()
    other[0, 1, 2:6, 2:6] = 1
    assert agreement(one, other)[0].tolist() == pytest.approx([1, 1 / 17, 1])


def test_the_way_back_is_compared_with_what_was_drawn():
    one = scene()
    back = torch.zeros_like(one.image)
    assert float(way_back_dice(back, one)) < 0.1
    back[0, 3, 4:12, 4:12] = 0.8
    assert float(way_back_dice(back, one)) == pytest.approx(1)


def test_expected_dice_is_one_for_certain_slices_and_falls_with_doubt():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    assert expected_overlap(mask.astype(np.float32), mask, 16) == 1
    assert expected_overlap(np.where(mask, 0.6, 0.3).astype(np.float32), mask, 16) < 0.75
    empty = np.zeros_like(mask)
    assert expected_overlap(np.zeros((8, 8), np.float32), empty, 16) == 1
    assert expected_overlap(np.full((8, 8), 0.4, np.float32), empty, 16) < 0.5
    several = expected_dice(torch.rand(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), torch.full((2, 3), 16.0))
    assert several.shape == (2, 3)


def test_scores_follow_the_weights_for_found_and_for_empty_slices_apart():
    values = features(*(torch.tensor([0.9, 0.2]) for _ in range(5)))
    assert values.shape == (2, len(FEATURES))
    weights = [0.0] * 2 * len(FEATURES)
    weights[0], weights[len(FEATURES)] = 10.0, -10.0
    scores = expected(values, torch.tensor([True, False]), weights)
    assert scores[0] > 0.99 and scores[1] < 0.01


@pytest.mark.parametrize("weights", [(), (1.0,) * 12])
def test_a_slice_that_may_hold_nothing_is_trusted_less(weights):
    probability = np.zeros((3, 8, 8), np.float32)
    probability[:2, 2:6, 2:6] = 0.95
    flat = np.ones(3, np.float32)
    trust = Trust(np.array([0.95, 0.3, 0.1], np.float32), flat, flat, 0.9, weights)
    scores = trust.scores(probability, probability > 0.5, 16.0)
    assert scores.shape == (3,) and scores[0] > scores[1] and (scores >= 0).all() and (scores <= 1).all()


def test_the_fit_trusts_slices_that_turn_out_right():
    network = WalkerNet().eval()
    recipe = WindowRecipe(voxels=60_000, sides=(32,), often=(1.0,), depth=8, real=0.0, moved=0.0, second=0.0)

    def look(evidence: torch.Tensor) -> Propagated:
        with torch.no_grad():
            return network(evidence)

    weights = fit_confidence(look, lambda n: make_batch(recipe, [], torch.device("cpu"), 1, n), 3)
    assert len(weights) == 2 * len(FEATURES) and np.isfinite(weights).all()
    sure, unsure = (torch.tensor([share]) for share in (0.97, 0.4))
    occupied = torch.tensor([True])
    same = (torch.tensor([2.0]), torch.tensor([1.0]))
    high = expected(features(sure, *same, sure, sure), occupied, weights)
    low = expected(features(unsure, *same, unsure, unsure), occupied, weights)
    assert high > low
    assert PropagationConfig.from_dict(PropagationConfig(confidence=weights).to_dict()).confidence == weights
