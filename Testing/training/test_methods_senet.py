"""SE-Net: what the arms exchange, its loss, and the layout of its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.reference import sigmoid
from qnetseg.model import QNetConfig
from qnetseg_lab.baselines.senet import BLOCKS, STAGES, Excitation, Images, SENet, dice_loss

SIDE = 32


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SENet(QNetConfig(feature_channels=8, downsample_layer=2, input_scale=0.5)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def masks():
    masks = torch.zeros(3, 2, SIDE, SIDE)
    masks[:, 0, 4:15, 2:13] = 1
    masks[:, 1, 17:30, 10:25] = 1
    return masks


@pytest.fixture(scope="module")
def excitation(network, images, masks):
    with torch.no_grad():
        return network.condition(network.encode(images[:1]), masks[:1])


def test_the_conditioners_maps_are_of_the_segmenters_resolutions(excitation):
    sides = [part.shape[-1] for part in excitation]
    assert sides == [16, 8, 4, 4, 4, 4, 8, 16, 32]
    assert len(excitation) == len(STAGES) + len(BLOCKS)
    for part in excitation:
        assert part.shape[:2] == (1, 2)
        assert part.dtype == torch.float32
        assert float(part.min()) > 0 and float(part.max()) < 1


def test_a_map_is_a_squeezed_channel_and_its_sigmoid(network, images, masks):
    seen = {}
    hook = network.conditioner.backbone["layer2"].register_forward_hook(
        lambda _, __, output: seen.update(x=output.detach().double().numpy())
    )
    with torch.no_grad():
        maps = network.condition(network.encode(images[:1]), masks[:1])
    hook.remove()
    squeeze = network.conditioner.squeezes[2]
    weight, bias = squeeze.weight.detach().double().numpy().ravel(), squeeze.bias.item()
    expected = sigmoid(np.tensordot(weight, seen["x"], axes=(0, 1)) + bias)
    np.testing.assert_allclose(maps.layer2[0].numpy(), expected, atol=1e-5)


def test_the_conditioner_convolves_image_and_mask_together(network, images, masks):
    """Its first convolution is one of four channels, the fourth of which is the mask."""
    seen = {}
    hook = network.conditioner.backbone["bn1"].register_forward_hook(lambda _, x, __: seen.update(x=x[0]))
    with torch.no_grad():
        network.condition(network.encode(images[:1]), masks[:1, :1])
        weight = torch.cat(
            [network.conditioner.backbone["conv1"].weight, network.conditioner.mask_conv.weight], 1
        )
        inputs = torch.cat([0.5 * images[:1, None].expand(-1, 3, -1, -1), masks[:1, :1]], dim=1)
        expected = torch.nn.functional.conv2d(inputs, weight, stride=2, padding=3)
    hook.remove()
    torch.testing.assert_close(seen["x"], expected, atol=1e-5, rtol=1e-5)


def test_maps_multiply_the_segmenters_features(network, images, excitation):
    """Where the features are shut off nothing is left of the query."""
    seen = {}
    hook = network.classifier.register_forward_hook(lambda _, x, __: seen.update(x=x[0]))
    query = network.encode(images[1:])
    with torch.no_grad():
        for level in ("layer4", "decode1"):
            shut = excitation._replace(**{level: torch.zeros_like(getattr(excitation, level))})
            result = network.predict(shut, query, (SIDE, SIDE))
            torch.testing.assert_close(result[0], result[1], atol=1e-6, rtol=0)
        assert float(seen["x"].abs().max()) == 0  # the last map comes right before the classifier
        bias = network.classifier.bias.item()
        np.testing.assert_allclose(result.numpy(), sigmoid(bias), atol=1e-6)
    hook.remove()


def test_structures_and_queries_at_once_give_what_separate_runs_give(network, images, masks, excitation):
    with torch.no_grad():
        together = network.predict(excitation, network.encode(images[1:]), (SIDE, SIDE))
        assert together.shape == (2, 2, SIDE, SIDE)
        assert together.dtype == torch.float32
        assert float((together[0] - together[1]).abs().max()) > 1e-6
        assert float((together[:, 0] - together[:, 1]).abs().max()) > 1e-6
        for structure in range(2):
            own = network.condition(Images(images[:1]), masks[:1, [structure]])
            for query in (1, 2):
                alone = network.predict(own, Images(images[[query]]), (SIDE, SIDE))
                expected = together[query - 1, structure]
                torch.testing.assert_close(alone[0, 0], expected, atol=1e-5, rtol=0)


def test_the_dice_loss_by_hand():
    probability = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]]])
    # 2 * 1.5 / (2 + 2), and nothing in common
    torch.testing.assert_close(dice_loss(probability, target), torch.tensor([[0.25, 1.0]]), atol=1e-4, rtol=0)


def test_the_episodes_loss_is_the_mean_dice_loss_of_the_query(network, images, masks, monkeypatch):
    probability = torch.rand(2, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(network, "condition", lambda features, masks: None)
    monkeypatch.setattr(network, "predict", lambda support, query, size: probability)
    valid = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = network.episode_loss(images[:2], masks[:2], images[1:], masks[1:], valid)
    each = dice_loss(probability, masks[1:])
    assert float(loss.total) == pytest.approx(float(each[0, 0] + each[0, 1] + each[1, 0]) / 3, abs=1e-6)
    assert (float(loss.segmentation), float(loss.alignment)) == (float(loss.total), 0)


def test_excitation_is_chosen_by_image_as_any_features(excitation):
    chosen = Excitation(*(part[[0, 0]] for part in excitation))
    assert all(len(part) == 2 for part in chosen)
