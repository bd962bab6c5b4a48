"""Every method through the one interface: learning, weights files, starts, choosing by name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from qnetseg.errors import RecipeError, WeightsError
from qnetseg.model import FewShotMethod, QNetConfig, load_model
from qnetseg.model.storage import read_safetensors
from qnetseg.segment.inference import Runner
from qnetseg.segment.options import SegmentOptions
from qnetseg_lab.baselines import METHODS, build_method, load_method
from qnetseg_lab.training.starts import load_start
from qnetseg_lab.weights.writing import save_model

SIDE = 64
SMALL = {"feature_channels": 8, "threshold_hidden": 4}
CONFIGS = {
    "qnet": QNetConfig(**SMALL),
    "panet": QNetConfig(**SMALL, paths="coarse", downsample_layer=2),
    "alpnet": QNetConfig(**SMALL, paths="coarse", downsample_layer=2),
    "adnet": QNetConfig(**SMALL, paths="coarse", downsample_layer=2, threshold="fixed"),
    "senet": QNetConfig(**SMALL, downsample_layer=2),
}


@pytest.fixture(scope="module", params=CONFIGS)
def network(request):
    """A network that has learnt from one episode; its losses before and after, and what had no gradient."""
    torch.manual_seed(0)
    network = build_method(request.param, CONFIGS[request.param]).train()
    generator = torch.Generator().manual_seed(1)
    images = 0.3 * torch.randn(2, SIDE, SIDE, generator=generator)
    masks = torch.zeros(2, 2, SIDE, SIDE)
    for image in range(2):
        masks[image, 0, 8:40, 8 + 4 * image : 44] = 1
        masks[image, 1, 44:60, 30:60] = 1
    images += 2 * masks[:, 0] - 2 * masks[:, 1]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5)
    network.losses, network.idle = [], None
    for _ in range(3):
        loss = network.episode_loss(images[:1], masks[:1], images[1:], masks[1:], torch.ones(1, 2))
        optimiser.zero_grad()
        loss.total.backward()
        if network.idle is None:
            network.idle = [key for key, p in network.named_parameters() if p.grad is None]
        optimiser.step()
        network.losses.append(float(loss.total.detach()))
    return network


def test_every_parameter_takes_part_in_the_loss(network):
    assert network.idle == []


def test_one_episode_is_learnt(network):
    assert network.losses[-1] < network.losses[0]


def test_a_weights_file_says_its_method_and_gives_the_network_back(network, tmp_path):
    path = tmp_path / "model.safetensors"
    provenance = {"recipe": {"method": network.name}}
    save_model(path, network, provenance, "bf16")
    assert read_safetensors(path)[1]["method"] == network.name
    model = load_method(path)
    assert (type(model.network), model.network.config) == (type(network), network.config)
    assert (model.name, model.provenance, model.network.training) == ("model", provenance, False)
    loaded = model.network.state_dict()
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            stored = value.bfloat16().float() if value.dim() > 1 else value  # biases are kept in full
            assert torch.equal(loaded[key], stored), key
    if network.name == "qnet":
        assert torch.equal(load_model(path).network.threshold.out.bias, loaded["threshold.out.bias"])
    else:
        with pytest.raises(WeightsError, match=f"holds weights of the method '{network.name}'") as caught:
            load_model(path)
        assert caught.value.advice == "Choose weights of Q-Net."


def test_the_runner_of_slices_takes_every_method(network):
    """Folded batch normalisation and an encoder in bfloat16, as where whole volumes are segmented."""
    images = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    masks = torch.zeros(1, 2, SIDE, SIDE)
    masks[:, 0, 8:40, 8:44] = masks[:, 1, 44:60, 30:60] = 1
    found = []
    for precision in ("fp32", "bf16"):
        runner = Runner(network, SegmentOptions(device="cpu", precision=precision))
        features = runner.encode(images)
        support = type(features)(*(part[:1] for part in features))
        with torch.no_grad():
            conditioned = runner.network.condition(support, masks)
            found.append(runner.network.predict(conditioned, features, (SIDE, SIDE)))
    assert all(f.shape == (3, 2, SIDE, SIDE) and f.dtype == torch.float32 for f in found)
    assert float((found[0] - found[1]).abs().mean()) < 0.05


def test_the_start_goes_into_every_backbone(network, tmp_path):
    state = {
        key: torch.full_like(value, 0.25)
        for key, value in network.backbones()[0].state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "start.pth")
    count = len(network.backbones()) * len(state)
    assert load_start(network, str(tmp_path / "start.pth")).endswith(f"{count} of {count} tensors matched.")
    assert count == 265 * (2 if network.name == "senet" else 1)
    for backbone in network.backbones():
        own = backbone.state_dict()
        assert all(torch.equal(own[key], value) for key, value in state.items())


def test_methods_have_names_and_titles():
    assert list(METHODS) == ["qnet", "panet", "alpnet", "adnet", "senet"]
    assert all(issubclass(cls, FewShotMethod) and cls.name == name for name, cls in METHODS.items())
    assert [cls.title for cls in METHODS.values()] == [
        "Q-Net",
        "PANet",
        "ALPNet (SSL-ALPNet)",
        "ADNet",
        "SE-Net",
    ]


def test_an_unknown_method_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="no method 'unet'") as caught:
        build_method("unet", QNetConfig())
    assert "qnet, panet" in caught.value.advice
    path = tmp_path / "later.safetensors"
    metadata = {"format": "qnetseg-1", "method": "unet", "config": "{}", "provenance": "{}"}
    save_file({"weight": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsError, match="method 'unet'") as caught:
        load_method(path)
    assert "SE-Net" in caught.value.advice
