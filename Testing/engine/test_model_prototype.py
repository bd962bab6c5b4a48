"""Eq. 1 to 3 and 6 against the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import reference
from qnetseg.model.config import QNetConfig
from qnetseg.model.prototype import (
    anomaly_score,
    foreground_probability,
    masked_average_pooling,
    resize_probability,
)
from qnetseg.model.threshold import FixedThreshold, ThresholdHead, build_threshold

TOLERANCE = 1e-5


def _array(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.5, shape)


def _tensor(array):
    return torch.tensor(np.asarray(array), dtype=torch.float32)


@pytest.mark.parametrize(("small", "large"), [((16, 16), (64, 64)), ((8, 8), (64, 64)), ((6, 4), (24, 32))])
def test_pooling_equals_up_sampling_the_features(small, large):
    features = _array(2, 5, *small)
    masks = (np.random.default_rng(1).random((2, 3, *large)) > 0.7).astype(float)
    masks[0, 1] = 0
    masks[0, 1, :3, -2:] = 1  # touches the border, where bilinear weights repeat the edge
    pooled = masked_average_pooling(_tensor(features), _tensor(masks)).numpy()
    for image in range(2):
        for structure in range(3):
            expected = reference.masked_average(features[image], masks[image, structure])
            np.testing.assert_allclose(pooled[image, structure], expected, atol=TOLERANCE)


def test_pooling_takes_soft_masks_and_gives_zeros_for_an_empty_one():
    features = _array(1, 4, 8, 8)
    masks = np.stack([np.random.default_rng(2).random((32, 32)), np.zeros((32, 32))])[None]
    pooled = masked_average_pooling(_tensor(features), _tensor(masks)).numpy()
    expected = reference.masked_average(features[0], masks[0, 0])
    np.testing.assert_allclose(pooled[0, 0], expected, atol=TOLERANCE)
    assert not pooled[0, 1].any()


def test_the_score_is_minus_twenty_times_the_cosine():
    features, prototypes = _array(2, 6, 5, 7), _array(2, 3, 6, seed=1)
    score = anomaly_score(_tensor(features), _tensor(prototypes), 20.0).numpy()
    assert np.abs(score).max() <= 20.0 + TOLERANCE
    for image in range(2):
        for structure in range(3):
            expected = reference.anomaly(features[image], prototypes[image, structure])
            np.testing.assert_allclose(score[image, structure], expected, atol=TOLERANCE)


def test_a_zero_prototype_scores_zero_and_has_a_finite_gradient():
    prototype = torch.zeros(1, 1, 6, requires_grad=True)
    score = anomaly_score(_tensor(_array(1, 6, 4, 4)), prototype, 20.0)
    (0.0 * score.sum()).backward()
    assert not score.any()
    assert torch.isfinite(prototype.grad).all()


@pytest.mark.parametrize("sharpness", [0.5, 1.0])
def test_soft_thresholding(sharpness):
    score = np.linspace(-20, 20, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    shared, own = np.array([-10.0, 3.0]), np.array([[-10.0, 0.0, 5.0], [1.0, 2.0, -3.0]])
    for threshold in (shared, own):
        probability = foreground_probability(_tensor(score), _tensor(threshold), sharpness).numpy()
        expected = reference.probability(score, threshold.reshape(2, -1, 1, 1), sharpness)
        np.testing.assert_allclose(probability, expected, atol=TOLERANCE)


def test_probabilities_are_resized_with_aligned_corners():
    probability = np.random.default_rng(3).random((2, 2, 8, 6))
    resized = resize_probability(_tensor(probability), (32, 20)).numpy()
    np.testing.assert_allclose(resized, reference.upsample(probability, (32, 20), True), atol=TOLERANCE)
    np.testing.assert_allclose(resized[..., -1, -1], probability[..., -1, -1], atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["shared", "per_path"])
def test_the_threshold_head_is_two_linear_layers(kind):
    head = ThresholdHead(QNetConfig(threshold=kind, threshold_hidden=11))
    pooled = _array(3, 2048)
    weights = {key: value.double().numpy() for key, value in head.state_dict().items()}
    hidden = pooled @ weights["hidden.weight"].T + weights["hidden.bias"]
    expected = hidden @ weights["out.weight"].T + weights["out.bias"]
    assert head.out.bias.tolist() == [-10.0] * expected.shape[1]
    result = head(_tensor(pooled)).detach().numpy()
    assert result.shape == (3, 2)
    np.testing.assert_allclose(result, np.broadcast_to(expected, (3, 2)), atol=TOLERANCE)


def test_the_fixed_threshold_is_one_learned_number():
    threshold = build_threshold(QNetConfig(threshold="fixed", threshold_bias=-7.0))
    assert isinstance(threshold, FixedThreshold)
    result = threshold(_tensor(_array(3, 2048)))
    assert torch.equal(result, torch.full((3, 2), -7.0))
    result.sum().backward()
    assert [parameter.grad.tolist() for parameter in threshold.parameters()] == [[6.0]]
