"""Stand-ins of Slicer's own widgets: known to .ui files, and put into `slicer`, where modules find them."""

from __future__ import annotations

import ctk
import qt
import slicer
from node_combo_box import qMRMLNodeComboBox, qMRMLWidget
from segment_editor import qMRMLSegmentEditorWidget


class qSlicerWidget(qMRMLWidget):
    pass


class qMRMLSliderWidget(ctk.ctkSliderWidget):
    def setMRMLScene(self, scene):
        pass


class qMRMLSpinBox(qt.QDoubleSpinBox):
    def setMRMLScene(self, scene):
        pass


class qMRMLRangeWidget(ctk.ctkRangeWidget):
    def setMRMLScene(self, scene):
        pass


for _class in (
    qMRMLWidget,
    qSlicerWidget,
    qMRMLNodeComboBox,
    qMRMLSegmentEditorWidget,
    qMRMLSliderWidget,
    qMRMLSpinBox,
    qMRMLRangeWidget,
):
    qt.registerCustomWidget(_class)
    setattr(slicer, _class.__name__, _class)
