"""A small scripted module runs on the stand-ins, and alike on Slicer's own Python layer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (extra `test`)")
pytest.importorskip("slicer", reason="slicer-core is not installed (extra `slicer`)")

STANDINS = Path(__file__).resolve().parents[1] / "standins"

MODULE = """
import enum
import pathlib
from typing import Annotated, Optional

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Mode(enum.Enum):
    QUICK = "quick"
    CAREFUL = "careful"

    def label(self):
        return self.value.title()


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    drawing: Optional[vtkMRMLSegmentationNode]
    other: vtkMRMLScalarVolumeNode | None
    percent: Annotated[float, WithinRange(0, 100)] = 50.0
    count: Annotated[int, WithinRange(1, 9), Default(3)]
    invert: bool = False
    name: str = "Größe"
    plane: Annotated[str, Choice(["axial", "coronal"])] = "coronal"
    mode: Mode = Mode.CAREFUL
    names: list[str]
    folder: pathlib.Path


class Little(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Little {what}").format(what="module")
        slicer.app.startupCompleted.connect(self.started)

    def started(self):
        self.startups = getattr(self, "startups", 0) + 1


class LittleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic, self.parameters, self.tag, self.told = None, None, None, 0

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/Little.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.logic = LittleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, lambda *_: self.use(None))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, lambda *_: self.enter())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, lambda *_: self.enter())
        self.ui.apply.clicked.connect(self.on_apply)
        self.use(self.logic.parameters())

    def cleanup(self):
        self.use(None)
        self.removeObservers()
        self.cleaned = True

    def enter(self):
        self.use(self.logic.parameters())

    def use(self, parameters):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.tag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.changed)
        self.parameters = parameters
        if parameters is not None:
            self.tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.changed)
            self.changed()

    def changed(self, caller=None, event=None):
        self.told += 1
        self.ui.apply.enabled = self.parameters.volume is not None

    def on_apply(self):
        with slicer.util.tryWithErrorDisplay(_("It failed."), waitCursor=True):
            self.logic.apply(self.parameters)


class LittleLogic(ScriptedLoadableModuleLogic):
    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)

    def parameters(self):
        return Parameters(super().getParameterNode())

    def apply(self, parameters):
        if parameters.percent > 99:
            raise ValueError("too much")
        slicer.util.infoDisplay(f"{parameters.percent:.0f} percent of {parameters.volume.GetName()}")


class LittleTest(ScriptedLoadableModuleTest):
    ran = 0

    def runTest(self):
        self.delayDisplay("running")
        LittleTest.ran += 1
