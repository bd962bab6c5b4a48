"""The network as a whole: encoder topology, batches, structures, episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision

from golden import reference
from qnetseg.errors import WeightsError
from qnetseg.model import QNet, QNetConfig, Refinement
from qnetseg.model.encoder import DualPathEncoder, Features

SIZE = 32


@pytest.fixture(scope="module")
def network():
    """ResNet-50 Q-Net with random weights, batch statistics of noise and T inside the scores' range."""
    torch.manual_seed(0)
    network = QNet(QNetConfig(feature_channels=16, threshold_hidden=8, threshold_bias=-9.0, alpha=0.7))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.encode(torch.randn(2, SIZE, SIZE))
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def masks():
    masks = torch.zeros(3, 2, SIZE, SIZE)
    for image in range(3):
        masks[image, 0, 4 + image : 15, 2:13] = 1
        masks[image, 1, 17:30, 10 : 25 - image] = 1
    return masks


@pytest.fixture(scope="module")
def features(network, images):
    with torch.no_grad():
        return network.encode(images)


def _pick(features, index):
    return Features(*(part[index] for part in features))


@pytest.mark.parametrize(("depth", "layer"), [(50, 2), (50, 3), (50, 4), (101, 4), (152, 3)])
def test_topology_of_each_depth_and_downsample_layer(depth, layer):
    with torch.device("meta"):
        encoder = DualPathEncoder(QNetConfig(depth=depth, downsample_layer=layer))
        result = encoder(torch.empty(2, 3, 64, 96))
    assert result.fine.shape == (2, 512, 16, 24)
    assert result.coarse.shape == (2, 512, 8, 12)
    assert result.pooled.shape == (2, 2048)
    assert encoder.reduce_fine.weight.shape == (512, {2: 256, 3: 512, 4: 1024}[layer], 1, 1)
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    assert tuple(len(encoder.backbone[f"layer{n}"]) for n in (1, 2, 3, 4)) == blocks
    dilation = 1
    for number in (2, 3, 4):
        first, *others = encoder.backbone[f"layer{number}"]
        assert first.conv2.stride == ((2, 2) if number == layer else (1, 1))
        assert first.conv2.dilation == (dilation, dilation)  # of the layer before, as in torchvision
        dilation *= 1 if number == layer else 2
        assert all(block.conv2.dilation == (dilation, dilation) for block in others)


def test_the_encoder_is_torchvisions_resnet(network, images):
    resnet = torchvision.models.resnet50(replace_stride_with_dilation=[True, True, False])
    resnet.load_state_dict(network.encoder.backbone.state_dict(), strict=False)
    resnet.eval()
    taken = {}
    resnet.layer3.register_forward_hook(lambda _, __, output: taken.update(fine=output))
    resnet.layer4.register_forward_hook(lambda _, __, output: taken.update(coarse=output))
    resnet.avgpool.register_forward_hook(lambda _, __, output: taken.update(pooled=output.flatten(1)))
    with torch.no_grad():
        resnet(images[:1, None].expand(-1, 3, -1, -1))
        result = network.encode(images[:1])
        expected = Features(
            network.encoder.reduce_fine(taken["fine"]),
            network.encoder.reduce_coarse(taken["coarse"]),
            taken["pooled"],
        )
    for ours, theirs in zip(result, expected, strict=True):
        assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_the_input_contract_is_applied(network, images):
    config = QNetConfig(feature_channels=16, threshold_hidden=8, input_scale=0.5, input_shift=0.25)
    scaled = QNet(config).eval()
    scaled.load_state_dict(network.state_dict())
    with torch.no_grad():
        ours, expected = scaled.encode(images[:1]), network.encode(0.5 * images[:1] + 0.25)
    torch.testing.assert_close(ours, expected)


def test_a_configuration_outside_the_table_is_refused():
    for wrong in ({"depth": 34}, {"downsample_layer": 1}, {"paths": "triple"}, {"threshold": "none"}):
        with pytest.raises(WeightsError, match=next(iter(wrong))):
            QNetConfig(**wrong)


