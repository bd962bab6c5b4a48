"""A worker that shares no disk with its client, as on another machine: arrays go within the stream."""

from __future__ import annotations

import base64
import os
import signal
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.boxes import Box
from qnetseg.segment import Job
from qnetseg.volume import Drawing, Volume, write_volume
from qnetseg.worker import pieces, protocol
from qnetseg.worker.client import WorkerClient
from qnetseg.worker.failures import ProtocolError, WorkerFailure
from qnetseg.worker.fields import BoxFile, Drawn
from qnetseg.worker.pieces import Inbox, Outbox
from qnetseg.worker.process import crash, split_command
from qnetseg.worker.protocol import FOLDER_PREFIX, VERSION
from support.dicom_bed import save, slice_of
from support.worker_bed import FAKE, PATIENCE, RawWorker, sample, speaking

FAR = [sys.executable, str(Path(pieces.__file__).parents[4] / "Testing/support/far_worker.py")]
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of our own; neither side leaves an exchange folder in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    deadline = time.monotonic() + PATIENCE
    while (left := list(tmp_path.glob(f"{FOLDER_PREFIX}*"))) and time.monotonic() < deadline:
        time.sleep(0.05)  # a worker whose connection was cut needs a moment
    assert left == []


@pytest.fixture
def client(temporary):
    with WorkerClient([*FAR, *FAKE], grace=5.0) as client:
        yield client


def noise(shape=(30, 200, 200)):
    """A volume of some MiB that cannot be packed much."""
    array = np.random.default_rng(0).integers(0, 4000, shape).astype(np.int16)
    return Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), "noise")


