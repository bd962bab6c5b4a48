"""QNetSegment: draw a structure on one slice, click Segment, get it in the whole volume.

The module's metadata, widget, logic and self-test; what they do is in `Logic/QNetSegmentLib`, and the engine,
which runs in a process of its own, is `Logic/qnetseg`.
"""

import importlib
import os
import sys
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

LOGIC_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Logic")
if LOGIC_FOLDER not in sys.path:
    sys.path.insert(0, LOGIC_FOLDER)


class QNetSegment(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("QNetSegment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations"]
        self.parent.contributors = ["The QNetSegment contributors"]
        self.parent.helpText = _(
            "Draw a structure on one slice, click Segment, and get it in the whole volume, or in another"
            " patient's, with the slices to check marked. Not for clinical use."
            " See the <a href='https://github.com/QNetSegment/SlicerQNetSegment'>documentation</a>."
        )
        self.parent.acknowledgementText = _(
            "An implementation of Q-Net by Q. Shen, Y. Li, J. Jin and B. Liu, arXiv:2208.11451."
        )
        slicer.app.startupCompleted.connect(registerSampleData)


def registerSampleData():
    """Offer data to try the module with in Slicer's Sample Data module."""
    from QNetSegmentLib import sample_data

    sample_data.register()


@parameterNodeWrapper
class QNetSegmentParameterNode:
    """All choices of the panel; saved with the scene."""

    queryVolume: vtkMRMLScalarVolumeNode  # to segment
    supportVolume: vtkMRMLScalarVolumeNode  # that is drawn on; none: the query volume
    drawing: vtkMRMLSegmentationNode
    preview: vtkMRMLSegmentationNode  # the result under review
    output: vtkMRMLSegmentationNode  # that accepted segments are added to; none: a new one
    useLibrary: bool = False  # segment after the examples of the library instead of the drawing
    supportSets: list[str]  # names of those that are checked
    model: str = ""  # name or path of weights of either kind; empty: the default ones
    plane: Annotated[str, Choice(["auto", "axial", "coronal", "sagittal"])] = "auto"
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    precision: Annotated[str, Choice(["auto", "fp32", "bf16"])] = "auto"
    method: Annotated[str, Choice(["volume", "q-net"])] = "volume"  # in 3-D, or as in the paper
    cleanUp: bool = True
    calibrate: bool = True  # this and the next two: only slice by slice, as in the paper
    refinement: Annotated[str, Choice(["none", "reconstruction", "released", "closed_form"])] = "none"
    finePercent: Annotated[int, WithinRange(-1, 100)] = -1  # weight of the fine path; -1: the model's own
    updateWhileDrawing: bool = True  # whether a result follows the strokes
    previewOpacity: Annotated[int, WithinRange(0, 100)] = 50
    uncertainBelow: Annotated[int, WithinRange(0, 100)] = 60  # percent of confidence, to be checked
    batchFromFolder: bool = False
    batchFolder: str = ""
    batchOutput: str = ""
    batchRedo: bool = False
    batchDicom: bool = False  # a DICOM segmentation, too, of studies that are DICOM series


class QNetSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects Slicer with the panel (`QNetSegmentLib.panel`)."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.uiWidget = None
        self.panel = None
        self._parameterMRMLNode = None

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from QNetSegmentLib.panel.panel import Panel

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/QNetSegment.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = QNetSegmentLogic()
        self.panel = Panel(self.ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()
        if getattr(self.parent, "isEntered", False):  # after a reload Slicer does not call enter
            self.enter()

    def cleanup(self):
        """Called before the module is unloaded or reloaded, and when Slicer exits."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()
            self.panel = None
            self.uiWidget.deleteLater()  # a reload only hides it, and it keeps what is connected to it
        if self.logic is not None:
            self.logic.shutdown()

    def enter(self):
        """Called each time the user opens the module."""
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self):
        """Called each time the user opens another module."""
        if self.panel is not None:
            self.panel.exit()

    def onSceneStartClose(self, caller, event):
        """Called just before the scene is closed."""
        self.panel.close_scene()

    def onSceneEndClose(self, caller, event):
        """Called just after the scene is closed."""
        if self.parent.isEntered:
            self.enter()

    def onSceneStartImport(self, caller, event):
        """Called before a scene is read: node selectors forget their nodes, and must not write that down."""
        self.panel.begin_import()

    def onSceneEndImport(self, caller, event):
        """Called after a scene was read: its choices replace those of the panel."""
        self.initializeParameterNode()
        if self.parent.isEntered:
            self.panel.enter()

    def initializeParameterNode(self):
        """Show the choices of this scene; in a new one, segment the volume that was loaded first."""
        node = ScriptedLoadableModuleLogic.getParameterNode(self.logic)
        parameterNode = self.panel.session.parameters
        if parameterNode is None or node is not self._parameterMRMLNode:
            # Not at every visit: wrappers keep observers on their node as long as Slicer runs.
            self._parameterMRMLNode, parameterNode = node, self.logic.getParameterNode()
        if parameterNode.queryVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps among them
            images = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            parameterNode.queryVolume = images[0] if images else None
        self.panel.set_parameters(parameterNode)

    def onReload(self):
        """Called by the button of developers: the packages of the module are read anew as well."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] in ("QNetSegmentLib", "qnetseg")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        super().onReload()


class QNetSegmentLogic(ScriptedLoadableModuleLogic):
    """Segmentation from scripts, without the panel.

    worker: the process that segments (`QNetSegmentLib.process.worker.Worker`); one is made when it is needed.
    """

    def __init__(self, worker=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._worker = worker

    def getParameterNode(self):
        """The choices of the panel in this scene."""
        node = super().getParameterNode()
        if node.GetParameter("whole") == "False":  # saved by version 0.1
            node.SetParameter("method", "q-net")
        node.UnsetParameter("whole")
        return QNetSegmentParameterNode(node)

    @property
    def worker(self):
        """The process that segments; it starts by itself and stays warm."""
        if self._worker is None:
            from QNetSegmentLib.process.worker import Worker

            self._worker = Worker()
        return self._worker

    def shutdown(self):
        """End the process that segments, and free its memory; the next call starts it again."""
        if self._worker is not None:
            self._worker.shutdown()

    def process(
        self,
        queryVolume,
        supportSegmentation,
        supportVolume=None,
        segmentIDs=None,
        *,
        plane=None,
        model=None,
        options=None,
        device="auto",
        name=None,
        waitForCompletion=True,
        onProgress=None,
        onFinished=None,
        onFailed=None,
    ):
        """Segment a volume after a drawing.

        :param queryVolume: volume node to segment.
        :param supportSegmentation: segmentation node with at least one drawn slice of each structure; or one
          or several examples (`qnetseg.volume.SupportSet`), such as those of the support library.
        :param supportVolume: volume node that was drawn on; None: the one that the segmentation refers to, or
          `queryVolume`.
        :param segmentIDs: segments to use; None: all that are not empty.
        :param plane: "axial", "coronal" or "sagittal"; None: found from the drawing.
        :param model: name or path of weights of either kind; None: the default models.
        :param options: dictionary of `qnetseg.segment.SegmentOptions`.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param name: of the resulting node.
        :param waitForCompletion: False returns at once; the callbacks then need Slicer's event loop.
        :param onProgress: called with a `RunProgress`.
        :param onFinished: called with the resulting vtkMRMLSegmentationNode.
        :param onFailed: called with the error.
        :return: a new vtkMRMLSegmentationNode with one segment for each structure; without
          `waitForCompletion` the run, which has `cancel()` and `wait()`.
        :raises qnetseg.errors.QNetSegmentError: the input cannot be used, or the run failed; the scene is
          then as it was before.
        """
        from QNetSegmentLib.runs.prepare import prepare_run

        run = prepare_run(
            self.worker,
            queryVolume,
            supportSegmentation,
            supportVolume,
            segment_ids=segmentIDs,
            plane=plane,
            model=model,
            options=options,
            device=device,
            name=name,
        )
        if onProgress is not None:
            run.progress.connect(onProgress)
        if onFinished is not None:
            run.finished.connect(lambda result: onFinished(result.node))
        if onFailed is not None:
            run.failed.connect(onFailed)
        run.start()
        return run.wait().node if waitForCompletion else run


class QNetSegmentTest(ScriptedLoadableModuleTest):
    """Runs in Slicer on a synthetic phantom: with the default model, or without torch with a mock engine."""

    def setUp(self):
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """All cases, each in an empty scene."""
        from QNetSegmentLib.selftest import cases

        for case in cases.CASES:
            self.setUp()
            self.delayDisplay(case.__name__)
            case(QNetSegmentLogic)
        self.delayDisplay(_("Test passed"))
