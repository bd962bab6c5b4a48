"""The worker that ships: the real engine in a real process, with tiny networks of random weights."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from qnetseg import errors
from qnetseg.boxes import Box
from qnetseg.cores import SPINS
from qnetseg.model import PropagationConfig, PropagationNet, QNet, QNetConfig
from qnetseg.models import load_networks
from qnetseg.segment import Job, Query, SegmentOptions, device, segment_volume, with_patient
from qnetseg.volume import Drawing, Patient, PatientImage, Volume
from qnetseg.worker.backend import Backend, auto_device, check_engine
from qnetseg.worker.client import WorkerClient
from qnetseg.worker.held import MOST_PATIENTS, Held
from qnetseg_lab.weights.writing import save_model
from support.cli_bed import entry_of, write_manifest
from support.worker_bed import LOGIC, sample

OPTIONS = SegmentOptions(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def resources(tmp_path_factory):
    """An installation with a small network of each kind, of random weights."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("resources with ü")
    folder = root / "Models"
    folder.mkdir()
    networks = {
        "tiny": PropagationNet(PropagationConfig((8,) * 5)),
        "tiny-qnet": QNet(QNetConfig(feature_channels=8, threshold_hidden=8, size=64, spacing=1.5)),
    }
    for name, network in networks.items():
        save_model(folder / f"{name}.safetensors", network, {"data": "none"})
    write_manifest(root, [entry_of(folder / f"{name}.safetensors") for name in networks])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QNETSEG_RESOURCES", str(root))
        yield folder


@pytest.fixture(scope="module")
def weights(resources):
    return resources / "tiny.safetensors"


@pytest.fixture(scope="module")
def client(resources):
    with WorkerClient() as client:
        yield client


def segment(client, model, options=OPTIONS, device="cpu", **arguments):
    support, volume = sample()
    query = client.open(volume)
    try:
        return client.segment(support, query, model=model, options=options, device=device, **arguments)
    finally:
        client.release(query)


