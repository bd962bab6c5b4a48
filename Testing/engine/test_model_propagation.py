"""The propagation network: shapes, configuration, and its weights file."""

from __future__ import annotations

import json

import pytest
import torch

from qnetseg.errors import WeightsError
from qnetseg.model import (
    PropagationConfig,
    PropagationNet,
    QNet,
    QNetConfig,
    load_model,
    load_propagation,
)
from qnetseg.model.propagation import CHANNELS
from qnetseg.model.storage import read_safetensors
from qnetseg_lab.weights.writing import save_model

CONFIG = PropagationConfig((8, 8, 16, 8, 8))
PROVENANCE = {"recipe": {"method": "propagation"}, "licence": "CC BY 4.0"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PropagationNet(CONFIG).eval()


@pytest.fixture
def written(network, tmp_path):
    path = tmp_path / "propagation.safetensors"
    save_model(path, network, PROVENANCE)
    return path


@pytest.mark.parametrize("shape", [(1, 8, 16), (2, 4, 32)])
def test_every_voxel_and_every_plane_gets_an_answer(network, shape):
    batch, planes, side = shape
    logits, presence = network(torch.randn(batch, CHANNELS, planes, side, side))
    assert logits.shape == (batch, planes, side, side) and presence.shape == (batch, planes)
    assert logits.dtype == presence.dtype == torch.float32


def test_a_window_s_answer_does_not_depend_on_the_batch(network):
    seen = torch.randn(3, CHANNELS, 8, 16, 16)
    together, alone = network(seen), network(seen[1:2])
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.presence[1:2], alone.presence, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("widths", [(8, 8), (8, 8, 8, 8, 12), (8, 8, 8, 8, 0), (8.0, 8, 8, 8, 8)])
def test_a_network_that_cannot_be_built_is_refused(widths):
    with pytest.raises(WeightsError, match="cannot be built"):
        PropagationConfig(widths)


def test_a_configuration_of_a_later_version_is_refused():
    assert PropagationConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    with pytest.raises(WeightsError, match="unknown entries: attention"):
        PropagationConfig.from_dict({**CONFIG.to_dict(), "attention": True})


def test_weights_are_read_as_they_were_written(network, written):
    model = load_propagation(written)
    assert (model.name, model.provenance, model.network.config) == ("propagation", PROVENANCE, CONFIG)
    assert not model.network.training
    for key, value in network.state_dict().items():  # matrices and kernels have eight significant bits
        torch.testing.assert_close(model.network.state_dict()[key], value, rtol=1 / 256, atol=0)
    tensors, metadata = read_safetensors(written)
    assert metadata["method"] == "propagation"
    assert all((value.dtype == torch.bfloat16) == (value.dim() > 1) for value in tensors.values())


def test_weights_of_another_method_are_refused_in_a_sentence(written, tmp_path):
    with pytest.raises(WeightsError, match="holds weights of the method 'propagation'") as caught:
        load_model(written)
    assert "Q-Net" in caught.value.advice
    qnet = tmp_path / "qnet.safetensors"
    save_model(qnet, QNet(QNetConfig(feature_channels=4, threshold_hidden=3)), {})
    with pytest.raises(WeightsError, match="holds weights of the method 'qnet'") as caught:
        load_propagation(qnet)
    assert caught.value.advice == "Choose weights of propagation network."


def test_tensors_of_another_shape_are_refused(network, written, monkeypatch):
    monkeypatch.setattr(PropagationNet, "config_type", _Wider)
    with pytest.raises(WeightsError, match=r"do not fit a propagation network: .* of another shape"):
        load_propagation(written)


class _Wider(PropagationConfig):
    @classmethod
    def from_dict(cls, values):
        return PropagationConfig((8, 16, 16, 8, 8))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = PropagationNet(CONFIG)
    with torch.no_grad():
        network.outline.weight[0, 0] = float("nan")
    path = tmp_path / "astray.safetensors"
    save_model(path, network, {})
    with pytest.raises(WeightsError, match=r"not finite, the first in outline\.weight"):
        load_propagation(path)
