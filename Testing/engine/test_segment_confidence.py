"""Confidence of slices: its features, and the fit of their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qnetseg.model.propagation import Propagated, PropagationConfig
from qnetseg.segment.confidence import (
    FEATURES,
    Trust,
    expected,
    expected_dice,
    expected_overlap,
    features,
    overlaps,
)
from qnetseg_lab.training.confidence_fit import fit_confidence
from qnetseg_lab.training.synthesis import WindowRecipe, make_batch
from support.walker_network import WalkerNet


def test_overlaps_compare_a_slice_with_those_beside_it():
    masks = torch.zeros(1, 5, 8, 8, dtype=torch.bool)
    masks[0, 0, 2:6, 2:6] = True
    masks[0, 1, 2:6, 2:4] = True
    least, mean = overlaps(masks)
    assert least[0].tolist() == pytest.approx([2 / 3, 0, 0, 1, 1])
    assert mean[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0.5, 1, 1])
    for each in overlaps(masks, 3):
        assert each[0].tolist() == [0, 0, 1, 0, 0]
    for each in overlaps(masks, 7):
        assert each[0].tolist() == [1] * 5


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
    values = features(*(torch.tensor([0.9, 0.2]) for _ in range(4)))
    assert values.shape == (2, len(FEATURES))
    weights = [0.0] * 2 * len(FEATURES)
    weights[0], weights[len(FEATURES)] = 10.0, -10.0
    scores = expected(values, torch.tensor([True, False]), weights)
    assert scores[0] > 0.99 and scores[1] < 0.01


@pytest.mark.parametrize("weights", [(), (1.0,) * 2 * len(FEATURES), (1.0,) * 3])
def test_a_slice_that_may_hold_nothing_is_trusted_less(weights):
    probability = np.zeros((3, 8, 8), np.float32)
    probability[:2, 2:6, 2:6] = 0.95
    trust = Trust(np.array([0.95, 0.3, 0.1], np.float32), 1, weights)
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
    there = torch.tensor([2.0])
    high = expected(features(sure, there, sure, sure), occupied, weights)
    low = expected(features(unsure, there, unsure, unsure), occupied, weights)
    assert high > low
    assert PropagationConfig.from_dict(PropagationConfig(confidence=weights).to_dict()).confidence == weights
