"""Stand-ins for the CTK widgets of the module: their properties and signals over plain Qt widgets.

They look roughly like CTK's and behave so where a module touches them. They do not prove CTK's
layout, animation, history of paths or keyboard handling.
"""

from __future__ import annotations

import modal
import qt
from PySide6.QtCore import Property, QDir, QEvent, QRect, QSize, Qt, Signal
from PySide6.QtWidgets import QStyle, QStyleOptionButton, QStylePainter
from pythonqt_life import alive, native_filter
from pythonqt_style import stored

_HEADER = 24
_WANTED = "visibilityToParent"


class ctkCollapsibleButton(qt.QAbstractButton):
    """A header that shows and hides the widgets below it; what the module hid itself stays hidden."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments):
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        self._forcing = False
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, _HEADER, 0, 0)
        self.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Preferred)
        self.toggled.connect_inside(self._toggled)

    flat = stored(bool, "flat", False)
    collapsedHeight = stored(int, "collapsedHeight", 0)
    contentsLineWidth = stored(int, "contentsLineWidth", 0)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    contentsFrameShadow = stored(int, "contentsFrameShadow", 0)
    buttonTextAlignment = stored(int, "buttonTextAlignment", 0)
    collapsed = Property(
        bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value)
    )

    def setCollapsed(self, value):
        self.setChecked(not value)

    def _toggled(self, opened):
        self._forcing = True
        for child in self._child_widgets():
            if opened:
                child.setVisible(child.property(_WANTED) is not False)
            else:
                child.setProperty(_WANTED, not child.isHidden())
                self._hide(child)
        self._forcing = False
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def _child_widgets(self):
        return [child for child in self.children() if child.isWidgetType() and not child.isWindow()]

    def childEvent(self, event):
        if event.added() and event.child().isWidgetType():
            native_filter(event.child(), self)
        super().childEvent(event)

    def eventFilter(self, child, event):
        """While collapsed, showing or hiding a child only notes what it should be when opened."""
        shown = event.type() == QEvent.Type.ShowToParent
        if not shown and event.type() != QEvent.Type.HideToParent:
            return False
        if alive(self) and self.collapsed and not self._forcing:
            child.setProperty(_WANTED, shown)
            self._forcing = True
            self._hide(child)
            self._forcing = False
        return False

    @staticmethod
    def _hide(child):
        """Hidden, but not by the module: without this, a later hiding by the module would go unnoticed."""
        child.setVisible(False)
        child.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)

    def hitButton(self, position):
        return position.y() < _HEADER

    def sizeHint(self):
        return self._header_or("totalSizeHint")

    def minimumSizeHint(self):
        return self._header_or("totalMinimumSize")

    def _header_or(self, size_of_layout):
        full = getattr(self.layout(), size_of_layout)() if self.layout() else QSize(80, _HEADER)
        return QSize(full.width(), _HEADER) if self.collapsed else full

    def hasHeightForWidth(self):
        return not self.collapsed and bool(self.layout()) and self.layout().hasHeightForWidth()

    def heightForWidth(self, width):
        return self.layout().totalHeightForWidth(width)

    def paintEvent(self, event):
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width, _HEADER - 2)
        painter = QStylePainter(self)
        painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = "\u25b8" if self.collapsed else "\u25be"
        painter.drawText(
            option.rect.adjusted(8, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, f"{arrow} {self.text}"
        )


class _Numbers(qt.QWidget):
    """What CTK's number widgets share: a slider beside a spin box over one range of floats."""

    _STEPS = 1000

    def __init__(self, *arguments):
        super().__init__(*arguments)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider, self._spin = qt.QSlider(Qt.Orientation.Horizontal), qt.QDoubleSpinBox()
        self._slider.setRange(0, self._STEPS)
        self._spin.setRange(0, 99)
        row.addWidget(self._slider, 1)
        row.addWidget(self._spin)
        self._spin.valueChanged.connect_inside(self._spin_changed)
        self._slider.valueChanged.connect_inside(self._slider_moved)

    def slider(self):
        return self._slider

    def spinBox(self):
        return self._spin

    def _spin_changed(self, value):
        self._show_on_slider()
        self.valueChanged.emit(value)

    def _show_on_slider(self):
        extent = self.maximum - self.minimum
        known = 0 < extent < 1e300
        self._slider.blockSignals(True)
        self._slider.setValue(round(self._STEPS * (self.value - self.minimum) / extent) if known else 0)
        self._slider.blockSignals(False)

    def _slider_moved(self, position):
        self._spin.setValue(self.minimum + (self.maximum - self.minimum) * position / self._STEPS)


def _spin_property(kind, name: str):
    def put(self, value):
        self._spin.setProperty(name, value)
        self._show_on_slider()

    return Property(kind, lambda self: self._spin.property(name), put)