def test_results_are_those_of_a_worker_beside_us(client, temporary):
    support, volume = sample()
    mask = np.zeros(volume.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    drawing = Drawing.of_mask(mask, volume.shape, name="box")
    with WorkerClient(FAKE) as near:
        there, here = client.open(volume), near.open(volume)
        assert there.fingerprint == here.fingerprint and there.ijk_to_ras == here.ijk_to_ras
        for example in (support, drawing):
            found, expected = (
                one.segment(example, query, device="cpu", confidence_of="volume")
                for one, query in ((client, there), (near, here))
            )
            assert np.array_equal(found.mask.placed(volume.shape), expected.mask.placed(volume.shape))
            assert np.array_equal(found.confidence, expected.confidence)
        box = Box(np.ones((2, 3, 4), bool), (3, 2, 1))
        packed, other = client.pack(drawing, there, box), near.pack(drawing, here, box)
        assert np.array_equal(packed.slices[0].image, other.slices[0].image)
    assert not client._process.shared and list(client.folder.iterdir()) == []
    folders = list(temporary.glob(f"{FOLDER_PREFIX}*"))
    assert len(folders) == 2 and not any(list(folder.iterdir()) for folder in folders)


def test_files_of_the_client_are_read_by_the_client(client, temporary):
    support, volume = sample()
    write_volume(temporary / "scan.nii.gz", volume)
    opened = client.open(temporary / "scan.nii.gz")
    with WorkerClient(FAKE) as near:
        here = near.open(temporary / "scan.nii.gz")
    assert (opened.fingerprint, opened.name, opened.ijk_to_ras) == (
        here.fingerprint,
        here.name,
        here.ijk_to_ras,
    )
    assert client.segment(support, opened, device="cpu").mask.count
    with pytest.raises(errors.VolumeError):
        client.open(temporary / "absent.nii.gz")


def test_a_dicom_folder_of_the_client_is_read_by_the_client(client, temporary):
    for k in range(6):
        save(slice_of(k), temporary / "dicom" / f"{k}.dcm")
    opened = client.open(temporary / "dicom", series="T2")
    with WorkerClient(FAKE) as near:
        here = near.open(temporary / "dicom", series="T2")
    assert replace(opened, id="") == replace(here, id="") and opened.shape == (6, 7, 8)
    with pytest.raises(errors.InputError):
        client.open(temporary / "dicom", series="T1")


def test_what_is_odd_about_a_file_is_told_as_by_the_worker(client, temporary, monkeypatch):
    from qnetseg.worker.source import Source

    def read(self):
        errors.tell_oddity("It has gaps.")
        return Source.of(sample()[1])

    monkeypatch.setattr(Source, "read", read)
    assert client.open(temporary / "scan.nii.gz").oddities == ("It has gaps.",)


def test_a_large_volume_goes_in_pieces_and_tells_how_far_it_is(client):
    volume, told = noise(), []
    opened = client.open(volume, job=Job(lambda *event: told.append(event)))
    size = told[0][1]
    assert opened.shape == volume.shape and size > volume.array.nbytes
    assert [done for done, _, _ in told] == [*range(pieces.PIECE, size, pieces.PIECE), size]
    assert {stage for _, _, stage in told} == {"sending"}


def slow(rate=200_000):
    return [FAR[0], FAR[1], "--bytes-per-second", str(rate), *FAKE]


def test_a_slow_line_can_be_cancelled_and_has_a_time_limit(temporary):
    with WorkerClient(slow(), grace=0.2) as client:
        told, begin = [], time.monotonic()
        with pytest.raises(errors.Cancelled):
            client.open(noise(), job=Job(lambda *event: told.append(event), lambda: bool(told)))
        assert time.monotonic() - begin < 20.0
        support, volume = sample()
        query = client.open(volume)  # of another worker, or of the same one
        with pytest.raises(errors.WorkerError, match="longer"):
            client.segment(support, query, options={"do": "wait"}, device="cpu", timeout=0.3)


@posix_only
def test_a_connection_that_is_lost_is_a_sentence_and_the_next_call_works(client):
    def kill(*_):
        os.kill(client.pid, signal.SIGKILL)

    support, volume = sample()
    query = client.open(volume)
    with pytest.raises(WorkerFailure, match="connection to the worker was lost") as caught:
        client.segment(support, query, options={"do": "hang"}, device="cpu", job=Job(kill))
    assert "network" in caught.value.advice
    assert client.segment(support, client.open(volume), device="cpu").mask.count


@posix_only
def test_a_connection_that_is_lost_while_a_volume_is_sent(temporary):
    with (
        WorkerClient(slow(), grace=0.2) as client,
        pytest.raises(WorkerFailure, match="connection to the worker was lost"),
    ):
        client.open(noise(), job=Job(lambda *_: os.kill(client.pid, signal.SIGKILL)))


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (255, "ssh: connect to host gpu-box port 22: Connection refused", "Connection refused"),
        (127, "bash: line 1: qnetseg: command not found", "command not found"),
    ],
)
def test_a_worker_that_is_not_reached(temporary, code, said, words):
    command = [sys.executable, "-c", f"import sys; print({said!r}, file=sys.stderr); sys.exit({code})"]
    with pytest.raises(WorkerFailure, match="could not be reached") as caught:
        WorkerClient(command).start()
    assert words in caught.value.message and "terminal" in caught.value.advice
    assert caught.value.message.count(". ") == 0


def test_a_banner_is_named(temporary):
    with pytest.raises(ProtocolError, match='printed "Welcome to gpu-box!"') as caught:
        WorkerClient(speaking("Welcome to gpu-box!"), grace=0.2).start()
    assert "login" in caught.value.advice


def test_a_connection_that_ends_names_what_ssh_said():
    lost = crash(255, "x\nclient_loop: send disconnect: Broken pipe\n\n", greeted=True, shared=False)
    assert "exit code 255: client_loop: send disconnect: Broken pipe)" in lost.message
    assert "exit code 1)" in crash(1, "", greeted=False).message


def test_commands_as_they_are_typed():
    assert split_command("ssh -p 22 gpu-box 'a b' worker") == ["ssh", "-p", "22", "gpu-box", "a b", "worker"]
    for odd in ("", "  ", "ssh 'gpu"):
        with pytest.raises(errors.InputError):
            split_command(odd)


def upload(**changes):
    values = {"id": "1", "file": "1-a.npy", "size": 4, "start": 0, "data": packed(b"abcd"), **changes}
    return protocol.Upload(**values)


def naming(file):
    """A request with a file."""
    box = BoxFile(file, (0, 0, 0))
    return protocol.Pack("1", Drawn("q", box, "liver", (0.5, 1.0, 0.0), "", None, (), None))


def packed(content):
    return base64.b64encode(zlib.compress(content)).decode()


