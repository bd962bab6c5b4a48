"""Stand-in for the segment editor widget: Slicer's real editor logic under imitated buttons.

Real: segments added, removed, selected and undone through vtkSlicerSegmentEditorLogic. Imitated: the
look. Missing: the effects themselves, so nothing paints (tests write voxels through MRML), and
observation of views, which is only noted in `viewObservations`.

Slicer only writes an error to its log when nodes are set in the wrong order, and then shows nothing;
here the wrong order raises. Right: segment editor node, scene, segmentation, source volume.
"""

from __future__ import annotations

import qt
import slicer
import vtk
from node_combo_box import Observations, SceneBound, qMRMLNodeComboBox
from PySide6.QtCore import Signal
from pythonqt_style import stored
from segments_table import Effect, SegmentsTable

EFFECTS = (
    "Threshold",
    "Paint",
    "Draw",
    "Erase",
    "Level tracing",
    "Grow from seeds",
    "Fill between slices",
    "Margin",
    "Hollow",
    "Smoothing",
    "Scissors",
    "Islands",
    "Logical operators",
    "Mask volume",
)
COLORS = ((0.86, 0.51, 0.40), (0.36, 0.62, 0.86), (0.95, 0.77, 0.30), (0.45, 0.72, 0.42), (0.66, 0.49, 0.80))
_SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")
_SMALL = 8


