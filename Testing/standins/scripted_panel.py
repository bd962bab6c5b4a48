"""The frame that Slicer puts around a scripted module's widget (qSlicerScriptedLoadableModuleWidget)."""

from __future__ import annotations

import sys

import node_combo_box
import qt
import slicer


class ScriptedPanel(node_combo_box.qMRMLWidget):
    """Has the module's layout, `isEntered`, enter, exit and reload."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name
        self.isEntered = False
        self.setLayout(qt.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def reload(self):
        """Makes the widget of the module's present code; slicer.util.reloadScriptedModule calls this."""
        widget = getattr(sys.modules[self._name], self._name + "Widget")(self)
        setattr(slicer.modules, self._name + "Widget", widget)
        widget.setup()

    def self(self):
        """The module's Python widget, under the name that Slicer gives it."""
        return getattr(slicer.modules, self._name + "Widget")

    def enter(self):
        self.isEntered = True
        self._call("enter")

    def exit(self):
        self.isEntered = False
        self._call("exit")

    def _call(self, name):
        method = getattr(self.self(), name, None)
        if method is not None:
            method()
