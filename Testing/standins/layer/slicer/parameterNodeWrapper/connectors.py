"""Which widget shows which type of parameter, and how; as in Slicer, by the widget's exact class."""

import enum
import pathlib
import typing

import ctk
import qt
import slicer

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, first, split

_PATHS = (pathlib.Path, pathlib.PurePath)


def createGuiConnector(widget, datatype):
    """The connector of a widget for a parameter's type; RuntimeError where there is none."""
    kind, annotations = split(datatype)
    for widgets, fits, make in _CONNECTORS:
        if type(widget) in widgets and fits(kind):
            return make(widget, kind, annotations)
    raise RuntimeError(f"no connector between {type(widget).__name__} and {datatype}")


class GuiConnector:
    """Reads and writes one property of a widget and tells of changes by one of its signals."""

    def __init__(self, widget, attribute, signal, kind=lambda value: value, to_widget=lambda value: value):
        self._widget, self._attribute = widget, attribute
        self._signal, self._kind, self._to_widget = signal, kind, to_widget
        self._callback = None

    def widget(self):
        return self._widget

    def read(self):
        return self._kind(getattr(self._widget, self._attribute))

    def write(self, value):
        shown = self._to_widget(value)
        if shown != getattr(self._widget, self._attribute):
            setattr(self._widget, self._attribute, shown)

    def onChanged(self, callback):
        signal = getattr(self._widget, self._signal) if self._signal else None
        if signal is not None and self._callback is not None:
            signal.disconnect(self._changed)
        self._callback = callback
        if signal is not None and callback is not None:
            signal.connect(self._changed)

    def _changed(self, *_):
        if self._callback is not None:
            self._callback()


class _Combo(GuiConnector):
    """A combo box whose items are a parameter's possible values."""

    def __init__(self, widget, values, texts):
        super().__init__(widget, "currentIndex", "currentIndexChanged")
        self._values = list(values)
        widget.clear()
        for text in texts:
            widget.addItem(text)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value):
        if value not in self._values:
            raise ValueError(f"{value!r} is none of {self._values}")
        self._widget.currentIndex = self._values.index(value)


class _Text(GuiConnector):
    def read(self):
        return self._widget.toPlainText()

    def write(self, value):
        if value != self.read():
            self._widget.setPlainText(value)


class _Node(GuiConnector):
    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


def _checkable(widget, kind, annotations):
    if hasattr(widget, "checkable"):
        widget.checkable = True
    return GuiConnector(widget, "checked", "toggled")


def _number(widget, kind, annotations):
    bounds = first(annotations, WithinRange)
    lowest = bounds or first(annotations, Minimum)
    highest = bounds or first(annotations, Maximum)
    bounded = (qt.QSlider, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
    if type(widget) in bounded and not (lowest and highest):
        raise RuntimeError(f"a {type(widget).__name__} needs a parameter with bounds")
    whole = type(widget) in (qt.QSlider, qt.QSpinBox)
    decimals, step = first(annotations, Decimals), first(annotations, SingleStep)
    if not whole and kind is int:
        widget.decimals = 0
    elif not whole and decimals:
        widget.decimals = decimals.value
    if step:
        widget.singleStep = step.value
    widget.minimum = lowest.minimum if lowest else (-(2**31) if whole else float("-inf"))
    widget.maximum = highest.maximum if highest else (2**31 - 1 if whole else float("inf"))
    return GuiConnector(widget, "value", "valueChanged", kind=kind, to_widget=kind)


def _choice(widget, kind, annotations):
    choice = first(annotations, Choice)
    if choice is None:
        raise RuntimeError("a combo box needs a parameter with a Choice")
    return _Combo(widget, choice.choices, [str(value) for value in choice.choices])


def _enumeration(widget, kind, annotations):
    label = getattr(kind, "label", lambda member: member.name)
    return _Combo(widget, kind, [label(member) for member in kind])


def _node(widget, kind, annotations):
    parts = [split(part)[0] for part in typing.get_args(kind)] or [kind]
    widget.nodeTypes = [part().GetClassName() for part in parts if part is not type(None)]
    return _Node(widget, "currentNodeID", "currentNodeChanged")


def _is_node(kind):
    parts = [split(part)[0] for part in typing.get_args(kind)] or [kind]
    nodes = [part for part in parts if part is not type(None)]
    return bool(nodes) and all(isinstance(p, type) and issubclass(p, slicer.vtkMRMLNode) for p in nodes)


def _is_enumeration(kind):
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _one_of(*kinds):
    return lambda kind: kind in kinds


def _plain(attribute, signal, of=lambda value: value, to=lambda value: value):
    return lambda widget, kind, annotations: GuiConnector(widget, attribute, signal, of, to)


_COMBOS = (qt.QComboBox, ctk.ctkComboBox)
_SLIDERS = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSlider, ctk.ctkDoubleSpinBox)
_CONNECTORS = [
    ((qt.QCheckBox, ctk.ctkCheckBox), _one_of(bool), _plain("checked", "toggled")),
    ((qt.QPushButton, ctk.ctkCheckablePushButton), _one_of(bool), _checkable),
    ((qt.QSlider, qt.QSpinBox), _one_of(int), _number),
    ((*_SLIDERS, slicer.qMRMLSliderWidget, slicer.qMRMLSpinBox), _one_of(int, float), _number),
    (_COMBOS, _one_of(int, float, str, bool), _choice),
    (_COMBOS, _is_enumeration, _enumeration),
    ((qt.QLineEdit,), _one_of(str), _plain("text", "textChanged")),
    ((qt.QLabel,), _one_of(str), _plain("text", None)),
    ((qt.QTextEdit,), _one_of(str), lambda widget, *_: _Text(widget, "plainText", "textChanged")),
    (
        (ctk.ctkPathLineEdit,),
        _one_of(*_PATHS),
        _plain("currentPath", "currentPathChanged", pathlib.Path, str),
    ),
    ((ctk.ctkDirectoryButton,), _one_of(*_PATHS), _plain("directory", "directoryChanged", pathlib.Path, str)),
    ((slicer.qMRMLNodeComboBox,), _is_node, _node),
]
