"""What the buttons of the Setup section do."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import slicer
from slicer_session import session

BED = session()

from qnetseg.errors import OutputError, WeightsError  # noqa: E402
from qnetseg.processes import mark  # noqa: E402
from QNetSegmentLib import compat  # noqa: E402
from QNetSegmentLib.setup import installer, requirements  # noqa: E402
from QNetSegmentLib.setup.weights_file import use_weights_file  # noqa: E402
from support.panel_models import entry_of, write_catalogue, write_weights  # noqa: E402


@pytest.fixture
def torch_extension(monkeypatch):
    """The PyTorch extension as a module with the calls that it got."""
    calls = []

    class PyTorchUtilsLogic:
        answer = SimpleNamespace(__version__="2.9.0")

        def installTorch(self, **arguments):
            calls.append(arguments)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    module = SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic, calls=calls)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return module


class Manager:
    """Slicer's extensions manager; `server` says whether the server has the extension."""

    def __init__(self, server=True, installed=()):
        self.server, self.installed, self.interactive, self.asked = server, set(installed), True, []

    def isExtensionInstalled(self, name):
        return name in self.installed

    def installExtensionFromServer(self, name, restart=True, update=False):
        self.asked.append((name, restart, self.interactive))
        if self.server:
            self.installed.add(name)
        return self.server


@pytest.fixture
def manager(monkeypatch):
    manager = Manager()
    monkeypatch.setattr(type(slicer.app), "extensionsManagerModel", lambda _: manager)
    return manager


def test_torch_is_installed_by_the_extension(torch_extension):
    assert installer.install_torch() == installer.Outcome(done=True, restart=True)
    assert torch_extension.calls == [
        {
            "askConfirmation": False,
            "torchVersionRequirement": ">=2.1",
            "torchvisionVersionRequirement": ">=0.16",
        }
    ]