class ctkSliderWidget(_Numbers):
    valueChanged = Signal(float)

    value = _spin_property(float, "value")
    minimum = _spin_property(float, "minimum")
    maximum = _spin_property(float, "maximum")
    singleStep = _spin_property(float, "singleStep")
    decimals = _spin_property(int, "decimals")
    prefix = _spin_property(str, "prefix")
    suffix = _spin_property(str, "suffix")
    pageStep = stored(float, "pageStep", 1.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)
    popupSlider = stored(bool, "popupSlider", False)
    spinBoxVisible = stored(bool, "spinBoxVisible", True, "_show_spin_box")

    def _show_spin_box(self):
        self._spin.setVisible(self.spinBoxVisible)

    def setValue(self, value):
        self.value = value

    def setMinimum(self, value):
        self.minimum = value

    def setMaximum(self, value):
        self.maximum = value

    def setRange(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum


class ctkDoubleSlider(ctkSliderWidget):
    pass


class ctkDoubleSpinBox(qt.QDoubleSpinBox):
    pass


class ctkComboBox(qt.QComboBox):
    pass


class ctkCheckBox(qt.QCheckBox):
    pass


class ctkCheckablePushButton(qt.QPushButton):
    checkBoxControlsButtonToggleState = stored(bool, "checkBoxControlsButtonToggleState", False)


class ctkCollapsibleGroupBox(ctkCollapsibleButton):
    title = Property(str, lambda self: self.text, lambda self, value: self.setText(value))


class _Path(qt.QWidget):
    """A field with the path and a button that asks for one; the dialog is recorded, see modal."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        self._row = row

    def _ask(self) -> str:
        return modal.ask_path(self.toolTip, "")


class ctkPathLineEdit(_Path):
    """Filters are CTK's numbers."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Drives, NoSymLinks = 0x001, 0x002, 0x004, 0x008
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._edit, self._browse = qt.QLineEdit(), qt.QToolButton()
        self._browse.setText("\u2026")
        self._row.addWidget(self._edit, 1)
        self._row.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(lambda *_: self.browse())

    currentPath = Property(str, lambda self: self._edit.text, lambda self, value: self._edit.setText(value))
    filters = stored(int, "filters", 0)
    options = stored(int, "options", 0)
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored(str, "settingKey", "")
    showHistoryButton = stored(bool, "showHistoryButton", True)
    showBrowseButton = stored(bool, "showBrowseButton", True, "_show_browse")

    def _show_browse(self):
        self._browse.setVisible(self.showBrowseButton)

    def setCurrentPath(self, path):
        self.currentPath = path

    def addCurrentPathToHistory(self):
        pass

    def browse(self):
        path = self._ask()
        if path:
            self.currentPath = path


class ctkDirectoryButton(_Path):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._directory = "."
        self._button = qt.QPushButton(self._directory)
        self._row.addWidget(self._button, 1)
        self._button.clicked.connect(lambda *_: self.browse())

    def _set(self, path):
        if QDir(path) != QDir(self._directory):
            self._directory = QDir(path).absolutePath()
            self._button.setText(self._directory)
            self.directoryChanged.emit(self._directory)

    directory = Property(str, lambda self: self._directory, _set)
    caption = stored(str, "caption", "")
    text = Property(str, lambda self: self._button.text, lambda self, value: self._button.setText(value))

    def setDirectory(self, path):
        self.directory = path

    def browse(self):
        path = self._ask()
        if path:
            self.directory = path
            self.directorySelected.emit(path)


class ctkRangeWidget(qt.QWidget):
    """Two numbers; Slicer's parameter node layer names the class, the module does not use it."""

    valuesChanged = Signal(float, float)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        row = qt.QHBoxLayout(self)
        self._low, self._high = qt.QDoubleSpinBox(), qt.QDoubleSpinBox()
        for spin in (self._low, self._high):
            row.addWidget(spin)
            spin.valueChanged.connect(
                lambda *_: self.valuesChanged.emit(self.minimumValue, self.maximumValue)
            )

    minimumValue = Property(float, lambda self: self._low.value, lambda self, v: self._low.setValue(v))
    maximumValue = Property(float, lambda self: self._high.value, lambda self, v: self._high.setValue(v))

    def setRange(self, minimum, maximum):
        for spin in (self._low, self._high):
            spin.setRange(minimum, maximum)

    def setValues(self, low, high):
        self._low.setValue(low)
        self._high.setValue(high)


class ctkDoubleRangeSlider(ctkRangeWidget):
    pass


class ctkColorPickerButton(qt.QPushButton):
    colorChanged = Signal(qt.QColor)
    color = stored(qt.QColor, "color", qt.QColor(0, 0, 0), "_color_changed")

    def _color_changed(self):
        self.colorChanged.emit(self.color)

    def setColor(self, color):
        self.color = color


class ctkMessageBox(qt.QMessageBox):
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)


for _class in [value for name, value in list(vars().items()) if name.startswith("ctk")]:
    qt.registerCustomWidget(_class)
