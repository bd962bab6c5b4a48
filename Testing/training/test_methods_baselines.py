"""The baselines' equations on given features against plain NumPy: PANet, SSL-ALPNet, ADNet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import baselines, reference
from qnetseg.errors import WeightsError
from qnetseg.model import QNet, QNetConfig
from qnetseg.model.encoder import Features
from qnetseg_lab.baselines import build_method
from qnetseg_lab.baselines.alpnet import ALPNet
from qnetseg_lab.baselines.panet import PANet
from qnetseg_lab.baselines.two_class import FeatureMap

SINGLE = QNetConfig(paths="coarse", downsample_layer=2)
SIDE = 64  # of the images; features are 8 x 8


def _empty(cls, config=SINGLE):
    """A network without memory for its weights, which these tests do not need."""
    with torch.device("meta"):
        return cls(config)


def _maps(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return FeatureMap(torch.randn(count, 5, 8, 8, generator=generator) + 0.3)


@pytest.fixture
def masks():
    """(2, 3, 64, 64): a large structure, one that fills no window, and one that leaves no background."""
    masks = torch.zeros(2, 3, SIDE, SIDE)
    for image in range(2):
        masks[image, 0, 8 * image : 40, :40] = 1
        masks[image, 1, 50:61, 12 + 4 * image : 30] = 1
        masks[image, 2] = 1
        masks[image, 2, ::16, ::16] = 0
        masks[image, 2, 1:40:9, 3::8] = 0
    return masks


def _array(tensor):
    return tensor.double().numpy()


def test_panets_margin(masks):
    network = _empty(PANet)
    support, query = _maps(2, 0), _maps(2, 1)
    margin = _array(network.margin(network.condition(support, masks), query))
    for image in range(2):
        for structure in range(3):
            expected = baselines.panet_margin(
                _array(support.features[image]),
                _array(masks[image, structure]),
                _array(query.features[image]),
            )
            np.testing.assert_allclose(margin[image, structure], expected, atol=1e-3)


@pytest.mark.parametrize(("training", "side"), [(True, 4), (False, 2)])
def test_alpnets_margin(masks, training, side):
    network = _empty(ALPNet).train(training)
    support, query = _maps(2, 0), _maps(2, 1)
    conditioned = network.condition(support, masks)
    margin = _array(network.margin(conditioned, query))
    resized = torch.nn.functional.interpolate(masks, size=(8, 8), mode="bilinear", align_corners=False)
    for image in range(2):
        for structure in range(3):
            expected = baselines.alpnet_margin(
                _array(support.features[image]),
                _array(resized[image, structure]),
                _array(query.features[image]),
                side,
            )
            np.testing.assert_allclose(margin[image, structure], expected, atol=1e-3)
    assert conditioned.foreground_windows[:, 0].sum() > 0
    assert conditioned.foreground_windows[:, 1].sum() == 0
    assert conditioned.background_windows.shape[2] == (8 // side) ** 2


def test_a_hand_computed_local_prototype():
    """Two windows, of features e1 and e2; the structure is the left one. At a pixel of the query that equals
    e1, both prototypes of the structure have cosine 1 and the only background window has 0."""
    maps = torch.zeros(1, 2, 4, 8)
    maps[:, 0, :, :4] = 3
    maps[:, 1, :, 4:] = 5
    mask = torch.zeros(1, 1, 4, 8)
    mask[..., :4] = 1
    network = _empty(ALPNet).train()
    margin = network.margin(network.condition(FeatureMap(maps), mask), FeatureMap(maps))
    torch.testing.assert_close(margin[0, 0], torch.where(mask[0, 0] == 1, 20.0, -20.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("cls", [PANet, ALPNet])
def test_probabilities_are_of_the_resized_margin_for_any_number_of_queries(cls, masks):
    network = _empty(cls).eval()
    support, query = _maps(1, 0), _maps(3, 1)
    conditioned = network.condition(support, masks[:1])
    probability = network.predict(conditioned, query, (SIDE, SIDE))
    assert probability.shape == (3, 3, SIDE, SIDE)
    assert probability.dtype == torch.float32
    for image in range(3):
        margin = network.margin(conditioned, FeatureMap(query.features[[image]]))[0]
        expected = reference.sigmoid(reference.upsample(_array(margin), (SIDE, SIDE), align_corners=False))
        np.testing.assert_allclose(_array(probability[image]), expected, atol=1e-5)


@pytest.mark.parametrize(("cls", "weight"), [(PANet, 1.0), (ALPNet, 0.05)])
def test_losses_in_both_directions(cls, weight, masks, monkeypatch):
    network = _empty(cls).train()
    support, query = _maps(2, 0), _maps(2, 1)
    both = FeatureMap(torch.cat([support.features, query.features]))
    monkeypatch.setattr(network, "encode", lambda images: both)
    images, valid = torch.empty(2, SIDE, SIDE), torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    loss = network.episode_loss(images, masks, images, masks.flip(0), valid)

    def margin(features, mask, other):
        if cls is PANet:
            return baselines.panet_margin(features, mask, other)
        if mask.shape != (8, 8):
            tensor = torch.from_numpy(mask)[None, None]
            size = {"size": (8, 8), "mode": "bilinear", "align_corners": False}
            mask = torch.nn.functional.interpolate(tensor, **size)[0, 0].numpy()
        return baselines.alpnet_margin(features, mask, other, side=4)

    segmentation, alignment = [], []
    for image, structure in ((0, 0), (0, 1), (1, 0)):
        s, q = _array(support.features[image]), _array(query.features[image])
        mask, target = _array(masks[image, structure]), _array(masks[1 - image, structure])
        predicted = margin(s, mask, q)
        segmentation.append(baselines.cross_entropy(predicted, target, weight))
        found = (predicted > 0).astype(float)
        alignment.append(baselines.cross_entropy(margin(q, found, s), mask))
    assert float(loss.segmentation) == pytest.approx(np.mean(segmentation), rel=1e-3)
    assert float(loss.alignment) == pytest.approx(np.mean(alignment), rel=1e-3)
    assert float(loss.total) == pytest.approx(np.mean(segmentation) + np.mean(alignment), rel=1e-3)


@pytest.mark.parametrize(("cls", "counts"), [(PANet, False), (ALPNet, True)])
def test_whether_an_empty_prediction_is_aligned(cls, counts, monkeypatch):
    network = _empty(cls).train()
    features = torch.zeros(2, 2, 8, 8)
    features[0, 0], features[1, 1] = 1, 1  # the query is nowhere like the support ...
    features[0, :, 0, 0] = torch.tensor([-1.0, 0.0])
    features[0, :, :, 4:] = torch.tensor([0.0, 1.0])[:, None, None]  # ... but like its background
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., :32] = 1
    features.requires_grad_(True)
    monkeypatch.setattr(network, "encode", lambda images: FeatureMap(features))
    images = torch.empty(1, SIDE, SIDE)
    loss = network.episode_loss(images, mask, images, mask, torch.ones(1, 1))
    loss.total.backward()
    assert (float(loss.alignment.detach()) > 0) == counts
    assert torch.isfinite(features.grad).all()


def test_adnet_is_a_q_net_with_one_path_and_the_thresholds_term(monkeypatch):
    network = build_method(
        "adnet", QNetConfig(paths="coarse", downsample_layer=2, threshold="fixed", depth=50)
    )
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 5, 8, 8, generator=generator)
    features = Features(coarse[:, :0], coarse, torch.zeros(2, 2048))
    monkeypatch.setattr(network, "encode", lambda images: features)
    masks = (torch.rand(2, 1, 1, SIDE, SIDE, generator=generator) > 0.6).float()
    with torch.no_grad():
        network.threshold.value.fill_(-2.5)
    images = torch.empty(1, SIDE, SIDE)
    loss = network.episode_loss(images, masks[0], images, masks[1], torch.ones(1, 1))
    maps = [(_array(part), _array(part)) for part in coarse]
    segmentation, alignment = reference.episode(
        maps[0], _array(masks[0, 0, 0]), maps[1], _array(masks[1, 0, 0]), (-2.5, -2.5), alpha=0.0
    )
    assert float(loss.segmentation) == pytest.approx(segmentation, abs=1e-5)
    assert float(loss.alignment) == pytest.approx(alignment, abs=1e-5)
    assert float(loss.total) == pytest.approx(segmentation + alignment - 2.5 / 20, abs=1e-5)
    loss.total.backward()
    assert network.threshold.value.grad.shape == (1,)


@pytest.mark.parametrize(
    ("name", "config", "sentence"),
    [
        ("panet", QNetConfig(), "PANet has one resolution"),
        ("alpnet", QNetConfig(), r"ALPNet \(SSL-ALPNet\) has one resolution"),
        ("adnet", QNetConfig(threshold="fixed"), "ADNet has one resolution"),
        ("adnet", SINGLE, "ADNet has a fixed threshold"),
    ],
)
def test_a_configuration_that_is_not_the_methods_is_refused(name, config, sentence):
    with pytest.raises(WeightsError, match=sentence) as caught:
        build_method(name, config)
    assert "[model]" in caught.value.advice


def test_one_paths_features_are_those_of_the_dual_network():
    with torch.device("meta"):
        dual, coarse = QNet(QNetConfig()), QNet(QNetConfig(paths="coarse", threshold="fixed"))
        fine = QNet(QNetConfig(paths="fine", threshold="fixed"))
        result = [network.encode(torch.empty(2, 32, 48)) for network in (dual, coarse, fine)]
    assert [tuple(part.shape) for part in result[0]] == [(2, 512, 8, 12), (2, 512, 4, 6), (2, 2048)]
    assert [tuple(part.shape) for part in result[1]] == [(2, 0, 8, 12), (2, 512, 4, 6), (2, 2048)]
    assert [tuple(part.shape) for part in result[2]] == [(2, 512, 8, 12), (2, 0, 8, 12), (2, 1024)]
    own = [set(network.state_dict()) for network in (dual, coarse, fine)]
    head = {f"threshold.{layer}.{part}" for layer in ("hidden", "out") for part in ("weight", "bias")}
    assert own[0] - own[1] == head | {"encoder.reduce_fine.weight"}
    assert own[1] - own[0] == {"threshold.value"}
    assert {key.split(".")[2] for key in own[1] - own[2] if "backbone" in key} == {"layer4"}
