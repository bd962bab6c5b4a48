"""The worker that ships: the real engine in a real process, with a tiny model of random weights."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from qnetseg import errors
from qnetseg.model import QNet, QNetConfig, load_model, save_model
from qnetseg.segment import SegmentOptions, device, segment_volume
from qnetseg.worker.backend import Backend, auto_device, check_engine
from qnetseg.worker.client import WorkerClient
from support.worker_bed import sample

OPTIONS = SegmentOptions(batch_size=2, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = QNet(QNetConfig(feature_channels=8, threshold_hidden=8, size=64, spacing=1.5))
    path = tmp_path_factory.mktemp("models with ü") / "tiny.safetensors"
    save_model(path, network, {"data": "none"})
    return path


@pytest.fixture(scope="module")
def client():
    with WorkerClient() as client:
        yield client


def segment(client, model, options=OPTIONS, **arguments):
    return client.segment(*sample(), model=model, options=options, device="cpu", **arguments)


def test_the_worker_finds_what_the_function_finds(client, weights):
    seen = []
    found = segment(client, weights, progress=seen.append)
    expected = segment_volume(*sample(), load_model(weights), OPTIONS)
    assert np.array_equal(found.mask, expected.mask)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
    assert found.report.model == "tiny" and found.report.device == "cpu"
    assert len(found.report.slices) == len(expected.report.slices)
    slices = [event for event in seen if event.stage == "slices"]
    assert [event.done for event in slices] == sorted(event.done for event in slices)
    assert 0 < slices[-1].done <= slices[-1].total  # those beyond the structure's ends need not be encoded
    assert seen[-1].stage == "outline" and seen[-1].done == seen[-1].total


def test_cancel_between_batches_or_steps(client, weights):
    seen, pid = [], client.pid
    with pytest.raises(errors.Cancelled):
        segment(client, weights, progress=seen.append, cancel=lambda: bool(seen))
    assert segment(client, weights).report.model == "tiny" and client.pid == pid


def test_a_model_that_vanishes_is_a_weights_error(client, weights, tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(weights, copy)
    pid = client.pid
    assert segment(client, copy).report.model == "copy"
    copy.unlink()
    with pytest.raises(errors.WeightsError) as caught:
        segment(client, copy)
    assert caught.value.message.endswith(".") and caught.value.advice
    copy.write_text("not a model")
    with pytest.raises(errors.WeightsError):
        segment(client, copy)
    assert client.pid == pid and list(client.folder.iterdir()) == []


def test_options_and_device_are_checked_by_the_engine(client, weights):
    with pytest.raises(errors.InputError, match="colour"):
        segment(client, weights, options={"colour": "red"})
    with pytest.raises(errors.DeviceError, match="abacus"):
        client.segment(*sample(), model=weights, options=OPTIONS, device="abacus")
    with pytest.raises(errors.DeviceError, match="abacus"):
        client.segment(*sample(), model=weights, options=SegmentOptions(device="abacus"))


def test_a_relative_path_means_the_clients_folder(client, weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    assert segment(client, weights.name).report.model == "tiny"


def test_the_last_model_stays_loaded_until_its_file_changes(weights, tmp_path):
    backend = Backend()
    first = backend.model(str(weights))
    assert backend.model(str(weights)) is first
    os.utime(weights, ns=(0, 0))
    assert backend.model(str(weights)) is not first


def test_check_returns_the_version_of_torch():
    assert check_engine() == torch.__version__


def test_the_device_of_auto_is_what_the_engine_would_take(monkeypatch):
    monkeypatch.setattr(device, "_problem", lambda name: "" if name == "mps" else "broken")
    assert auto_device() == "mps"

    def fail(_name):
        raise OSError("the driver does not load")

    monkeypatch.setattr(device, "_problem", fail)
    assert auto_device() == "cpu"
