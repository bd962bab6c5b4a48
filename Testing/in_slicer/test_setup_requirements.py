"""The Setup section's lines: what is there, what is missing, and the exact error."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slicer_session import session

session()

from qnetseg.errors import DeviceError, WorkerError  # noqa: E402
from QNetSegmentLib.setup import requirements  # noqa: E402
from QNetSegmentLib.setup.requirements import DEVICE, PACKAGES, QNET_WEIGHTS, TORCH, WEIGHTS, State  # noqa: E402
from support.panel_models import entry_of, two_models, write_catalogue, write_weights  # noqa: E402

TESTING = Path(__file__).resolve().parents[1]
TOO_OLD_NUMPY = WorkerError(
    "PyTorch 2.2.2 does not work with NumPy 2.4.0: Numpy is not available.",
    "Install versions that fit together: PyTorch before 2.3 needs NumPy before 2.",
)


@pytest.fixture
def versions(monkeypatch):
    """The installed packages by name; a test changes them."""
    found = {"torch": "2.9.0+cu128", "torchvision": "0.24.0", "safetensors": "0.6", "scipy": "1.16"}

    def version(name):
        if name not in found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return found


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of the shipped models; the default ones are `tiny` and `tiny-qnet`."""
    folder = two_models(tmp_path / "resources")
    monkeypatch.setenv("QNETSEG_RESOURCES", str(tmp_path / "resources"))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "downloads"))
    return folder


def check(**arguments):
    return {one.key: one for one in requirements.check(**arguments)}


def test_all_is_there(versions, models):
    found = requirements.check(worker_device="cuda")
    assert [one.key for one in found] == [TORCH, PACKAGES, WEIGHTS, QNET_WEIGHTS, DEVICE]
    assert {one.state for one in found} == {State.OK} and not requirements.missing(found)
    assert {one.action for one in found} == {""}
    lines = {one.key: one.detail for one in found}
    assert lines[TORCH] == "PyTorch 2.9.0+cu128"
    assert lines[PACKAGES] == "safetensors 0.6, scipy 1.16"
    assert lines[WEIGHTS].startswith("tiny, ") and "part of QNetSegment" in lines[WEIGHTS]
    assert lines[QNET_WEIGHTS].startswith("tiny-qnet, ")
    assert lines[DEVICE] == "GPU (cuda)"


def test_before_the_first_start_the_device_is_unknown_and_not_missing(versions, models):
    found = requirements.check()
    assert found[-1].state is State.UNKNOWN
    assert not requirements.missing(found)


def test_nothing_is_installed(versions, models):
    versions.clear()
    found = check()
    assert requirements.missing(found.values())
    assert (found[TORCH].state, found[TORCH].detail) == (State.MISSING, "not installed")
    assert found[TORCH].action == "Install PyTorch" and "several hundred MB" in found[TORCH].note
    assert found[PACKAGES].state is State.MISSING and "scipy" in found[PACKAGES].detail
    assert found[DEVICE].state is State.UNKNOWN


def test_without_the_extension_that_is_the_first_step(versions, models, monkeypatch):
    del versions["torch"]
    monkeypatch.setattr(requirements, "extension_is_there", lambda: False)
    assert check()[TORCH].action == "Install PyTorch extension"


def test_torchvision_alone_can_be_missing(versions, models):
    del versions["torchvision"]
    assert (check()[TORCH].state, check()[TORCH].detail) == (State.MISSING, "torchvision is not installed")


@pytest.mark.parametrize(("version", "state"), [("2.0.1", State.FAILED), ("2.1.0", State.OK)])
def test_old_versions_of_torch_are_refused(versions, models, version, state):
    versions["torch"] = version
    assert check()[TORCH].state is state


def test_what_the_worker_says_of_torch_is_shown_word_for_word(versions, models):
    found = check(worker_error=TOO_OLD_NUMPY)
    assert (found[TORCH].state, found[TORCH].detail) == (State.FAILED, str(TOO_OLD_NUMPY))
    assert found[TORCH].action and found[DEVICE].state is State.UNKNOWN


def test_what_the_worker_says_of_the_device_is_shown_word_for_word(versions, models):
    error = DeviceError("The GPU has no kernels for this program.", "Choose the CPU.")
    found = check(worker_error=error)
    assert (found[DEVICE].state, found[DEVICE].detail) == (State.FAILED, str(error))
    assert found[DEVICE].action and found[TORCH].state is State.OK


def test_a_damaged_model_says_so(versions, models):
    (models / "tiny.safetensors").write_bytes(b"x")
    found = check()[WEIGHTS]
    assert found.state is State.FAILED and "damaged" in found.detail and found.action


def test_the_size_stands_before_a_download(versions, models, tmp_path):
    entry = entry_of(models / "tiny.safetensors", url="http://example.org/tiny", size=27_442_190)
    write_catalogue(tmp_path / "resources", [entry])
    (models / "tiny.safetensors").unlink()
    found = check()[WEIGHTS]
    assert (found.state, found.model) == (State.MISSING, "tiny")
    assert found.action == "Download 27.4 MB"


def test_a_model_that_nobody_offers_needs_a_local_file(versions, models):
    (models / "tiny.safetensors").unlink()
    found = check()[WEIGHTS]
    assert (found.state, found.action) == (State.MISSING, "Use local weights file")


def test_a_local_file_is_a_model(versions, models, tmp_path):
    local = write_weights(tmp_path / "mine.safetensors")
    assert check(model=str(local))[WEIGHTS].detail.endswith("local file")
    assert "part of QNetSegment" in check(model=str(local))[QNET_WEIGHTS].detail
    other = write_weights(tmp_path / "other.safetensors", "qnet")
    assert check(model=str(other))[QNET_WEIGHTS].detail.endswith("local file")
    assert check(model=str(other))[WEIGHTS].detail.startswith("tiny, ")
    assert check(model="tiny-qnet")[QNET_WEIGHTS].detail.startswith("tiny-qnet, ")
    assert check(model=str(tmp_path / "nothing"))[WEIGHTS].state is State.FAILED


def test_a_damaged_installation_of_the_list_is_told(versions, models, monkeypatch, tmp_path):
    monkeypatch.setattr(requirements, "packages_file", lambda: tmp_path / "gone.txt")
    found = check()[PACKAGES]
    assert found.state is State.FAILED and "Install QNetSegment again" in found.detail


def test_checking_imports_no_torch(models):
    code = (
        "import json, sys; from slicer_session import session; session();"
        "from QNetSegmentLib.setup import installer, requirements;"
        "found = requirements.check(); installer.downloads();"
        "loaded = [name for name in ('torch', 'torchvision') if name in sys.modules];"
        "print(json.dumps([[one.key for one in found], loaded]))"
    )
    paths = [str(TESTING / "standins"), str(TESTING.parent / "QNetSegment" / "Logic")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "QT_QPA_PLATFORM": "offscreen"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [
        [TORCH, PACKAGES, WEIGHTS, QNET_WEIGHTS, DEVICE],
        [],
    ]