def test_pieces_come_together(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 1000)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    content = os.urandom(2500)
    (tmp_path / "a" / "1-m.npy").write_bytes(content)
    outbox, inbox = Outbox(tmp_path / "a"), Inbox(tmp_path / "b")
    outbox.inline = True
    outbox.add(naming("1-m.npy"))
    told = []
    while isinstance(message := protocol.decode_request(outbox.pop() + b""), protocol.Upload):
        told.append(inbox.take(message))
    assert told == [(1000, 2500), (2000, 2500), (2500, 2500)] and outbox.pop() is None
    assert (tmp_path / "b" / "1-m.npy").read_bytes() == content
    inbox.forget("1")
    assert list((tmp_path / "b").iterdir()) == []


def test_a_cancel_is_not_kept_waiting_by_files(tmp_path):
    (tmp_path / "1-m.npy").write_bytes(os.urandom(3 * pieces.PIECE))
    outbox = Outbox(tmp_path)
    outbox.inline = True
    outbox.add(naming("1-m.npy"))
    assert isinstance(protocol.decode_request(outbox.pop()), protocol.Upload)
    outbox.add(protocol.Cancel("1"))
    kinds = [type(protocol.decode_request(outbox.pop())) for _ in range(2)]
    assert kinds == [protocol.Pack, protocol.Cancel]


@pytest.mark.parametrize(
    "piece",
    [
        upload(data="????"),
        upload(data=base64.b64encode(b"no zlib").decode()),
        upload(data=packed(b"abcde")),
        upload(data=packed(b"")),
        upload(data=packed(bytes(64 << 20)), size=64 << 20),
        upload(data=base64.b64encode(zlib.compress(b"abcd") + b"more").decode()),
        upload(data=base64.b64encode(zlib.compress(b"abcd")[:-3]).decode()),
        upload(start=2),
        upload(file="2-a.npy"),
        upload(file="token"),
    ],
    ids=["not base64", "not zlib", "longer", "empty", "bomb", "more", "half", "gap", "another's", "nobody's"],
)
def test_pieces_that_do_not_fit_are_refused(tmp_path, piece):
    with pytest.raises(ProtocolError):
        Inbox(tmp_path).take(piece)
    assert list(tmp_path.iterdir()) == []


def test_more_than_a_message_may_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "MOST_BYTES", 6)
    inbox = Inbox(tmp_path)
    inbox.take(upload())
    with pytest.raises(ProtocolError):
        inbox.take(upload(file="1-b.npy"))
    with pytest.raises(ProtocolError):
        inbox.take(upload(size=5, start=4, data=packed(b"e")))
    outbox = Outbox(tmp_path)
    outbox.inline = True
    (tmp_path / "1-a.npy").write_bytes(b"12345678")
    with pytest.raises(errors.InputError, match="too large"):
        outbox.add(protocol.Open("1", None, None, "1-a.npy", None, "", ()))


def test_a_worker_tells_what_became_of_files_that_did_not_arrive(temporary):
    with RawWorker([*FAR, *FAKE]) as worker:
        assert worker.hello()["shared"] is False
        worker.say("upload", "1", file="2-a.npy", size=4, start=0, data=packed(b"abcd"))
        worker.open("1", array="1-volume.npy")
        assert worker.event()["kind"] == "ProtocolError"
        worker.open("3", array="3-volume.npy")
        assert "cannot be read" in worker.event()["message"]


def test_files_are_not_sent_where_the_disk_is_shared(temporary):
    with RawWorker() as worker:
        assert worker.hello()["shared"] is True
        worker.say("upload", "1", file="1-a.npy", size=4, start=0, data=packed(b"abcd"))
        assert worker.event()["kind"] == "ProtocolError"
    ready = protocol.Ready("1", VERSION, 1, "x", "cpu", True)
    sent = protocol.Download("2", "2-a.npy", 4, 0, packed(b"abcd"))
    command = speaking(*(protocol.encode(each).decode().strip() for each in (ready, sent)))
    with WorkerClient(command, grace=0.2) as client, pytest.raises(ProtocolError, match="disk"):
        client.open(sample()[1])


def test_requests_are_sent_from_any_thread(tmp_path):
    outbox = Outbox(tmp_path)
    threads = [
        threading.Thread(target=lambda n=n: [outbox.add(protocol.Cancel(f"{n}-{i}")) for i in range(50)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outbox.pop() is not None for _ in range(201)) == 200
