"""The losses of Eq. 11 to 13 with the released code's weights and skipping rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import reference
from qnetseg.model.loss import alignment_loss, segmentation_loss

TOLERANCE = 1e-5


def _maps(seed=0, batch=2, structures=3, size=12):
    rng = np.random.default_rng(seed)
    probability = torch.tensor(rng.random((batch, structures, size, size)), dtype=torch.float32)
    target = torch.tensor(rng.random((batch, structures, size, size)) > 0.8, dtype=torch.float32)
    return probability, target


def test_the_query_loss_is_nllloss_with_weights_a_tenth_and_one():
    probability, target = _maps()
    loss = segmentation_loss(probability, target)
    criterion = torch.nn.NLLLoss(weight=torch.tensor([0.1, 1.0]))
    for image in range(2):
        for structure in range(3):
            p, y = probability[image, structure], target[image, structure]
            expected = reference.weighted_nll(p.double().numpy(), y.numpy())
            assert float(loss[image, structure]) == pytest.approx(expected, abs=TOLERANCE)
            torch_loss = criterion(torch.stack([1 - p, p]).log()[None], y.long()[None])
            torch.testing.assert_close(loss[image, structure], torch_loss, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_certain_predictions_are_clamped(certain):
    _, target = _maps(batch=1, structures=1)
    probability = torch.full_like(target, certain, requires_grad=True)
    loss = segmentation_loss(probability, target)
    loss.sum().backward()
    expected = reference.weighted_nll(probability.detach().double().numpy(), target.numpy())
    assert loss.item() == pytest.approx(expected, abs=TOLERANCE)
    assert torch.isfinite(probability.grad).all()


def test_a_structure_that_fills_or_misses_the_image_has_a_finite_loss():
    probability, target = _maps(batch=1, structures=2)
    target[0, 0], target[0, 1] = 0, 1
    loss = segmentation_loss(probability, target)[0]
    for structure in range(2):
        expected = reference.weighted_nll(probability[0, structure].numpy(), target[0, structure].numpy())
        assert float(loss[structure]) == pytest.approx(expected, abs=TOLERANCE)


def test_the_alignment_loss_is_unweighted_and_skips_empty_predictions():
    probability, target = _maps()
    found = torch.ones_like(target)
    found[0, 1] = 0
    loss = alignment_loss(probability, target, found)
    assert float(loss[0, 1]) == 0
    expected = reference.weighted_nll(probability[1, 2].numpy(), target[1, 2].numpy(), (1.0, 1.0))
    assert float(loss[1, 2]) == pytest.approx(expected, abs=TOLERANCE)
