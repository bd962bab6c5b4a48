"""Stand-ins of the widgets that show nodes, bound to the real MRML scene."""

from __future__ import annotations

import weakref

import qt
import vtk
from PySide6.QtCore import Property, Signal
from pythonqt_life import alive
from pythonqt_style import stored


class qMRMLWidget(qt.QWidget):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


class Observations:
    """VTK observers that do not keep the observing widget alive, and end with it."""

    def __init__(self, owner):
        self._owner = weakref.ref(owner)
        self._tags = []

    def add(self, subject, events, method: str, with_node: bool = False) -> None:
        """with_node: the method gets the node that the event is about."""
        owner = self._owner

        def call(_subject, _event, *node):
            widget = owner()
            if alive(widget):
                getattr(widget, method)(*node)

        if with_node:
            call.CallDataType = vtk.VTK_OBJECT
        for event in events:
            self._tags.append((subject, subject.AddObserver(event, call)))

    def clear(self) -> None:
        for subject, tag in self._tags:
            subject.RemoveObserver(tag)
        self._tags = []

    def __del__(self):
        self.clear()


class SceneBound(qMRMLWidget):
    """Calls `_refresh` whenever nodes come, go or a scene has been closed or read."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._scene_observations = Observations(self)

    def setMRMLScene(self, scene):
        self._scene_observations.clear()
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._scene_observations.add(scene, events, "_refresh")
        super().setMRMLScene(scene)
        self._refresh()


def short_name(class_name: str) -> str:
    return class_name.replace("vtkMRML", "").replace("Node", "")


class qMRMLNodeComboBox(SceneBound):
    """Chooses a node; like the real one it does not select a node that is added later.

    When the chosen node is removed, the neighbour in the list is chosen, before the node has gone.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._id = None
        self._leaving_id = None  # of a node that is being removed
        self._attributes = []
        self._name_observations = Observations(self)
        self._box = qt.QComboBox()
        self._box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self._box.activated.connect_inside(self._picked)

    nodeTypes = stored("QStringList", "nodeTypes", [], "_refresh")
    noneEnabled = stored(bool, "noneEnabled", False, "_refresh")
    noneDisplay = stored(str, "noneDisplay", "None", "_refresh")
    addEnabled = stored(bool, "addEnabled", True, "_refresh")
    removeEnabled = stored(bool, "removeEnabled", True)
    renameEnabled = stored(bool, "renameEnabled", False)
    editEnabled = stored(bool, "editEnabled", False)
    showHidden = stored(bool, "showHidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_refresh")
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], "_refresh")
    baseName = stored(str, "baseName", "")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    currentNodeID = Property(
        str, lambda self: self._id or "", lambda self, value: self.setCurrentNodeID(value)
    )

    def addAttribute(self, class_name, name, value=None):
        self._attributes.append((class_name, name, value))
        self._refresh()

    def removeAttribute(self, class_name, name):
        self._attributes = [a for a in self._attributes if a[:2] != (class_name, name)]
        self._refresh()

    def setMRMLScene(self, scene):
        super().setMRMLScene(scene)
        if scene is not None:
            events = [scene.NodeAboutToBeRemovedEvent]
            self._scene_observations.add(scene, events, "_node_leaves", with_node=True)

    def nodes(self) -> list:
        scene = self.mrmlScene()
        count = scene.GetNumberOfNodes() if scene else 0
        return [node for node in (scene.GetNthNode(i) for i in range(count)) if self._offers(node)]

    def _node_leaves(self, node):
        if self.mrmlScene().IsBatchProcessing():  # a scene that closes is looked at when it is empty
            return
        offered = self.nodes()
        self._leaving_id = node.GetID()
        if self._id == self._leaving_id:
            place, left = offered.index(node), [other for other in offered if other is not node]
            self.setCurrentNode(left[min(place, len(left) - 1)] if left else None)
        self._refresh()

    def _offers(self, node) -> bool:
        if node.GetID() == self._leaving_id:
            return False
        types = self.nodeTypes or []
        right_class = node.GetClassName() in types or (
            self.showChildNodeTypes and any(node.IsA(name) for name in types)
        )
        if not right_class or any(node.IsA(name) for name in self.hideChildNodeTypes):
            return False
        return (self.showHidden or not node.GetHideFromEditors()) and all(
            not node.IsA(class_name)
            or (node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name)))
            for class_name, name, value in self._attributes
        )

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index):
        return self.nodes()[index]

    def _refresh(self):
        if self._leaving_id and self.mrmlScene().GetNodeByID(self._leaving_id) is None:
            self._leaving_id = None
        before, nodes = self._id, self.nodes()
        self._name_observations.clear()
        self._box.blockSignals(True)
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
            self._name_observations.add(node, ["ModifiedEvent"], "_rename")
        for name in (self.nodeTypes or []) if self.addEnabled else []:
            self._box.addItem(f"Create new {short_name(name)}", "+" + name)
        if self._id not in [node.GetID() for node in nodes]:
            self._id = None
        self._show()
        self._box.blockSignals(False)
        if self._id != before:
            self._emit()

    def _rename(self):
        for index in range(self._box.count):
            node = self.mrmlScene().GetNodeByID(self._box.itemData(index) or "")
            if node is not None and node.GetName() != self._box.itemText(index):
                self._box.setItemText(index, node.GetName())

    def _show(self):
        shown = self._id is not None or self.noneEnabled
        self._box.setCurrentIndex(self._box.findData(self._id or "") if shown else -1)

    def _emit(self):
        self.currentNodeChanged.emit(self.currentNode())
        self.currentNodeIDChanged.emit(self._id or "")

    def _picked(self, index):
        data = self._box.itemData(index)
        if data.startswith("+"):
            self.nodeAddedByUser.emit(self.addNode(data[1:]))
        else:
            self.setCurrentNodeID(data)
        self.nodeActivated.emit(self.currentNode())

    def addNode(self, class_name=None):
        class_name = class_name or self.nodeTypes[0]
        name = self.mrmlScene().GenerateUniqueName(self.baseName or short_name(class_name))
        node = self.mrmlScene().AddNewNodeByClass(class_name, name)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def currentNode(self):
        return self.mrmlScene().GetNodeByID(self._id) if (self.mrmlScene() and self._id) else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, node_id):
        node_id = node_id or None
        if node_id is not None and node_id not in [node.GetID() for node in self.nodes()]:
            node_id = None  # a node that is not offered cannot be chosen
        if node_id != self._id:
            self._id = node_id
            self._show()
            self._emit()

    def comboBox(self):
        return self._box
