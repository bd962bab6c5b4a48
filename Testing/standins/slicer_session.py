"""A headless session like Slicer's: real MRML scene and module logics, stand-ins for Qt and Python layer.

    from slicer_session import session, load_module
    bed = session()                      # once per process, later calls return the same
    module, widget = load_module(path)   # as Slicer loads a scripted module and shows its panel

`bed.messages` lists the dialogs shown, `bed.answers` the answers of the next ones (see modal).
The environment variable QNETSEG_SLICER_PYTHON may name Slicer's own Base/Python folder; its
unmodified layer is then used in place of standins/layer. Either way this is no Slicer: no views, no
segment editor effects, no PythonQt, no application start. Say "run on stand-ins".
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import tempfile
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import modal  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
import slicer.util  # noqa: E402
import vtk  # noqa: E402
from pythonqt_life import event_filters  # noqa: E402

LAYER_VARIABLE = "QNETSEG_SLICER_PYTHON"
SLICES = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
LOGICS = {
    "volumes": "vtkSlicerVolumesLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "models": "vtkSlicerModelsLogic",
}
_NAMES = {"subjecthierarchy": "SubjectHierarchy"}

_session: Session | None = None


def session() -> Session:
    """The session of this process; started on the first call."""
    global _session
    if _session is None:
        _session = Session()
    return _session


class Session:
    """scene, application logic and module logics, and what the stand-ins recorded."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="slicer-session-")
        self.qapplication = qt.application()
        self._settings()
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.logics: dict[str, object] = {}
        self._start_logics()
        self._start_files()
        self._publish()
        self._hierarchy = HierarchyItems(self.scene)
        self.uncaught: list[BaseException] = []
        self._watch_exceptions()
        self.reset()
        atexit.register(self.close)

    @property
    def messages(self) -> list[modal.Message]:
        return modal.recorder.messages

    @property
    def answers(self):
        return modal.recorder.answers

    def _settings(self) -> None:
        ini = qt.QSettings.IniFormat
        qt.QSettings.setDefaultFormat(ini)
        qt.QSettings.setPath(ini, qt.QSettings.UserScope, self.folder.name)
        self.qapplication.setOrganizationName("standins")
        self.qapplication.setApplicationName("Slicer")

    def _start_logics(self) -> None:
        """SetModuleLogic keeps weak pointers only: self.logics owns the logics."""
        self.application_logic.SetMRMLScene(self.scene)
        colors = slicer.vtkMRMLColorLogic()
        self._attach("Colors", colors)
        self.application_logic.GetColorLogic().SetMRMLScene(self.scene)
        self.logics["colors"] = colors
        # The terminology files are not in slicer-core, and their logic complains at length.
        vtk.vtkObject.GlobalWarningDisplayOff()
        for name, class_name in LOGICS.items():
            self.logics[name] = logic = getattr(slicer, class_name)()
            if hasattr(logic, "SetModuleShareDirectory"):
                logic.SetModuleShareDirectory(self.folder.name)
            self._attach(_NAMES.get(name, name.capitalize()), logic)
        vtk.vtkObject.GlobalWarningDisplayOn()

    def _attach(self, name: str, logic) -> None:
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.SetModuleLogic(name, logic)

    def _start_files(self) -> None:
        """Remote IO and data IO managers: .mrb files cannot be read without."""
        remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
        remote.SetMRMLScene(self.scene)
        remote.SetMRMLApplicationLogic(self.application_logic)
        remote.GetCacheManager().SetRemoteCacheDirectory(str(Path(self.folder.name) / "cache"))
        data.SetMRMLScene(self.scene)
        data.SetMRMLApplicationLogic(self.application_logic)
        data.SetAndObserveDataIOManager(remote.GetDataIOManager())
        remote.AddDataIOToScene()
        self.logics["remote"], self.logics["data"] = remote, data

    def _publish(self) -> None:
        """What code finds in `slicer`: app, mrmlScene, modules, widgets, and the Python layer."""
        from application import Application, record_messages

        slicer.mrmlScene = self.scene
        slicer.app = self.app = Application(self)
        slicer.modules = sys.modules["slicer.modules"] = types.ModuleType("slicer.modules")
        slicer.moduleNames = sys.modules["slicer.moduleNames"] = types.ModuleType("slicer.moduleNames")
        slicer.selfTests = {}
        for name in LOGICS:
            setattr(slicer.modules, name, CoreModule(_NAMES.get(name, name.capitalize()), self.logics[name]))
        record_messages()
        _use_layer()
        import qmrml  # noqa: F401  (puts its widgets into slicer)
        from scripted_panel import ScriptedPanel

        slicer.qSlicerScriptedLoadableModule = ScriptedModule
        slicer.qSlicerScriptedLoadableModuleWidget = ScriptedPanel

    def _watch_exceptions(self) -> None:
        """Qt and VTK only print what slots and observers raise; tests look at `uncaught` instead."""
        previous = sys.excepthook

        def remember(kind, error, trace):
            self.uncaught.append(error)
            previous(kind, error, trace)

        sys.excepthook = remember

    def pytorch_extension(self, present: bool) -> None:
        """Whether Slicer's PyTorch extension, PyTorchUtils, can be imported."""
        folder = str(HERE / "layer" / "pytorch_extension")
        sys.modules.pop("PyTorchUtils", None)
        sys.path[:] = [entry for entry in sys.path if entry != folder] + [folder] * present
        importlib.invalidate_caches()

    def reset(self) -> None:
        """An empty scene with Slicer's slice nodes, default settings, all extensions and no messages."""
        self.pytorch_extension(True)
        self.uncaught.clear()
        self.scene.Clear(1)
        self.application_logic.GetColorLogic().AddDefaultColorNodes()
        for name, orientation in SLICES.items():
            _add_slice(self.scene, name, orientation)
        qt.QSettings().clear()
        modal.recorder.clear()

    def close(self) -> None:
        """What the end of the application does: aboutToQuit, so that nothing outlives the session."""
        if self.app is not None:
            self.app.aboutToQuit.emit()
            self.app = None


