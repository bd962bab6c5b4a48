"""The session: dialogs of slicer.util, sample data, PyTorch's installation, and the panel's test bed."""

from __future__ import annotations

import importlib.util
import subprocess

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (extra `test`)")
pytest.importorskip("slicer", reason="slicer-core is not installed (extra `slicer`)")

import qt
import slicer
from slicer_session import session
from test_standins_module import write_module

from support.panel_bed import Panel, add_volume, choose, click, grab, needed_width, type_text, wait_until


@pytest.fixture
def bed():
    bed = session()
    bed.reset()
    yield bed
    bed.reset()


@pytest.fixture
def little(tmp_path):
    panel = Panel(write_module(tmp_path))
    yield panel
    panel.close()


def test_questions_and_errors_of_slicer_util_are_recorded(bed):
    assert slicer.util.confirmOkCancelDisplay("Install?") is True
    bed.answers.append(False)
    assert slicer.util.confirmYesNoDisplay("Remove?") is False
    with pytest.raises(ValueError), slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
        raise ValueError("why")
    kinds = [(message.kind, message.text) for message in bed.messages]
    assert kinds == [("question", "Install?"), ("question", "Remove?"), ("error", "Failed.\n\nwhy")]
    assert qt.QApplication.overrideCursor() is None


def test_settings_are_of_the_test_alone(bed):
    assert slicer.util.settingsValue("QNetSegment/Key", "none") == "none"
    slicer.app.userSettings().setValue("QNetSegment/Key", "some")
    assert slicer.util.settingsValue("QNetSegment/Key", "none") == "some"
    assert qt.QSettings().fileName().startswith(slicer.app.temporaryPath)
    bed.reset()
    assert not qt.QSettings().contains("QNetSegment/Key")


def test_the_scene_has_slicers_slice_nodes_and_hierarchy_items(bed):
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    assert sorted(names) == ["Green", "Red", "Yellow"]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volume = add_volume(np.zeros((2, 2, 2)))
    item = hierarchy.GetItemByDataNode(volume)
    assert item
    slicer.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetItemDataNode(item) is None
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed") is not None


def test_sample_data_checks_files_and_leaves_custom_downloaders_to_the_button(bed, tmp_path):
    import SampleData

    file = tmp_path / "volume.nrrd"
    slicer.util.saveNode(add_volume(np.arange(24.0).reshape(2, 3, 4)), str(file))
    digest = slicer.util.computeChecksum("SHA256", str(file))
    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    common = {
        "category": "QNetSegment",
        "uris": file.as_uri(),
        "fileNames": "volume.nrrd",
        "nodeNames": "sample",
    }
    register(sampleName="good", checksums=f"SHA256:{digest}", **common)
    register(sampleName="bad", checksums=f"SHA256:{'0' * 64}", **common)
    pressed = []
    register(sampleName="own", customDownloader=pressed.append, **common)
    assert SampleData.downloadSample("good").GetName() == "sample"
    with pytest.raises(ValueError, match="checksum"):
        SampleData.downloadSample("bad")
    SampleData.press("own")
    assert [source.sampleName for source in pressed] == ["own"]


def test_pytorch_can_be_absent_declined_and_fail(bed):
    import PyTorchUtils

    logic = PyTorchUtils.PyTorchUtilsLogic()
    bed.answers.append(False)
    assert logic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.1") is None
    PyTorchUtils.error = subprocess.CalledProcessError(1, "pip")
    with pytest.raises(subprocess.CalledProcessError):
        logic.installTorch()
    assert PyTorchUtils.calls[0]["torchVersionRequirement"] == ">=2.1"
    bed.pytorch_extension(False)
    assert importlib.util.find_spec("PyTorchUtils") is None
    bed.reset()
    assert importlib.util.find_spec("PyTorchUtils") is not None


def test_a_user_of_a_panel_clicks_types_chooses_and_waits(little):
    volume = add_volume(np.zeros((2, 2, 2)), "head")
    with pytest.raises(AssertionError, match="disabled"):
        click(little.ui.apply)
    choose(little.ui.volume, "head")
    type_text(little.ui.name_, "Müller")
    click(little.ui.invert)
    parameters = little.widget.parameters
    assert parameters.volume is volume and parameters.invert and parameters.name == "Müller"
    qt.QTimer.singleShot(10, lambda: parameters.setValue("count", 5))
    wait_until(lambda: little.ui.count.value == 5)
    click(little.ui.section)
    with pytest.raises(AssertionError, match="hidden"):
        choose(little.ui.volume, "None")
    click(little.ui.apply)
    assert [message.text for message in little.messages] == ["50 percent of head"]


def test_pictures_have_the_width_of_slicers_panel(little, tmp_path):
    assert needed_width(little.frame) <= 360
    light = grab(little.frame, tmp_path / "light.png")
    dark = grab(little.frame, tmp_path / "dark.png", dark=True)
    assert light == dark and light[0] == 360 and light[1] > 200
    light, dark = (qt.QImage(str(tmp_path / name)) for name in ("light.png", "dark.png"))
    assert light.pixelColor(2, 2).lightness() > 150 > dark.pixelColor(2, 2).lightness()


def test_an_exception_in_a_slot_fails_the_test(tmp_path, capsys):
    panel = Panel(write_module(tmp_path))
    qt.QTimer.singleShot(0, lambda: 1 / 0)
    wait_until(lambda: panel.session.uncaught)
    with pytest.raises(AssertionError, match="division by zero"):
        panel.close()
    assert "ZeroDivisionError" in capsys.readouterr().err
