"""Volumes that a process of their own reads, over QProcess on Qt stand-ins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import slicer

from qnetseg import errors
from qnetseg.volume import read_volume, volume_id
from qnetseg.worker import protocol
from qnetseg.worker.exchange import make_folder
from qnetseg.worker.process import python_paths
from qnetseg.worker.reader import quoted
from support.cli_bed import scan_array, write_image
from support.dicom_series import write_series
from support.qt_worker_bed import is_gone, run_events, wait_until, watched_folder

from QNetSegmentLib.process.reader import Reader  # isort: skip

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
WAITING = [sys.executable, "-c", "import sys; sys.stdin.read()"]  # says nothing


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    with watched_folder(tmp_path, monkeypatch) as folder:
        yield folder
        wait_until(Reader.all_over)


class Reading:
    """A reader at work, and everything that it says."""

    def __init__(self, path, command=None):
        self.ends = []
        self.reader = Reader(command)
        self.reader.finished.connect(lambda *found: self.ends.append(found))
        self.reader.failed.connect(self.ends.append)
        self.reader.read(path)
        self.pid = self.reader.pid

    def end(self):
        """Volume and fingerprint, or the error; the one signal also after a while."""
        wait_until(lambda: self.ends)
        run_events()
        (end,) = self.ends
        return end


def folders(temporary):
    return list(temporary.glob(f"{protocol.FOLDER_PREFIX}*"))


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / "Patienten ü, 患者 100%"
    folder.mkdir()
    return write_image(folder / "a scan β.nii.gz", scan_array())


def test_a_file_is_read_as_in_this_process(temporary, image):
    reading = Reading(image)
    volume, fingerprint, _ = reading.end()
    expected = read_volume(image)
    assert volume.name == expected.name == "a scan β" and fingerprint == volume_id(expected)
    assert volume.array.dtype == np.float32 and type(volume.array) is np.ndarray
    assert np.array_equal(volume.array, expected.array)
    assert np.array_equal(volume.ijk_to_ras, expected.ijk_to_ras)
    assert not volume.array.flags.writeable
    (folder,) = folders(temporary)
    assert [path.name for path in folder.iterdir()] == ["volume.npy"]
    reading.reader.release()
    assert folders(temporary) == []
    wait_until(lambda: is_gone(reading.pid))
    assert np.array_equal(volume.array, expected.array) or os.name != "posix"
    reading.reader.release()
    assert len(reading.ends) == 1


def test_what_is_odd_about_a_file_is_handed_over(temporary, image):
    image.write_bytes(image.read_bytes() + b"more")
    reading = Reading(image)
    _volume, _fingerprint, (sentence,) = reading.end()
    assert "'a scan β.nii.gz' has something behind its compressed data" in sentence
    reading.reader.release()


def test_a_folder_with_a_series_is_read(temporary, tmp_path):
    array = write_series(tmp_path / "series ü")
    reading = Reading(tmp_path / "series ü")
    volume, fingerprint, _ = reading.end()
    assert np.array_equal(volume.array, array) and volume.name == "T2 axial"
    assert fingerprint == volume_id(read_volume(tmp_path / "series ü"))
    reading.reader.release()


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text")
def test_a_file_that_makes_simpleitk_abort_harms_nobody_else(temporary, tmp_path):
    path = tmp_path / os.fsdecode(b"M\xfcller.nrrd")  # Latin-1, on a system with UTF-8
    write_image(tmp_path / "plain.nrrd", scan_array()).rename(path)
    assert isinstance(Reading(path).end(), errors.QNetSegmentError)


def corrupt(image):
    image.write_bytes(image.read_bytes()[:200])


def constant(image):
    write_image(image, np.ones((4, 5, 6), np.float32))


@pytest.mark.parametrize("damage", [corrupt, constant, os.remove])
def test_what_cannot_be_read_is_the_error_of_read_volume(temporary, image, damage):
    damage(image)
    with pytest.raises(errors.QNetSegmentError) as caught:
        read_volume(image)
    reading = Reading(image)
    error = reading.end()
    assert (type(error), str(error)) == (type(caught.value), str(caught.value))
    wait_until(lambda: is_gone(reading.pid))


def saying(line, then="sys.stdin.read()"):
    return [sys.executable, "-c", f"import sys; print({line!r}, flush=True); {then}"]


NO_MATRIX = '{"ijk_to_ras": [[1]], "name": "n", "fingerprint": "f"}'
READY = '{"event": "ready", "id": "1", "version": 2, "pid": 1, "torch": "", "device": ""}'
COMMANDS = {
    "missing": (["/absent/python"], errors.WorkerError, "could not be started"),
    "broken": ([sys.executable, "-c", "import absent_module"], protocol.WorkerFailure, "exit code 1"),
    "silent": ([sys.executable, "-c", "pass"], protocol.WorkerFailure, "exit code 0"),
    "garbage": (saying("hello"), protocol.ProtocolError, "hello"),
    "no matrix": (saying(NO_MATRIX), protocol.ProtocolError, "no known event"),
    "another event": (saying(READY, "sys.exit()"), protocol.ProtocolError, "did not answer with a volume"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_process_that_does_not_do_it_is_a_typed_error(temporary, image, case):
    command, kind, words = COMMANDS[case]
    error = Reading(image, command).end()
    assert isinstance(error, kind) and words in error.message and error.advice
    if case == "broken":
        assert "absent_module" in error.details


@pytest.mark.parametrize("file", [None, b"", b"\x93NUMPY junk", "cut", "flat"])
def test_an_array_that_is_not_there_or_broken_is_an_error(temporary, image, file):
    code = """