class qMRMLSegmentEditorWidget(SceneBound):
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    masterVolumeNodeChanged = Signal(object)

    segmentationNodeSelectorVisible = stored(bool, "segmentationNodeSelectorVisible", True, "_show_parts")
    sourceVolumeNodeSelectorVisible = stored(bool, "sourceVolumeNodeSelectorVisible", True, "_show_parts")
    addRemoveSegmentButtonsVisible = stored(bool, "addRemoveSegmentButtonsVisible", True, "_show_parts")
    show3DButtonVisible = stored(bool, "show3DButtonVisible", True, "_show_parts")
    specifyGeometryButtonVisible = stored(bool, "specifyGeometryButtonVisible", True)
    switchToSegmentationsButtonVisible = stored(bool, "switchToSegmentationsButtonVisible", True)
    maskingSectionVisible = stored(bool, "maskingSectionVisible", True)
    autoShowSourceVolumeNode = stored(bool, "autoShowSourceVolumeNode", True)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    undoEnabled = stored(bool, "undoEnabled", True, "_show_parts")
    maximumNumberOfUndoStates = stored(int, "maximumNumberOfUndoStates", 10, "_limit_undo")
    readOnly = stored(bool, "readOnly", False, "updateWidgetFromMRML")
    effectButtonStyle = stored(int, "effectButtonStyle", 0)
    effectColumnCount = stored(int, "effectColumnCount", 2, "updateEffectList")
    unorderedEffectsVisible = stored(bool, "unorderedEffectsVisible", True, "updateEffectList")
    defaultTerminologyEntry = stored(str, "defaultTerminologyEntry", "")
    defaultTerminologyEntrySettingsKey = stored(str, "defaultTerminologyEntrySettingsKey", "")

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node = self._segmentation = self._source = None
        self._segment_id = ""
        self._order = []
        self._shortcuts = []
        self._view_observations = False
        self._node_observations, self._segment_observations = Observations(self), Observations(self)
        self._build()

    def _build(self):
        font = self.font
        font.setPointSize(_SMALL)
        self.setFont(font)
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self._segmentation_box = self._selector(column, "vtkMRMLSegmentationNode", self.setSegmentationNode)
        self._source_box = self._selector(column, "vtkMRMLScalarVolumeNode", self._choose_source)
        row = qt.QHBoxLayout()
        column.addLayout(row)
        self._add = self._button(row, "+ Add", self._add_segment)
        self._remove = self._button(row, "\u2212 Remove", self._logic.RemoveSelectedSegment)
        self._show_3d = self._button(row, "Show 3D", self._toggle_surface)
        self._table = SegmentsTable()
        self._table.setFixedHeight(104)
        self._table.itemSelectionChanged.connect_inside(self._row_selected)
        self._table.itemChanged.connect_inside(self._renamed)
        column.addWidget(self._table)
        self._effects = qt.QGroupBox("Effects")
        qt.QGridLayout(self._effects).setSpacing(2)
        column.addWidget(self._effects)
        row = qt.QHBoxLayout()
        column.addLayout(row)
        self._undo = self._button(row, "Undo", self.undo)
        self._redo = self._button(row, "Redo", self.redo)
        self.updateEffectList()
        self.updateWidgetFromMRML()

    def _selector(self, column, node_type, slot):
        box = qMRMLNodeComboBox()
        box.nodeTypes = [node_type]
        box.noneEnabled = True
        box.addEnabled = False
        box.currentNodeChanged.connect_inside(slot)  # when a node is removed, its neighbour's turn comes
        column.addWidget(box)
        return box

    def _button(self, row, text, slot):
        button = qt.QPushButton(text)
        button.clicked.connect(lambda *_: slot())
        row.addWidget(button)
        return button

    # Nodes

    def mrmlSegmentEditorNode(self):
        return self._node

    def setMRMLSegmentEditorNode(self, node):
        if node is self._node:
            return
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self._node_observations.clear()
        if node is not None:
            self._node_observations.add(node, [vtk.vtkCommand.ModifiedEvent], "updateWidgetFromMRML")
        self.updateWidgetFromMRML()

    def setMRMLScene(self, scene):
        if scene is not None and self._node is None:
            raise RuntimeError("setMRMLScene before setMRMLSegmentEditorNode: its selections would be lost")
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        self._segmentation_box.setMRMLScene(scene)
        self._source_box.setMRMLScene(scene)
        super().setMRMLScene(scene)

    def segmentationNode(self):
        return self._node.GetSegmentationNode() if self._node else None

    def segmentationNodeID(self):
        node = self.segmentationNode()
        return node.GetID() if node else ""

    def setSegmentationNode(self, node):
        if node is not None and (self._node is None or self.mrmlScene() is None):
            raise RuntimeError("setSegmentationNode before setMRMLSegmentEditorNode and setMRMLScene")
        if node is not self.segmentationNode():
            self._logic.SetSegmentationNode(node)
            self.setActiveEffect(None)

    def setSegmentationNodeID(self, node_id):
        self.setSegmentationNode(self.mrmlScene().GetNodeByID(node_id) if node_id else None)

    def sourceVolumeNode(self):
        return self._node.GetSourceVolumeNode() if self._node else None

    def sourceVolumeNodeID(self):
        node = self.sourceVolumeNode()
        return node.GetID() if node else ""

    def setSourceVolumeNode(self, node):
        if node is not None and self.segmentationNode() is None:
            raise RuntimeError("setSourceVolumeNode before setSegmentationNode")
        self._logic.SetSourceVolumeNode(node)

    def _choose_source(self, node):
        if self.segmentationNode() is not None:
            self.setSourceVolumeNode(node)

    def setSourceVolumeNodeID(self, node_id):
        self.setSourceVolumeNode(self.mrmlScene().GetNodeByID(node_id) if node_id else None)

    # Segments

    def currentSegmentID(self):
        return self._logic.GetCurrentSegmentID()

    def setCurrentSegmentID(self, segment_id):
        if self._node is not None:
            self._node.SetSelectedSegmentID(segment_id)

    def selectNextSegment(self):
        self._logic.SelectNextSegment(False)

    def selectPreviousSegment(self):
        self._logic.SelectPreviousSegment(False)

    def _add_segment(self):
        """Slicer draws the colour by lot; here it is the next one of a few, for equal screenshots."""
        segment_id = self._logic.AddEmptySegment("", 0)
        segmentation = self.segmentationNode().GetSegmentation()
        color = COLORS[(segmentation.GetNumberOfSegments() - 1) % len(COLORS)]
        segmentation.GetSegment(segment_id).SetColor(*color)

    def _row_selected(self):
        self.setCurrentSegmentID(self._table.selected_id())

    def _renamed(self, item):
        segmentation = self.segmentationNode().GetSegmentation()
        segmentation.GetSegment(self._table.id_of_row(item.row())).SetName(item.text())

    def _toggle_surface(self):
        self._logic.ToggleSegmentationSurfaceRepresentation(
            not self._logic.ContainsClosedSurfaceRepresentation()
        )

    # Effects

    def effectNameOrder(self):
        return list(self._order)

    def setEffectNameOrder(self, names):
        self._order = list(names)
        self.updateEffectList()

    def availableEffectNames(self):
        return list(EFFECTS)

    def effectCount(self):
        return len(EFFECTS)

    def effectByName(self, name):
        return Effect(self, name) if name in EFFECTS else None

    def activeEffect(self):
        return self.effectByName(self._node.GetActiveEffectName() or "") if self._node else None

    def setActiveEffect(self, effect):
        if self._node is None:
            if effect is not None:
                raise RuntimeError("an effect without a segment editor node")
            return
        self._node.SetActiveEffectName(effect.name if effect else "")

    def setActiveEffectByName(self, name):
        self.setActiveEffect(self.effectByName(name or ""))

    def updateEffectList(self):
        grid = self._effects.layout()
        while grid.count():
            old = grid.takeAt(0).widget()
            old.setParent(None)
            old.deleteLater()
        names = [name for name in self._order if name in EFFECTS]
        if self.unorderedEffectsVisible:
            names += [name for name in EFFECTS if name not in names]
        for index, name in enumerate(["None", *names]):
            grid.addWidget(self._effect_button(name), *divmod(index, self.effectColumnCount))
        self._show_active_effect()

    def _effect_button(self, name):
        button = qt.QToolButton()
        button.setText(name)
        button.setCheckable(True)
        button.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        button.clicked.connect(lambda *_: self._effect_clicked(name))
        return button

    def _effect_clicked(self, name):
        active = self.activeEffect()
        self.setActiveEffectByName(None if active and active.name == name else name)

    def _show_active_effect(self):
        active = self.activeEffect()
        for button in self._effects.findChildren(qt.QToolButton):
            button.setChecked(button.text == (active.name if active else "None"))

    # Undo

    def setMaximumNumberOfUndoStates(self, count):
        self.maximumNumberOfUndoStates = count

    def _limit_undo(self):
        self._logic.SetMaximumNumberOfUndoStates(self.maximumNumberOfUndoStates)

    def saveStateForUndo(self):
        self._logic.SaveStateForUndo()
        self.updateWidgetFromMRML()

    def undo(self):
        self._logic.Undo()
        self.updateWidgetFromMRML()

    def redo(self):
        self._logic.Redo()
        self.updateWidgetFromMRML()

    # Views and keys: noted, for tests that everything is taken back

    def installKeyboardShortcuts(self, parent=None):
        self.uninstallKeyboardShortcuts()
        self._shortcuts = ["1", "2", "Escape", "Space", "Z", "Y"]

    def uninstallKeyboardShortcuts(self):
        self._shortcuts = []

    def setupViewObservations(self):
        self._view_observations = True

    def removeViewObservations(self):
        self._view_observations = False

    def rotateSliceViewsToSegmentation(self):
        pass

    def hideLabelLayer(self):
        pass

    # Display

    def _refresh(self):
        """The scene changed: a node that left it is forgotten, as Slicer's weak pointers do."""
        if self._node is not None and self._node.GetScene() is None:
            self.setMRMLSegmentEditorNode(None)
        self.updateWidgetFromMRML()

    def updateWidgetFromMRML(self):
        scene = self.mrmlScene()
        if scene is not None and (scene.IsClosing() or scene.IsBatchProcessing()):
            return
        self._follow_nodes()
        node, selected = self.segmentationNode(), self.currentSegmentID() if self._node else ""
        self._table.fill(node.GetSegmentation() if node else None, selected)
        self._add.enabled = bool(node) and self._logic.CanAddSegments() and not self.readOnly
        self._remove.enabled = bool(selected) and not self.readOnly
        self._show_3d.enabled = self._effects.enabled = self._table.enabled = node is not None
        self._undo.enabled, self._redo.enabled = self._logic.CanUndo(), self._logic.CanRedo()
        self._show_active_effect()
        if selected != self._segment_id:
            self._segment_id = selected
            self.currentSegmentIDChanged.emit(selected)

    def _follow_nodes(self):
        """As Slicer: a new segmentation brings its reference volume and selects its first segment."""
        node = self.segmentationNode()
        if node is not self._segmentation:
            self._segmentation = node
            self._segment_observations.clear()
            self._segmentation_box.setCurrentNode(node)
            if node is not None:
                events = [getattr(slicer.vtkSegmentation, name) for name in _SEGMENT_EVENTS]
                self._segment_observations.add(node, events, "updateWidgetFromMRML")
                reference = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
                if reference is not None:
                    self._node.SetAndObserveSourceVolumeNode(reference)
                node.CreateDefaultDisplayNodes()
                self._logic.SelectFirstSegment(False)
            self.segmentationNodeChanged.emit(node)
        source = self.sourceVolumeNode()
        if node is not None and source is not self._source:
            self._source = source
            self._source_box.setCurrentNode(source)
            self.sourceVolumeNodeChanged.emit(source)
            self.masterVolumeNodeChanged.emit(source)

    def _show_parts(self):
        self._segmentation_box.visible = self.segmentationNodeSelectorVisible
        self._source_box.visible = self.sourceVolumeNodeSelectorVisible
        self._add.visible = self._remove.visible = self.addRemoveSegmentButtonsVisible
        self._show_3d.visible = self.show3DButtonVisible
        self._undo.visible = self._redo.visible = self.undoEnabled


def _setter(name: str):
    return lambda self, value: setattr(self, name, value)


for _name in [n for n, v in vars(qMRMLSegmentEditorWidget).items() if type(v).__name__ == "Property"]:
    _method = "set" + _name[0].upper() + _name[1:]
    if not hasattr(qMRMLSegmentEditorWidget, _method):
        setattr(qMRMLSegmentEditorWidget, _method, _setter(_name))