@pytest.mark.parametrize("mode", ["none", "closed_form", "reconstruction", "released"])
def test_a_batch_gives_what_its_images_give_alone(network, images, features, masks, mode):
    prototypes = network.condition(_pick(features, [0]), masks[:1])
    refinement = Refinement(mode)
    with torch.no_grad():
        together = network.predict(prototypes, features, (SIZE, SIZE), refinement)
        for index in range(3):
            alone = network.predict(prototypes, network.encode(images[[index]]), (SIZE, SIZE), refinement)
            torch.testing.assert_close(together[[index]], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["none", "closed_form", "reconstruction", "released"])
def test_structures_at_once_give_what_separate_runs_give(network, features, masks, mode):
    support, query = _pick(features, [0]), _pick(features, [1, 2])
    with torch.no_grad():
        both = network.condition(support, masks[:1])
        together = network.predict(both, query, (SIZE, SIZE), Refinement(mode))
        for structure in range(2):
            own = network.condition(support, masks[:1, [structure]])
            alone = network.predict(own, query, (SIZE, SIZE), Refinement(mode))
            torch.testing.assert_close(together[:, [structure]], alone, atol=1e-5, rtol=0)


def test_the_support_is_encoded_once_for_any_number_of_queries(network, images, masks):
    encoded = []
    hook = network.encoder.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    with torch.no_grad():
        prototypes = network.condition(network.encode(images[:1]), masks[:1])
        for index in (1, 2):
            network.predict(prototypes, network.encode(images[[index]]), (SIZE, SIZE), Refinement("released"))
    hook.remove()
    assert encoded == [1, 1, 1]  # support, two queries


@pytest.mark.parametrize("paths", ["dual", "fine", "coarse"])
@pytest.mark.parametrize("mode", ["none", "released"])
def test_prediction_against_the_reference(network, features, masks, paths, mode, monkeypatch):
    monkeypatch.setattr(network, "config", QNetConfig(alpha=0.7, paths=paths))
    with torch.no_grad():
        prototypes = network.condition(_pick(features, [0]), masks[:1])
        threshold = network.threshold(features.pooled[[1]])[0].double().numpy()
        result = network.predict(prototypes, _pick(features, [1]), (SIZE, SIZE), Refinement(mode))[0].numpy()
    for structure in range(2):
        maps = {}
        for column, path in enumerate(("fine", "coarse")):
            support, query = (getattr(features, path)[index].double().numpy() for index in (0, 1))
            prototype = reference.masked_average(support, masks[0, structure].numpy())
            if mode == "released":
                prototype = reference.refine_released(prototype, query, threshold[column])
            maps[path] = reference.probability(reference.anomaly(query, prototype), threshold[column])
        alpha = {"dual": 0.7, "fine": 1.0, "coarse": 0.0}[paths]
        expected = reference.fused(maps["fine"], maps["coarse"], (SIZE, SIZE), alpha)
        np.testing.assert_allclose(result[structure], expected, atol=1e-5)


def test_offsets_move_the_threshold_and_alpha_replaces_the_configurations(network, features, masks):
    prototypes = network.condition(_pick(features, [0]), masks[:1])
    with torch.no_grad():
        scores = network.scores(prototypes, features)
        moved = network.scores(prototypes, features, threshold_offset=2.0)
        assert torch.equal(moved.threshold, scores.threshold + 2.0)
        late = network.fuse(scores, (SIZE, SIZE), threshold_offset=2.0, alpha=1.0)
        torch.testing.assert_close(late, network.fuse(moved, (SIZE, SIZE), alpha=1.0))
    threshold = float(scores.threshold[1, 0]) + 2.0
    fine = reference.probability(scores.fine[1, 0].double().numpy(), threshold)
    np.testing.assert_allclose(late[1, 0].numpy(), reference.upsample(fine, (SIZE, SIZE), True), atol=1e-5)


def test_mixed_precision_leaves_scores_and_prototypes_in_full_precision(network, features, masks):
    with torch.no_grad():
        expected = network.scores(network.condition(features, masks), features)
        with torch.autocast("cpu", torch.bfloat16):
            result = network.scores(network.condition(features, masks), features)
    for ours, theirs in zip(result, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("paths", ["dual", "fine", "coarse"])
def test_the_finest_features_alone_are_those_of_the_whole_encoder(paths):
    torch.manual_seed(0)
    network = QNet(QNetConfig(depth=50, feature_channels=8, threshold_hidden=4, paths=paths)).eval()
    images = torch.randn(2, 32, 40)
    with torch.no_grad():
        assert torch.equal(network.finest(images), network.encode(images).finest)
