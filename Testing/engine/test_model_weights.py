"""Weights files: what is written is read back, and what is damaged or foreign is refused in a sentence."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qnetseg.errors import OutputError, WeightsError
from qnetseg.model import QNet, QNetConfig, load_model
from qnetseg.model import storage as weights_module
from qnetseg.model.propagation import PropagationConfig, PropagationNet
from qnetseg.model.storage import read_safetensors
from qnetseg.models import sha256
from qnetseg.tensor_file import read_header, require_checksum
from qnetseg_lab.weights.writing import save_model
from support.pickle_trap import assert_never_run

CONFIG = QNetConfig(feature_channels=4, threshold_hidden=3, alpha=0.8, input_scale=0.2, input_shift=0.15)
PROVENANCE = {"recipe": {"steps": 7}, "licence": "research use only", "scores": {"chaos": 70.4}}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return QNet(CONFIG)


@pytest.fixture(scope="module")
def intact(network, tmp_path_factory):
    """Bytes of a good file."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_model(path, network, PROVENANCE, "int8")
    return path.read_bytes()


@pytest.fixture
def small(monkeypatch):
    """Files of a few tensors instead of a whole network, for what happens before the network is built."""

    class Small(torch.nn.Module):
        name, title, described, config_type = "qnet", "Q-Net", "ResNet-50 Q-Net", QNetConfig

        def __init__(self, config):
            super().__init__()
            self.config, self.layer = config, torch.nn.Linear(3, 2)

    monkeypatch.setattr(weights_module, "QNet", Small)
    return Small(CONFIG)


def _tensors(network):
    return {key: value for key, value in network.state_dict().items() if not key.endswith("tracked")}


@pytest.mark.parametrize("storage", ["fp32", "bf16", "int8"])
def test_round_trip(network, tmp_path, storage):
    path = tmp_path / "a model.safetensors"
    save_model(path, network, PROVENANCE, storage)
    model = load_model(str(path))
    assert (model.name, model.provenance, model.network.config) == ("a model", PROVENANCE, CONFIG)
    assert not model.network.training
    loaded = _tensors(model.network)
    for key, value in _tensors(network).items():
        error = (loaded[key] - value).abs()
        assert loaded[key].dtype == torch.float32
        if storage == "fp32" or value.dim() < 2:
            assert torch.equal(loaded[key], value), key
        elif storage == "int8":  # half a level of each output channel's 127
            bound = value.flatten(1).abs().amax(dim=1) / 254 * 1.001
            assert (error.flatten(1).amax(dim=1) <= bound).all(), key
        else:  # eight significant bits
            assert (error <= value.abs() / 256).all(), key


def test_int8_is_a_quarter_of_fp32(network, intact):
    assert len(intact) < 0.27 * sum(4 * value.numel() for value in _tensors(network).values())


