"""The first run: what is missing is said line by line, and got by a click, never by itself."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer

from support.panel_bed import choose, click, turn_events, wait_until
from support.panel_models import entry_of, write_catalogue, write_weights
from support.panel_stories import Story, requirements, story, worker_module

__all__ = ["story"]


def reopen(story: Story) -> None:
    """The user leaves the module and comes back."""
    story.panel.frame.exit()
    story.panel.frame.enter()
    turn_events()


def lines(story: Story) -> list[str]:
    """The sentences of the section Setup that the user sees."""
    labels = story.ui.requirementsBox.findChildren(qt.QLabel)
    return [label.text for label in labels if label.isVisible() and len(label.text) > 1]


def line(story: Story, title: str) -> str:
    return next((text for text in lines(story) if text.startswith(title)), "")


def action(story: Story, key: str) -> Any:
    found = [button for button in story.ui.requirementsBox.findChildren(qt.QPushButton) if button.isVisible()]
    return next((button for button in found if button.objectName == f"{key}Action"), None)


def offered(story: Story, key: str) -> Any:
    """The same, once the panel has looked at what is missing."""
    wait_until(lambda: action(story, key))
    return action(story, key)


@pytest.fixture
def torch(story: Story, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Python without torch until the PyTorch extension, a stand-in, has installed it; that extension."""
    extension = importlib.import_module("PyTorchUtils")
    extension.reset()
    extension.installed_version = None
    known = requirements.installed_version

    def version(name: str) -> str | None:
        return extension.installed_version if name in ("torch", "torchvision") else known(name)

    monkeypatch.setattr(requirements, "installed_version", version)
    story.panel.messages.clear()
    reopen(story)
    yield extension
    extension.reset()


def test_everything_is_there(story: Story) -> None:
    assert not story.ui.setupSection.isVisible() and story.panel.messages == []
    click(story.ui.advancedSection)
    click(story.ui.showSetupButton)
    assert story.ui.setupSection.isVisible() and not story.ui.setupHelp.isVisible()
    titles = [text.split(":")[0] for text in lines(story)]
    models = ["Propagation model", "Q-Net model"]
    assert titles == ["PyTorch", "Python packages", *models, "Computing device"]
    assert action(story, "torch") is None and action(story, "qnetWeights") is None
    story.load_and_draw()
    assert story.ui.segmentButton.enabled


def test_torch_is_missing(story: Story, torch: Any) -> None:
    ui = story.ui
    assert ui.setupSection.isVisible() and ui.setupHelp.isVisible()
    assert line(story, "PyTorch") == "PyTorch: not installed"
    assert line(story, "Python packages") and line(story, "Q-Net model")
    assert "known when PyTorch works" in line(story, "Computing device")
    story.load_and_draw()
    assert not ui.segmentButton.enabled
    assert ui.hintLabel.text == "Something is not installed yet: see Setup above."
    assert not ui.batchButton.enabled
    assert torch.calls == [] and story.panel.messages == []  # nothing happens by itself


def test_torch_is_installed_by_a_click(story: Story, torch: Any) -> None:
    story.load_and_draw()
    story.panel.answers.append(False)
    click(offered(story, "torch"))
    (asked,) = story.panel.messages
    assert asked.kind == "question" and "Install PyTorch" in asked.text and "several hundred MB" in asked.text
    assert torch.calls == [] and story.ui.setupSection.isVisible()
    click(offered(story, "torch"))
    assert len(story.panel.messages) == 2  # the extension does not ask once more
    assert len(torch.calls) == 1 and torch.calls[0]["torchVersionRequirement"] == ">=2.1"
    # Nothing is missing any more, and the section stays for the advice: the installer has loaded torch.
    assert story.ui.setupMessage.text == "Installed. Restart Slicer to go on."
    assert story.ui.setupMessage.isVisible() and not story.ui.setupHelp.isVisible()
    assert story.ui.segmentButton.enabled
    story.segment()


def test_the_installation_of_torch_fails(story: Story, torch: Any) -> None:
    torch.error = RuntimeError("no space left on device")
    click(offered(story, "torch"))
    assert "PyTorch could not be installed: no space left on device." in story.ui.setupMessage.text
    assert "RuntimeError: no space left on device" in story.log
    assert story.ui.setupSection.isVisible()
    torch.error = None
    click(offered(story, "torch"))
    assert "Restart Slicer" in story.ui.setupMessage.text and not story.ui.setupHelp.isVisible()