"""


def item(kind: str, name: str, parameter: str = "", extra: str = "") -> str:
    named = f'<property name="SlicerParameterName" stdset="0"><string>{parameter}</string></property>'
    return f'<item><widget class="{kind}" name="{name}">{named if parameter else ""}{extra}</widget></item>'


NODES = "".join(
    item(
        "qMRMLNodeComboBox",
        name,
        name,
        f'<property name="nodeTypes"><stringlist><string>{kind}</string></stringlist></property>'
        '<property name="noneEnabled"><bool>true</bool></property>',
    )
    for name, kind in (
        ("volume", "vtkMRMLScalarVolumeNode"),
        ("drawing", "vtkMRMLSegmentationNode"),
        ("other", "vtkMRMLScalarVolumeNode"),
    )
)
CONNECTIONS = "".join(
    f"<connection><sender>Little</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>"
    f"<receiver>{name}</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
    for name in ("volume", "drawing", "other")
)
FORM = f"""<?xml version="1.0" encoding="UTF-8"?><ui version="4.0"><class>Little</class>
<widget class="qMRMLWidget" name="Little"><layout class="QVBoxLayout" name="column">
<item><widget class="ctkCollapsibleButton" name="section">
<property name="text"><string>Inputs</string></property>
<layout class="QVBoxLayout" name="inputs">{NODES}</layout></widget></item>
{item("ctkSliderWidget", "percent", "percent")}{item("QSpinBox", "count", "count")}
{item("QCheckBox", "invert", "invert")}{item("QLineEdit", "name_", "name")}
{item("QComboBox", "plane", "plane")}{item("QComboBox", "mode", "mode")}
{
    item(
        "ctkPathLineEdit",
        "folder",
        "folder",
        '<property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property>',
    )
}
{item("QPushButton", "apply", "", '<property name="text"><string>Apply</string></property>')}
</layout></widget><connections>{CONNECTIONS}</connections></ui>"""


def write_module(folder: Path) -> Path:
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Little.ui").write_text(FORM, encoding="utf-8")
    (folder / "Little.py").write_text(MODULE, encoding="utf-8")
    return folder / "Little.py"


def story(folder: Path) -> None:
    """A user opens the panel, chooses, applies, errs, saves, closes the scene and reloads the module."""
    from slicer_session import load_module, session, unload_module

    bed = session()
    import slicer

    module, widget = load_module(write_module(folder))
    ui, parameters = widget.ui, widget.parameters
    assert slicer.modules.LittleInstance.parent.title == "Little module"
    assert slicer.util.getModuleWidget("Little") is widget
    assert slicer.util.getModuleLogic("Little") is widget.logic
    assert (ui.percent.value, ui.count.value, ui.plane.currentText, ui.mode.currentText) == (
        50,
        3,
        "coronal",
        "Careful",
    )
    assert ui.name_.text == "Größe" and not ui.apply.enabled

    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4)), name="head")
    assert ui.volume.currentNode() is None and ui.volume.nodeCount() == 1
    ui.volume.setCurrentNode(volume)
    assert parameters.volume is volume and ui.apply.enabled
    parameters.other = volume
    assert ui.other.currentNode() is volume

    ui.mode.setCurrentText("Quick")
    ui.percent.value = 70
    ui.name_.text = "größer"
    ui.invert.click()
    assert (parameters.mode, parameters.percent) == (module.Mode.QUICK, 70.0)
    assert (parameters.name, parameters.invert) == ("größer", True)
    parameters.names = ["a"]
    parameters.names.append("b")
    parameters.folder = folder
    assert ui.folder.currentPath == str(folder)
    for name, wrong in (("percent", 101.0), ("count", 0), ("plane", "oblique"), ("name", None)):
        with pytest.raises(ValueError):
            setattr(parameters, name, wrong)
    with pytest.raises(TypeError):
        parameters.volume = parameters.parameterNode
    assert parameters.percent == 70.0 and parameters.count == 3

    ui.apply.click()
    assert [(m.kind, m.text) for m in bed.messages] == [("info", "70 percent of head")]
    bed.messages.clear()
    parameters.percent = 99.5
    with pytest.raises(ValueError, match="too much"):
        widget.on_apply()
    assert [m.text for m in bed.messages] == ["It failed.\n\ntoo much"] and "Traceback" in bed.messages[
        0
    ].details
    parameters.percent = 70.0

    keep_a_scene(folder, widget)
    parameters, told = widget.parameters, widget.told
    slicer.mrmlScene.RemoveNode(parameters.volume)
    assert parameters.volume is None and not ui.apply.enabled and widget.told > told
    slicer.mrmlScene.Clear(0)
    assert widget.parameters is not parameters and widget.parameters.percent == 50.0
    ui.percent.value = 20
    assert widget.parameters.percent == 20.0

    slicer.app.startupCompleted.emit()
    assert slicer.modules.LittleInstance.startups == 1
    slicer.selfTests["Little"]()
    assert module.LittleTest.ran == 1
    reload(widget)
    unload_module(slicer.modules.LittleWidget)
    assert not hasattr(slicer.modules, "LittleWidget")


def keep_a_scene(folder: Path, widget) -> None:
    """Values and nodes come back from a scene file, and the panel shows them."""
    import slicer

    path = folder / "scene.mrb"
    slicer.mrmlScene.SetRootDirectory(str(folder))
    assert slicer.mrmlScene.WriteToMRB(str(path))
    saved = widget.parameters.parameterNode
    assert saved.GetParameter("mode") == "QUICK" and saved.GetParameter("names.1") == "b"
    assert saved.GetNodeReferenceID("other.0") == saved.GetNodeReferenceID("volume")
    slicer.mrmlScene.Clear(0)
    assert widget.parameters.percent == 50.0 and widget.ui.volume.currentNode() is None
    assert slicer.mrmlScene.ReadFromMRB(str(path), True)
    assert widget.parameters.percent == 70.0 and list(widget.parameters.names) == ["a", "b"]
    assert widget.parameters.volume.GetName() == "head" and widget.parameters.drawing is None
    assert widget.ui.other.currentNode() is widget.parameters.volume and widget.ui.apply.enabled


def reload(widget) -> None:
    """The changed source is used by a new panel; the old one was cleaned up."""
    import slicer

    slicer.util.reloadScriptedModule("Little")
    new = slicer.modules.LittleWidget
    assert new is not widget and widget.cleaned and type(new) is not type(widget)
    assert new.ui.percent.value == 20
    assert new.parent is widget.parent


@pytest.mark.parametrize("layer", ["stand-ins", "Slicer"])
def test_a_module_runs_on_both_layers(layer, tmp_path):
    environment = dict(os.environ, QT_QPA_PLATFORM="offscreen")
    own = environment.pop("QNETSEG_SLICER_PYTHON", None)
    if layer == "Slicer":
        if not own:
            pytest.skip("QNETSEG_SLICER_PYTHON does not name the folder Base/Python of Slicer's sources")
        environment["QNETSEG_SLICER_PYTHON"] = own
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert layer in done.stdout


if __name__ == "__main__":
    sys.path.insert(0, str(STANDINS))
    story(Path(sys.argv[1]))
    import slicer.ScriptedLoadableModule

    print("stand-ins" if str(STANDINS) in slicer.ScriptedLoadableModule.__file__ else "Slicer")
