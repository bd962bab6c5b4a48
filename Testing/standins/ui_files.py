"""Loads .ui files with the stand-in widgets, and refuses what Slicer's loader would pass over in silence."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import qt
from PySide6 import QtCore, QtUiTools, QtWidgets


class QUiLoader(QtUiTools.QUiLoader):
    """Raises RuntimeError for classes, properties, signals and slots that no stand-in has."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._made = []
        for cls in qt.customWidgets:
            self.registerCustomWidget(cls)

    def createWidget(self, class_name, parent=None, name=""):
        cls = getattr(qt, class_name, None)
        if getattr(cls, "__module__", "") != "qt":
            widget = super().createWidget(class_name, parent, name)
        else:
            widget = cls(parent) if parent is not None else cls()
            widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def load(self, device, parent=None):
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = [
            [element.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")]
            for element in root.iter("connection")
        ]
        for element in root.findall("connections"):
            root.remove(element)  # C++ types of arguments are unknown to PySide6: connected below
        _check_classes(root)
        _numbers_for_enumerations(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(self.errorString())
        # Qt owns the widgets, but their Python halves must live as long as the form.
        widget._widgets_of_form = self._made
        for sender, signal, receiver, slot in connections:
            _named(widget, sender).connect(signal, _named(widget, receiver), slot)
        return widget


def _named(form, name: str):
    found = form if form.objectName == name else form.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"a connection names {name}, which the form does not have")
    return found


def _class(name: str):
    for cls in qt.customWidgets:
        if cls.__name__ == name:
            return cls
    return QtWidgets.QFrame if name == "Line" else getattr(QtWidgets, name, None)


def _check_classes(root) -> None:
    for element in root.iter("widget"):
        name, cls = element.get("class"), _class(element.get("class"))
        if cls is None:
            raise RuntimeError(f"no stand-in for {name}")
        for tag in element.findall("property"):
            invented = cls.staticMetaObject.indexOfProperty(tag.get("name")) < 0 and name != "Line"
            if invented and tag.get("stdset") != "0":
                raise RuntimeError(f"{name} has no property {tag.get('name')}")


def _numbers_for_enumerations(root) -> None:
    """`<set>ctkPathLineEdit::Dirs</set>` of a stand-in becomes a number: Python classes have no C++ flags."""
    custom = {cls.__name__: cls for cls in qt.customWidgets}
    for element in root.iter("widget"):
        cls = custom.get(element.get("class"))
        for tag in element.findall("property") if cls else ():
            own = cls.__name__ + "::"
            for value in list(tag):
                if value.tag in ("set", "enum") and value.text.startswith(own):
                    names = [part.split("::")[-1] for part in value.text.split("|")]
                    value.tag, value.text = "number", str(sum(int(getattr(cls, name)) for name in names))