def test_metadata_can_be_read_without_the_network(intact, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(intact)
    _, metadata = read_safetensors(path)
    assert metadata["format"] == "qnetseg-1"
    assert json.loads(metadata["config"]) == CONFIG.to_dict()
    assert json.loads(metadata["provenance"]) == PROVENANCE
    assert len(metadata["sha256"]) == 64


def test_the_files_own_digest(intact, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("storage", ["fp32", "bf16", "int8"])
def test_the_panel_accepts_what_the_engine_writes(network, tmp_path, storage):
    path = tmp_path / "model.safetensors"
    save_model(path, network, PROVENANCE, storage)
    require_checksum(path, read_header(path), needed=True)
    assert {key: each.shape for key, each in read_header(path).tensors.items()} == {
        key: tuple(value.shape) for key, value in read_safetensors(path)[0].items()
    }


def test_one_flipped_byte_of_a_network_is_noticed(intact, tmp_path):
    path = tmp_path / "model.safetensors"
    damaged = bytearray(intact)
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="checksum"):
        load_model(path)


def test_any_flipped_byte_is_noticed(small, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, small, PROVENANCE, "bf16")
    good = path.read_bytes()
    name = range(good.index(b"sha256"), good.index(b"sha256") + 6)  # without this name there is no checksum
    for position in set(range(len(good))) - set(name):
        damaged = bytearray(good)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(WeightsError):
            load_model(path)


def test_a_file_from_before_checksums_and_rivals_is_read(small, tmp_path):
    path = tmp_path / "older.safetensors"
    save_model(path, small, PROVENANCE, "fp32")
    tensors, metadata = read_safetensors(path)
    assert metadata["method"] == "qnet"
    del metadata["sha256"], metadata["method"]
    save_file(tensors, path, metadata)
    assert torch.equal(load_model(path).network.layer.weight, small.layer.weight)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(intact, tmp_path, length):
    path = tmp_path / "short.safetensors"
    path.write_bytes(intact[:length])
    with pytest.raises(WeightsError, match=r"short\.safetensors is not a safetensors file or is damaged"):
        load_model(path)


def test_a_pickle_is_never_run(tmp_path):
    assert_never_run(load_model, tmp_path / "model.safetensors")


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_model(tmp_path / "none.safetensors")
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="not a QNetSegment model") as caught:
        load_model(path)
    assert "convert" in caught.value.advice


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"config": json.dumps({"attention": True}), "provenance": "{}"}, "unknown entries: attention"),
        ({"config": json.dumps({"depth": 18}), "provenance": "{}"}, "depth=18"),
        ({"config": json.dumps({"size": 10**9}), "provenance": "{}"}, "size=1000000000"),
        ({"config": json.dumps({"depth": 50.0}), "provenance": "{}"}, "depth=50.0"),
        ({"config": json.dumps({"spacing": "wide"}), "provenance": "{}"}, "spacing='wide'"),
        ({"config": json.dumps({"sharpness": float("nan")}), "provenance": "{}"}, "sharpness=nan"),
        ({"config": json.dumps({"alpha": 10**400}), "provenance": "{}"}, "alpha=1000"),
        ({"config": "[" * 100_000, "provenance": "{}"}, "no readable configuration"),
        ({"config": "{}", "provenance": "[]"}, "no readable configuration"),
        ({"config": "{", "provenance": "{}"}, "no readable configuration"),
        ({"config": "5", "provenance": "{}"}, "no readable configuration"),
        ({"config": "{}"}, "no readable configuration"),
        ({"config": "{}", "provenance": "{}", "sha256": "0"}, "checksum"),
    ],
)
def test_unusable_metadata_is_refused(tmp_path, metadata, sentence):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, {"format": "qnetseg-1", **metadata})
    with pytest.raises(WeightsError, match=sentence):
        load_model(path)


def test_no_network_is_allocated_that_the_file_does_not_hold(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    config = PropagationConfig((512,) * 5).to_dict()
    metadata = {
        "format": "qnetseg-1",
        "method": "propagation",
        "provenance": "{}",
        "config": json.dumps(config),
    }
    save_file({"weight": torch.zeros(2)}, path, metadata)
    devices = []
    build = PropagationNet.__init__

    def watched(self, *arguments):
        build(self, *arguments)
        devices.append(next(self.parameters()).device.type)

    monkeypatch.setattr(PropagationNet, "__init__", watched)
    with pytest.raises(WeightsError, match="do not fit a propagation network"):
        weights_module.load_propagation(path)
    assert devices == ["meta"]


def test_tensors_that_do_not_fit_are_named(small, tmp_path):
    path = tmp_path / "model.safetensors"
    metadata = {"format": "qnetseg-1", "config": json.dumps(CONFIG.to_dict()), "provenance": "{}"}
    save_file({"layer.weight": torch.zeros(2, 4), "extra": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsError) as caught:
        load_model(path)
    assert caught.value.message == (
        "The tensors of model.safetensors do not fit a ResNet-50 Q-Net: 1 missing (layer.bias); 1 unexpected"
        " (extra); 1 of another shape (layer.weight)."
    )


def test_a_full_disk_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save_model(path, small, PROVENANCE)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.safetensors", b"old")]


def test_a_missing_folder_is_an_output_error(small, tmp_path):
    with pytest.raises(OutputError, match="could not be written"):
        save_model(tmp_path / "none" / "model.safetensors", small, PROVENANCE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(small, tmp_path, value):
    path = tmp_path / "astray.safetensors"
    with torch.no_grad():
        small.layer.bias[1] = value
    save_model(path, small, PROVENANCE)
    with pytest.raises(WeightsError, match=r"astray\.safetensors .* not finite, the first in layer\.bias"):
        load_model(path)