import json, sys
import numpy as np
folder = json.loads(sys.stdin.readline())["folder"]
np.save(folder + "/volume.npy", np.zeros((3, 4, 5), np.float32))
"""
    code += {
        None: "import os; os.remove(folder + '/volume.npy')",
        "cut": "open(folder + '/volume.npy', 'r+b').truncate(200)",
        "flat": "np.save(folder + '/volume.npy', np.zeros((3, 4)))",
    }.get(file, f"open(folder + '/volume.npy', 'wb').write({file!r})")
    code += """
found = {"ijk_to_ras": np.eye(4).tolist(), "name": "scan", "fingerprint": "f", "oddities": []}
print(json.dumps(found), flush=True)
sys.stdin.read()
"""
    error = Reading(image, [sys.executable, "-c", code]).end()
    assert isinstance(error, protocol.WorkerFailure) and "'scan' was read, but not" in error.message


def test_a_full_disk_is_an_error(temporary, image, monkeypatch):
    def full(*_args, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert isinstance(Reading(image, WAITING).end(), errors.OutputError)


@posix_only
def test_killed_while_it_reads(temporary, image):
    reading = Reading(image, WAITING)
    os.kill(reading.pid, signal.SIGKILL)
    error = reading.end()
    assert isinstance(error, protocol.WorkerFailure) and "SIGKILL" in error.message
    assert "memory" in error.advice


@posix_only
def test_killed_after_it_has_read(temporary, image):
    reading = Reading(image)
    volume, *_ = reading.end()
    os.kill(reading.pid, signal.SIGKILL)
    wait_until(lambda: not folders(temporary))
    assert np.array_equal(volume.array, read_volume(image).array)
    reading.reader.release()
    run_events()
    assert len(reading.ends) == 1


@pytest.mark.parametrize("wait", [0.0, 0.3])
def test_released_while_it_reads(temporary, image, wait):
    reading = Reading(image, WAITING)
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        run_events(1)
    pid = reading.reader.pid
    reading.reader.release()
    assert folders(temporary) == []
    wait_until(lambda: is_gone(pid) and Reader.all_over())
    assert reading.ends == []


@pytest.mark.parametrize("command", [None, WAITING], ids=["after", "while"])
def test_the_application_quits_after_and_while_a_file_is_read(temporary, image, command):
    reading = Reading(image, command)
    if command is None:
        reading.end()
    pid = reading.reader.pid
    slicer.app.aboutToQuit.emit()
    assert is_gone(pid) and folders(temporary) == []  # at once: no event loop runs any more


def test_released_by_the_slot_that_gets_the_volume(temporary, image):
    reader, names = Reader(), []

    def take(volume, *_):
        names.append(volume.name)
        reader.release()

    reader.finished.connect(take)
    reader.read(image)
    wait_until(lambda: names and Reader.all_over())
    assert names == ["a scan β"] and folders(temporary) == []


def test_the_application_crashes(temporary, image):
    """Without anybody who listens, process and folder go by themselves."""
    folder = make_folder()
    process = subprocess.Popen(
        [sys.executable, "-m", "qnetseg.worker.reader", quoted(image)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | python_paths(None),
    )
    with process:
        process.stdin.write(protocol.encode(protocol.Hello("1", protocol.VERSION, str(folder))))
        process.stdin.flush()
        assert process.stdout.readline() and (folder / "volume.npy").is_file()
        process.stdin.close()
        assert process.stdout.read() == b"" and process.wait() == 0
    assert not folder.exists()


def test_the_process_leaves_torch_alone():
    code = "import sys, qnetseg.worker.reader, qnetseg.volume; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | python_paths(None)).returncode == 0
