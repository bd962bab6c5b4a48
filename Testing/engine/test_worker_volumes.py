"""Volumes that a worker opens, holds and lets go of, through the Python client."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.segment import Query
from qnetseg.volume import Drawing, Volume, read_volume, volume_id, write_volume
from qnetseg.worker import exchange
from qnetseg.worker.client import WorkerClient
from qnetseg.worker.failures import NotOpen
from qnetseg.worker.held import Held
from support.worker_bed import FAKE, sample


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "a folder with ü"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def client(temporary):
    with WorkerClient(FAKE) as client:
        yield client


def test_a_path_is_opened_by_the_worker(client, temporary):
    support, volume = sample()
    path = temporary / "a scan.nii.gz"
    write_volume(path, volume)
    opened, query = client.open(path), Query.of(read_volume(path))
    assert (opened.shape, opened.fingerprint) == (volume.shape, query.fingerprint)
    np.testing.assert_allclose(opened.ijk_to_ras, volume.ijk_to_ras)
    assert client.segment(support, opened, device="cpu").mask.count
    path.write_bytes(b"no image")
    with pytest.raises(errors.VolumeError):
        client.open(path)


def test_a_drawing_goes_without_its_image_and_may_be_another_volumes(client):
    support, volume = sample()
    mask = np.zeros(volume.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    drawing = Drawing.of_mask(mask, volume.shape, name="box")
    query, other = client.open(volume), client.open(volume)
    packed = client.pack(drawing, query)
    assert packed.volume_id == support.volume_id == query.fingerprint and packed.name == "box"
    assert np.array_equal(packed.slices[0].image, support.slices[0].image)
    for drawn_on in (None, other):
        assert client.segment(drawing, query, drawn_on, device="cpu").report.structure == "box"
    client.release(other)
    with pytest.raises(NotOpen):
        client.segment(drawing, query, other, device="cpu")
    assert list(client.folder.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_an_array_crosses_in_its_own_type(client, dtype, monkeypatch):
    volume = sample()[1]
    array = (100 * volume.array).astype(dtype)
    saved, save = [], exchange.save_array
    monkeypatch.setattr("qnetseg.worker.requests.save_array", lambda p, a: saved.append(a) or save(p, a))
    opened = client.open(Volume(array, volume.ijk_to_ras, "raw"))
    assert saved[0] is array and opened.name == "raw"
    assert opened.fingerprint == volume_id(Volume.checked(array, volume.ijk_to_ras))


def test_what_was_not_used_for_long_is_let_go_of(monkeypatch):
    held, query = Held(), Query.of(sample()[1])
    monkeypatch.setattr("qnetseg.worker.held.MOST_BYTES", 3 * query.nbytes)
    for name in "abc":
        held._queries[name] = query
        held._make_room()
    assert held["a"] is query  # used, so that b is the oldest
    held._queries["d"] = query
    held._make_room()
    assert list(held._queries) == ["c", "a", "d"]
    with pytest.raises(NotOpen, match="not open any more"):
        held["b"]
    monkeypatch.setattr("qnetseg.worker.held.MOST_BYTES", 1)
    held._make_room()
    assert list(held._queries) == ["a", "d"], "those in use stay, however large"
