"""The losses of Eq. 11 to 13 with the released code's weights and skipping rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import reference
from qnetseg.model import QNetConfig
from qnetseg.model.encoder import Features
from qnetseg_lab.baselines import TrainedQNet
from qnetseg_lab.baselines.loss import alignment_loss, segmentation_loss

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


@pytest.fixture(scope="module")
def network():
    """ResNet-50 Q-Net with random weights, whose alpha is not the default one."""
    torch.manual_seed(0)
    config = QNetConfig(feature_channels=16, threshold_hidden=8, threshold_bias=-9.0, alpha=0.7)
    return TrainedQNet(config).eval()


def test_both_images_of_an_episode_are_encoded_in_one_pass(network):
    encoded = []
    hook = network.encoder.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    with torch.no_grad():
        image, masks = torch.randn(1, 32, 32), torch.ones(1, 2, 32, 32)
        network.episode_loss(image, masks, image, masks, torch.ones(1, 2))
    hook.remove()
    assert encoded == [2]


def _random_features(batch, seed, pooled):
    generator = torch.Generator().manual_seed(seed)
    return Features(
        torch.randn(batch, 16, 8, 8, generator=generator) + 1,
        torch.randn(batch, 16, 4, 4, generator=generator) + 1,
        pooled,
    )


def test_episode_losses_against_the_reference(network, monkeypatch):
    size, pooled = 32, torch.randn(4, 2048, generator=torch.Generator().manual_seed(3))
    features = _random_features(4, 4, pooled)
    monkeypatch.setattr(network, "encode", lambda images: features)
    generator = torch.Generator().manual_seed(5)
    masks = (torch.rand(2, 2, 2, size, size, generator=generator) > 0.6).float()
    masks[0, 1, 1] = 0  # support of a structure that is not there
    valid = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    with torch.no_grad():
        thresholds = network.threshold(pooled)[2:].double().numpy()
        assert abs(thresholds[0, 0] - thresholds[1, 0]) > 1e-3  # each episode has its own
        images = torch.empty(2, size, size)
        loss = network.episode_loss(images, masks[0], images, masks[1], valid)
    expected = []
    for image, structure in ((0, 0), (0, 1), (1, 0)):
        support, query = (
            (features.fine[index].double().numpy(), features.coarse[index].double().numpy())
            for index in (image, image + 2)
        )
        expected.append(
            reference.episode(
                support,
                masks[0, image, structure].numpy(),
                query,
                masks[1, image, structure].numpy(),
                thresholds[image],
                0.7,
            )
        )
    segmentation, alignment = np.mean(expected, axis=0)
    assert float(loss.segmentation) == pytest.approx(segmentation, abs=1e-5)
    assert float(loss.alignment) == pytest.approx(alignment, abs=1e-5)
    assert float(loss.total) == pytest.approx(segmentation + alignment, abs=2e-5)
    assert alignment > 0


def test_an_episode_that_finds_nothing_has_no_alignment_loss_and_finite_gradients(network, monkeypatch):
    features = _random_features(2, 6, torch.zeros(2, 2048))
    for part in features[:2]:
        part.requires_grad_(True)
    monkeypatch.setattr(network, "encode", lambda images: features)
    monkeypatch.setattr(network, "threshold", _Constant(-30.0))
    masks = torch.zeros(2, 1, 1, 32, 32)
    masks[..., 8:20, 8:20] = 1
    images = torch.empty(1, 32, 32)
    loss = network.episode_loss(images, masks[0], images, masks[1], torch.ones(1, 1))
    loss.total.backward()
    assert loss.alignment.item() == 0
    assert loss.segmentation.item() > 1
    assert all(torch.isfinite(part.grad).all() for part in features[:2])


class _Constant(torch.nn.Module):
    """A threshold that does not depend on the image."""

    def __init__(self, value):
        super().__init__()
        self.hidden, self.value = torch.nn.Linear(1, 1), value

    def forward(self, pooled):
        return torch.full((len(pooled), 2), self.value)