def test_a_drawing_is_packed_with_its_patient_and_found_in_another_with_further_ones(client):
    support, volume = sample()
    other = Volume(volume.array[::-1].copy(), volume.ijk_to_ras, "other")
    mask = np.zeros(volume.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    drawn, query = client.open(volume), client.open(other)
    packed = client.pack(Drawing.of_mask(mask, volume.shape, name="box"), drawn)
    assert packed.patient is not None and packed.patient.volume_ml > 0
    for further in ([], [support]):
        found = client.segment(packed, query, options=OPTIONS, device="cpu", further=further)
        expected = segment_volume(packed, other, load_networks(), OPTIONS, further=further)
        assert np.array_equal(found.mask.placed(expected.mask.shape), expected.mask > 0)
        assert found.report.signs["place"] is not None
    client.release(drawn)
    client.release(query)


def test_an_accepted_result_is_packed_with_the_drawing(client):
    volume = sample()[1]
    mask, result = np.zeros((2, *volume.shape), bool)
    mask[3, 8:16, 6:14] = True
    result[1:6, 7:18, 5:13] = True
    drawing, opened = Drawing.of_mask(mask.astype(np.uint8), volume.shape, name="box"), client.open(volume)
    packed = client.pack(drawing, opened, Box.around(result))
    query = Query.of(volume)
    expected = with_patient(query.pack(drawing), query, load_networks(), result=result).patient
    assert np.array_equal(packed.patient.structure, expected.structure)
    assert packed.patient.volume_ml == pytest.approx(expected.volume_ml)
    assert not np.array_equal(client.pack(drawing, opened).patient.structure, expected.structure)
    for nowhere in (Box.empty(), Box(np.ones((1, 1, 1), bool), volume.shape)):
        with pytest.raises(errors.InputError, match="is empty"):
            client.pack(drawing, opened, nowhere)
    client.release(opened)
    assert list(client.folder.iterdir()) == []


def test_an_accepted_result_goes_with_a_drawing_into_another_patient(client):
    volume = sample()[1]
    other = Volume(volume.array[::-1].copy(), volume.ijk_to_ras, "other")
    mask, result = np.zeros((2, *volume.shape), bool)
    mask[3, 8:16, 6:14] = True
    result[1:6, 7:18, 5:13] = True
    drawing = Drawing.of_mask(mask.astype(np.uint8), volume.shape, name="box")
    drawn_on, query = client.open(volume), client.open(other)

    def found(where, given, box):
        return client.segment(
            drawing, where, given, options=OPTIONS, device="cpu", confidence_of="volume", result=box
        )

    there = found(query, drawn_on, Box.around(result))
    packed, networks = Query.of(volume).pack(drawing), load_networks()
    expected = segment_volume(packed, other, networks, OPTIONS, drawn_on=volume, result=result)
    anew = segment_volume(packed, other, networks, OPTIONS, drawn_on=volume)
    np.testing.assert_allclose(there.confidence, expected.confidence, atol=1e-5)
    assert there.report.signs == expected.report.signs != anew.report.signs
    assert there.report.warnings == expected.report.warnings
    with pytest.raises(errors.InputError, match="is empty"):
        found(query, drawn_on, Box.empty())
    own = [found(drawn_on, None, box).confidence for box in (None, Box.around(result))]
    assert np.array_equal(*own), "of no use on the volume that was drawn on"
    client.release(drawn_on)
    client.release(query)
    assert list(client.folder.iterdir()) == []


def test_patients_of_support_files_stay_until_there_are_too_many():
    held, supports = Held(), []
    for number in range(MOST_PATIENTS + 1):
        image = PatientImage.of(np.full((1, 2, 2), number, np.float32) + np.eye(2, dtype=np.float32), (5, 1))
        patient = Patient(image, np.zeros((1, 2, 2), np.uint8), 1.0)
        supports.append(replace(sample()[0], patient=patient))
    held.keep_patients(supports)
    first, second = (weakref.ref(one.patient.image) for one in supports[:2])
    del image, patient, supports
    gc.collect()
    assert first() is None and second() is not None


@pytest.mark.parametrize("method", ["volume", "q-net"])
def test_the_worker_finds_what_the_function_finds(client, method):
    seen, options = [], SegmentOptions(method=method, device="cpu", precision="fp32")
    told = Job(lambda *event: seen.append(event))
    found = segment(client, None, options, job=told, confidence_of="volume")
    expected = segment_volume(*sample(), load_networks(), options)
    assert np.array_equal(found.mask.placed(expected.mask.shape), expected.mask > 0)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
    assert found.report.model == {"volume": "tiny", "q-net": "tiny-qnet"}[method]
    assert found.report.device == "cpu" and len(found.report.slices) == len(expected.report.slices)
    assert {stage for *_, stage in seen} == {"slices"} and seen[-1][0] == seen[-1][1]
    assert [event[0] for event in seen] == sorted(event[0] for event in seen)


def test_the_structure_is_not_found_where_something_else_is(client):
    support, query = sample()
    found = segment(client, None)
    known = (np.arange(query.shape[2]) % 2 == 1) & np.ones(query.shape, bool)
    known[support.slices[0].index] = False  # which is drawn on
    assert found.mask.placed(query.shape)[known].any(), "random weights find something"
    kept_out = segment(client, None, background=Box.around(known))
    assert not kept_out.mask.placed(query.shape)[known].any()


def test_cancel_between_windows_or_slices(client):
    seen, pid = [], client.pid
    slices = SegmentOptions(method="q-net", device="cpu", precision="fp32")
    with pytest.raises(errors.Cancelled):
        segment(client, None, slices, job=Job(lambda *event: seen.append(event), lambda: bool(seen)))
    assert segment(client, None).report.model == "tiny" and client.pid == pid


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
        segment(client, weights, device="abacus")
    with pytest.raises(errors.DeviceError, match="abacus"):
        segment(client, weights, SegmentOptions(device="abacus"), device="auto")


def test_a_relative_path_means_the_clients_folder(client, weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    assert segment(client, weights.name).report.model == "tiny"


def test_the_networks_stay_loaded_until_a_file_changes(resources, weights, tmp_path):
    backend, own = Backend(), tmp_path / "own.safetensors"
    shutil.copy(weights, own)
    first = backend.networks(None)
    assert backend.networks(None) is first
    os.utime(weights, ns=(0, 0))
    second = backend.networks(None)
    assert second is not first, "a default model has changed"
    mine = backend.networks(str(own))
    assert mine is not second and backend.networks(str(own)) is mine
    os.utime(own, ns=(0, 0))
    assert backend.networks(str(own)) is not mine
    assert backend.networks("tiny-qnet") is not mine


@pytest.mark.parametrize("module", ["qnetseg.worker.__main__", "qnetseg.cli"])
@pytest.mark.parametrize("own", [None, "1000"])
def test_threads_that_wait_sleep_unless_the_user_has_said_otherwise(module, own):
    """Both processes set it before torch is imported, which reads it then."""
    code = f"""
import json, os, runpy, sys
from qnetseg.worker import server
server.main = lambda: None
sys.argv = ["qnetseg", "--version"]
if {module!r} == "qnetseg.cli":
    from qnetseg.cli import main
    main()
else:
    runpy.run_module({module!r}, run_name="__main__")
names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")
print(json.dumps([[os.environ.get(name) for name in names], "torch" in sys.modules]))
"""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    }
    environment = kept | {"PYTHONPATH": str(LOGIC)} | ({"GOMP_SPINCOUNT": own} if own else {})
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[own or str(SPINS), "0"], False]


def test_check_returns_the_version_of_torch():
    assert check_engine() == torch.__version__


def test_the_device_of_auto_is_what_the_engine_would_take(monkeypatch):
    monkeypatch.setattr(device, "_problem", lambda name: "" if name == "mps" else "broken")
    assert auto_device() == "mps"

    def fail(_name):
        raise OSError("the driver does not load")

    monkeypatch.setattr(device, "_problem", fail)
    assert auto_device() == "cpu"