def test_the_extension_is_missing(story: Story, torch: Any) -> None:
    story.panel.session.pytorch_extension(False)
    reopen(story)
    assert action(story, "torch").text == "Install PyTorch extension"
    manager = slicer.app.extensionsManagerModel()
    manager.works = False
    click(offered(story, "torch"))
    assert "could not be downloaded or installed" in story.ui.setupMessage.text
    manager.works = True
    click(offered(story, "torch"))
    assert manager.isExtensionInstalled("PyTorch") and "Restart Slicer" in story.ui.setupMessage.text
    assert slicer.app.restarts == 0 and story.ui.setupSection.isVisible()
    manager.installed.clear()


def test_packages_are_missing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    from QNetSegmentLib import compat

    installed: list[str] = []
    monkeypatch.setattr(compat, "pip_check", lambda one: one in installed)
    monkeypatch.setattr(compat, "pip_ensure", lambda wanted, _requester: installed.extend(wanted))
    reopen(story)
    assert line(story, "Python packages").startswith("Python packages: not installed: ")
    click(offered(story, "packages"))
    assert installed and story.panel.messages == []  # Slicer's installer asks by itself
    assert not story.ui.setupSection.isVisible()


# Weights


@pytest.fixture
def server(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue that lacks one of the default models; the file that its address stands for."""
    (tmp_path / "server").mkdir()
    (tmp_path / "resources" / "Models").mkdir(parents=True)
    file = write_weights(tmp_path / "server" / "tiny.safetensors")
    qnet = write_weights(tmp_path / "resources" / "Models" / "tiny-qnet.safetensors", "qnet")
    entries = [entry_of(file, url=file.as_uri()), entry_of(qnet, "qnet")]
    write_catalogue(tmp_path / "resources", entries)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(tmp_path / "resources"))
    reopen(story)
    return file


def test_weights_are_downloaded_and_removed_by_clicks(story: Story, server: Path, tmp_path: Path) -> None:
    ui = story.ui
    assert line(story, "Propagation model") == "Propagation model: tiny is not on this machine"
    assert line(story, "Q-Net model").startswith("Q-Net model: tiny-qnet, ")
    button = action(story, "weights")
    assert button.text == "Download less than 0.1 MB"  # the size is known before
    story.load_and_draw()
    assert not ui.segmentButton.enabled and not (tmp_path / "models").exists()
    story.panel.answers.append(False)
    click(offered(story, "weights"))
    assert not (tmp_path / "models").exists()
    click(offered(story, "weights"))
    assert (tmp_path / "models" / "tiny.safetensors").read_bytes() == server.read_bytes()
    assert not ui.setupSection.isVisible() and ui.segmentButton.enabled and not ui.setupProgress.isVisible()
    click(ui.advancedSection)
    click(ui.showSetupButton)
    story.panel.answers.append(False)
    click(ui.removeDownloadsButton)
    assert "tiny (less than 0.1 MB)" in story.panel.messages[-1].text
    assert (tmp_path / "models" / "tiny.safetensors").exists()
    click(ui.removeDownloadsButton)
    assert list((tmp_path / "models").iterdir()) == [] and "free again" in ui.setupMessage.text
    assert not ui.segmentButton.enabled
    click(ui.removeDownloadsButton)
    assert ui.setupMessage.text == "Nothing was downloaded."


def test_a_download_that_fails_says_why(story: Story, server: Path, tmp_path: Path) -> None:
    server.rename(server.with_name("away"))
    click(offered(story, "weights"))
    assert "could not be downloaded" in story.ui.setupMessage.text
    assert not story.ui.setupProgress.isVisible() and action(story, "weights") is not None
    server.write_bytes(b"damaged")
    click(offered(story, "weights"))
    assert "brought fewer than" in story.ui.setupMessage.text
    assert list((tmp_path / "models").iterdir()) == []
    server.with_name("away").replace(server)
    click(offered(story, "weights"))
    assert not story.ui.setupSection.isVisible()


def test_a_local_weights_file_is_used(story: Story, server: Path, tmp_path: Path) -> None:
    ui = story.ui
    good = write_weights(tmp_path / "a local model.safetensors")
    other = write_weights(tmp_path / "other.safetensors", "panet")
    files = {
        "pickled.safetensors": pickle.dumps({"weights": 1}),
        "cut.safetensors": good.read_bytes()[:40],
        "baseline.safetensors": other.read_bytes(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        story.panel.answers.append(str(tmp_path / name))
        click(ui.useWeightsFileButton)
        assert name in ui.setupMessage.text and story.session.parameters.model == ""
        assert ui.setupSection.isVisible()
    story.panel.answers.append("")  # the dialog was closed
    click(ui.useWeightsFileButton)
    assert story.session.parameters.model == ""
    story.panel.answers.append(str(good))
    click(ui.useWeightsFileButton)
    assert story.session.parameters.model == str(good)
    assert not ui.setupSection.isVisible() and ui.modelCombo.currentText == "a local model.safetensors"
    story.load_and_draw()
    story.segment()
    good.unlink()
    reopen(story)
    assert "a local model.safetensors" in line(story, "Propagation model") and not ui.segmentButton.enabled
    click(ui.advancedSection)
    choose(ui.modelCombo, "default")
    assert story.session.parameters.model == ""


def test_a_model_of_choice_serves_for_one_kind_and_the_default_for_the_other(
    story: Story, tmp_path: Path
) -> None:
    ui = story.ui
    mine = write_weights(tmp_path / "mine.safetensors", "qnet")
    click(ui.advancedSection)
    click(ui.showSetupButton)
    story.panel.answers.append(str(mine))
    click(ui.useWeightsFileButton)
    assert line(story, "Q-Net model").startswith("Q-Net model: mine, ")
    assert line(story, "Propagation model").startswith("Propagation model: tiny, ")
    mine.unlink()
    reopen(story)
    assert not story.worker.busy and "mine.safetensors" in line(story, "Propagation model")


# The process knows what no look at the disk tells


def test_the_process_starts_when_the_panel_is_entered(story: Story) -> None:
    wait_until(lambda: story.worker.device)
    assert story.ui.deviceLabel.text == "Computes on: CPU" and story.session.run is None
    pid = story.worker.pid
    reopen(story)
    story.load_and_draw()
    story.segment()
    assert story.worker.pid == pid and story.panel.messages == []


def test_a_process_that_starts_badly_does_not_keep_the_user_from_drawing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.cool()
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "worker_command", lambda: ["/absent/python"])
        reopen(story)
        wait_until(lambda: "/absent/python" in line(story, "Computing device"))
    assert story.ui.setupSection.isVisible() and story.message == "" and story.panel.messages == []
    story.load_and_draw()
    story.segment()
    assert not story.ui.setupSection.isVisible()


def test_no_process_starts_where_something_is_missing(story: Story, torch: Any) -> None:
    story.cool()
    reopen(story)
    assert story.worker.pid is None


def test_no_process_starts_while_slicer_tests_itself(story: Story) -> None:
    story.cool()
    slicer.app.testing = True
    try:
        reopen(story)
        assert story.worker.pid is None
    finally:
        slicer.app.testing = False


def test_check_again_starts_the_process(story: Story) -> None:
    ui = story.ui
    click(ui.advancedSection)
    click(ui.showSetupButton)
    click(ui.checkAgainButton)
    assert "Starting the segmentation process" in ui.setupMessage.text or story.worker.device
    wait_until(lambda: line(story, "Computing device") == "Computing device: CPU")
    assert not ui.setupMessage.isVisible() and ui.deviceLabel.text == "Computes on: CPU"


def test_a_process_that_cannot_start_is_told_and_tried_again(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui = story.ui
    click(ui.advancedSection)
    click(ui.showSetupButton)
    story.cool()
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "worker_command", lambda: ["/absent/python"])
        click(ui.checkAgainButton)
        wait_until(lambda: "/absent/python" in line(story, "Computing device"))
    assert action(story, "device").text == "Try again"
    click(offered(story, "device"))
    wait_until(lambda: line(story, "Computing device") == "Computing device: CPU")