def test_a_user_who_says_no_gets_no_torch_and_no_error(torch_extension):
    torch_extension.PyTorchUtilsLogic.answer = None
    assert installer.install_torch() == installer.Outcome(done=False)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (subprocess.CalledProcessError(1, ["pip"]), "pip ended with code 1"),
        (ImportError("DLL load failed\nmore"), "DLL load failed"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_failed_installation_is_one_sentence_and_details(torch_extension, error, sentence):
    torch_extension.PyTorchUtilsLogic.answer = error
    with pytest.raises(installer.InstallError) as caught:
        installer.install_torch()
    assert sentence in caught.value.message and "\n" not in caught.value.message
    assert caught.value.advice and type(error).__name__ in caught.value.details


def test_without_the_extension_this_is_installed_first(manager, monkeypatch):
    monkeypatch.setattr(requirements, "extension_is_there", lambda: False)
    assert installer.install_torch() == installer.Outcome(done=True, restart=True)
    assert manager.asked == [("PyTorch", False, False)]


def test_the_extension_is_installed_without_a_second_question_and_without_a_restart(manager):
    assert installer.install_extension() == installer.Outcome(done=True, restart=True)
    assert manager.asked == [("PyTorch", False, False)]
    assert manager.interactive is True


def test_an_extension_that_cannot_be_reached_is_an_error(manager):
    manager.server = False
    with pytest.raises(installer.InstallError) as caught:
        installer.install_extension()
    assert "Extensions Manager" in caught.value.advice and manager.interactive is True


def test_an_extension_that_waits_for_a_restart_is_not_installed_again(manager, monkeypatch):
    manager.installed.add("PyTorch")
    monkeypatch.setattr(requirements, "extension_is_there", lambda: False)
    assert installer.install_extension() == installer.Outcome(done=True, restart=True)
    assert manager.asked == []


def test_a_slicer_without_extensions_manager_says_so(monkeypatch):
    monkeypatch.delattr(type(slicer.app), "extensionsManagerModel")
    with pytest.raises(installer.InstallError, match="without the Extensions Manager"):
        installer.install_extension()


def test_packages_are_installed_for_qnetsegment(monkeypatch):
    asked = []
    monkeypatch.setattr(compat, "pip_ensure", lambda wanted, requester: asked.append((wanted, requester)))
    monkeypatch.setattr(compat, "pip_check", lambda requirement: bool(asked))
    assert installer.install_packages() == installer.Outcome(done=True)
    ((wanted, requester),) = asked
    assert requester == "QNetSegment" and any(one.startswith("scipy") for one in wanted)


def test_packages_may_be_refused_or_fail(monkeypatch):
    def refuse(*_):
        raise compat.InstallDeclined

    def fail(*_):
        raise subprocess.CalledProcessError(2, ["pip"])

    monkeypatch.setattr(compat, "pip_ensure", refuse)
    assert installer.install_packages() == installer.Outcome(done=False)
    monkeypatch.setattr(compat, "pip_ensure", fail)
    with pytest.raises(installer.InstallError, match="pip ended with code 2"):
        installer.install_packages()


# Weights


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Two models that a folder, standing for a server, offers; nothing is downloaded yet."""
    server, resources = tmp_path / "server", tmp_path / "resources"
    server.mkdir()
    (resources / "Models").mkdir(parents=True)
    entries = []
    for name in ("tiny", "other"):
        file = write_weights(server / f"{name}.safetensors")
        entries.append(entry_of(file, url=file.as_uri()))
    write_catalogue(resources, entries)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(resources))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "downloads"))
    from qnetseg.models import read_catalogue

    return read_catalogue()


def test_a_download_tells_how_far_it_is_and_can_be_removed(catalogue, tmp_path):
    entry, steps = catalogue.entry("tiny"), []
    assert installer.downloads() == []
    path = installer.download_weights(entry, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (entry.size, entry.size)
    assert [(one.name, size) for one, size in installer.downloads()] == [("tiny", entry.size)]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    gone = mark(ended.pid)
    ended.wait()
    (tmp_path / "downloads" / f".{gone}-01234567.part").write_bytes(b"12345")
    assert installer.remove_downloads() == entry.size + 5
    assert not path.exists() and installer.downloads() == []
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_damaged_download_is_replaced(catalogue):
    entry = catalogue.entry("tiny")
    path = installer.download_weights(entry)
    path.write_bytes(b"damaged")
    (weights,) = (one for one in requirements.check() if one.key == requirements.WEIGHTS)
    assert weights.state is requirements.State.FAILED
    assert weights.action.startswith("Download")
    assert installer.download_weights(entry).stat().st_size == entry.size


def test_a_download_can_be_stopped_and_leaves_nothing(catalogue, tmp_path):
    class Stop(Exception):
        pass

    def stop(_done, _total):
        raise Stop

    with pytest.raises(Stop):
        installer.download_weights(catalogue.entry("tiny"), stop)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_download_that_cannot_be_removed_is_told_and_the_others_go(catalogue, monkeypatch):
    from pathlib import Path

    for entry in catalogue.models:
        installer.download_weights(entry)
    unlink = Path.unlink

    def locked(self, *arguments, **named):
        if self.name == "tiny.safetensors":
            raise PermissionError(13, "Permission denied")
        unlink(self, *arguments, **named)

    monkeypatch.setattr(Path, "unlink", locked)
    with pytest.raises(OutputError, match="tiny"):
        installer.remove_downloads()
    assert [entry.name for entry, _size in installer.downloads()] == ["tiny"]


def real_model(path, method="", **changes):
    """A file as `qnetseg.model` writes them, with the checksum over its content."""
    import json

    import numpy as np
    from safetensors.numpy import save_file

    tensors = {
        "b": np.arange(6, dtype=np.int8).reshape(2, 3),
        "a": np.linspace(0, 1, 5, dtype=np.float32),
    }
    metadata = {"format": "qnetseg-1", "config": "{}", "provenance": json.dumps({"licence": "x"})}
    metadata |= {"method": method} if method else {}  # the first weights had none
    digest = hashlib.sha256((method + metadata["config"] + metadata["provenance"]).encode())
    for key, kind in (("a", "torch.float32"), ("b", "torch.int8")):
        digest.update(f"{key} {kind} {tensors[key].shape}".encode() + tensors[key].tobytes())
    save_file(tensors, path, {**metadata, "sha256": digest.hexdigest(), **changes})
    return path


def test_the_shipped_models_are_whole():
    from qnetseg.models import find, read_catalogue

    shipped = [path for entry in read_catalogue().models if (path := find(entry)) is not None]
    assert shipped and [use_weights_file(path) for path in shipped] == shipped


@pytest.mark.parametrize("method", ["", "qnet", "propagation"])
def test_a_local_model_is_checked_by_its_own_checksum(catalogue, tmp_path, method):
    good = real_model(tmp_path / "good.safetensors", method)
    assert use_weights_file(good) == good
    content = bytearray(good.read_bytes())
    content[-1] ^= 1
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    with pytest.raises(WeightsError, match="checksum"):
        use_weights_file(bad)
    bad.write_bytes(good.read_bytes()[:-3])
    with pytest.raises(WeightsError, match="damaged"):
        use_weights_file(bad)


def test_other_files_are_no_models(catalogue, tmp_path):
    for name, content in (("empty", b""), ("pickle", b"\x80\x04K\x01."), ("text", b"hello, this is text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError):
            use_weights_file(tmp_path / name)
    with pytest.raises(WeightsError, match="not a QNetSegment model"):
        use_weights_file(real_model(tmp_path / "x.safetensors", format="something-else"))
    with pytest.raises(WeightsError, match="segments no volumes"):
        use_weights_file(real_model(tmp_path / "baseline.safetensors", "panet"))
    with pytest.raises(WeightsError, match="There is no"):
        use_weights_file(tmp_path / "gone")
    with pytest.raises(WeightsError):
        use_weights_file(tmp_path)


def test_a_copy_of_a_catalogued_model_must_be_that_model(catalogue, tmp_path):
    impostor = real_model(tmp_path / "tiny.safetensors")
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        use_weights_file(impostor)