class HierarchyItems:
    """Gives nodes their subject hierarchy items as Slicer's plugins do; without them nobody would."""

    CLASSES = ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLModelNode", "vtkMRMLTransformNode")

    def __init__(self, scene):
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._added)
        scene.AddObserver(scene.NodeRemovedEvent, self._removed)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _scene, _event, node):
        hierarchy = self._hierarchy()
        wanted = any(node.IsA(name) for name in self.CLASSES) and not node.GetHideFromEditors()
        if hierarchy is not None and wanted and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, _scene, _event, node):
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _hierarchy(self):
        """None while a scene closes or is read: the items come and go with it."""
        if self._scene.IsClosing() or self._scene.IsImporting():
            return None
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)


class CoreModule:
    """Entry of slicer.modules: its name, path and logic, and for scripted modules the panel."""

    def __init__(self, name: str, logic=None, path: str = "", panel=None):
        self.name, self.path = name, path
        self._logic, self._panel = logic, panel

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return self._panel


class ScriptedModule(CoreModule):
    """A module in Python; slicer.util finds its widget and logic by this class."""


def _add_slice(scene, name: str, orientation: str) -> None:
    node = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetSingletonTag(name)
        node.SetName(name)
        node.SetLayoutName(name)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        node = scene.AddNode(node)
    node.SetOrientation(orientation)
    if scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}") is None:
        composite = scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
        composite.UnRegister(None)
        composite.SetSingletonTag(name)
        composite.SetLayoutName(name)
        scene.AddNode(composite)


def _use_layer() -> None:
    """Adds the folder with ScriptedLoadableModule, parameterNodeWrapper, i18n and packaging to slicer."""
    own = os.environ.get(LAYER_VARIABLE)
    folder = Path(own) if own else HERE / "layer"
    if not (folder / "slicer" / "ScriptedLoadableModule.py").is_file():
        raise RuntimeError(f"{LAYER_VARIABLE} names {folder}, which has no slicer/ScriptedLoadableModule.py")
    if str(folder / "slicer") not in slicer.__path__:
        slicer.__path__.append(str(folder / "slicer"))
    modules = str(HERE / "layer" / "modules")
    if modules not in sys.path:
        sys.path.append(modules)


def load_module(path=None):
    """Loads a scripted module as Slicer does and shows its panel; returns (Python module, widget).

    path: the module file; by default QNetSegment/QNetSegment.py of this repository.
    The panel is `widget.parent`. unload_module ends it.
    """
    session()
    path = Path(path or HERE.parents[1] / "QNetSegment" / "QNetSegment.py").resolve()
    name = path.stem
    module = _import(name, path)
    from scripted_panel import ScriptedPanel

    information = types.SimpleNamespace(path=str(path), name=name, icon=None, hidden=False)
    panel = ScriptedPanel(name)
    setattr(slicer.moduleNames, name, name)
    setattr(slicer.modules, name.lower(), ScriptedModule(name, None, str(path), panel))
    setattr(slicer.modules, name + "Instance", getattr(module, name)(information))
    panel.reload()
    return module, getattr(slicer.modules, name + "Widget")


def unload_module(widget) -> None:
    """What Slicer does when a module is unloaded: cleanup, and the panel is deleted.

    Event filters that are left then end Slicer with a crash; here they are an uncaught error.
    """
    name = widget.moduleName
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    left = [part.name for part in widget.parent.findChildren(qt.QObject) if event_filters(part)]
    if left:
        session().uncaught.append(RuntimeError(f"event filters outlive the module, on {left}"))
    widget.parent.close()
    widget.parent.deleteLater()
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    for attribute in (name + "Widget", name + "Instance", name.lower()):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)


def _import(name: str, path: Path):
    """As Slicer: the module's own folder is put on sys.path, others are the module's business."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
