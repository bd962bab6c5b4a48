"""The class decorator parameterNodeWrapper and what it adds to the class."""

import logging
import typing
import weakref
from dataclasses import dataclass

import qt
import slicer
import vtk

from .annotations import Default, first
from .connectors import GuiConnector, createGuiConnector
from .storage import Storage, storage_of

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass
class ParameterInfo:
    basename: str
    storage: Storage
    default: Default
    unalteredType: typing.Any


def parameterNodeWrapper(classtype=None):
    """Decorator, with or without parentheses: turns type hints into parameters of a node."""
    return _process if classtype is None else _process(classtype)


def isParameterNodeWrapper(classOrObj):
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    return None


def _process(cls):
    parameters = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        storage, annotations = storage_of(hint)
        default = first(annotations, Default) or Default(generator=storage.default)
        if name in vars(cls):
            default = Default(vars(cls)[name])
        parameters[name] = ParameterInfo(name, storage, default, hint)
        setattr(cls, name, _parameter(name))
        unused = [a for a in annotations if not isinstance(a, Default) and not hasattr(a, "value")]
        if unused:
            logging.warning(f"unused annotations of {name}: {unused}")
    for name, member in vars(_Wrapper).items():
        if name.startswith("__") and name not in ("__init__", "__del__"):
            continue
        if name in parameters or (name in vars(cls) and name != "__init__"):
            raise ValueError(f"{name} is reserved in a parameterNodeWrapper")
        setattr(cls, name, member)
    cls.allParameters = parameters
    cls._is_parameter_node_wrapper = True
    return cls


def _parameter(name):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


class _Wrapper:
    """Members that every decorated class gets."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._values = {}
        self._writing = None
        self._guis = {}
        self._next_gui = 0
        self._updating_gui = False
        for name, info in self.allParameters.items():
            if not info.storage.has(parameterNode, self._key(name)):
                info.storage.write(parameterNode, self._key(name), info.default.value)
        self._read_all()
        reference = weakref.ref(self)
        self._tag = parameterNode.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: reference()._read_all()
        )

    def __del__(self):
        if hasattr(self, "_tag"):
            self.parameterNode.RemoveObserver(self._tag)

    def _key(self, name):
        return self._prefix + name

    def _read_all(self):
        """Values are remembered, as in Slicer, until the node says that it was modified."""
        for name in self.allParameters:
            if name != self._writing:
                self._values[name] = self._read(name)

    def _read(self, name):
        info = self.allParameters[name]
        if not info.storage.has(self.parameterNode, self._key(name)):
            info.storage.write(self.parameterNode, self._key(name), info.default.value)
        return info.storage.read(self.parameterNode, self._key(name))

    @classmethod
    def _check(cls, name):
        if name not in cls.allParameters:
            raise ValueError(f"no parameter {name} in {list(cls.allParameters)}")

    def getValue(self, name):
        self._check(name)
        return self._values[name]

    def setValue(self, name, value):
        self._check(name)
        self._writing = name
        try:
            with slicer.util.NodeModify(self.parameterNode):
                self.allParameters[name].storage.write(self.parameterNode, self._key(name), value)
                self._values[name] = self._read(name)
        finally:
            self._writing = None

    def default(self, name):
        self._check(name)
        return self.allParameters[name].default

    def isCached(self, name):
        self._check(name)
        return True

    @classmethod
    def dataType(cls, name):
        cls._check(name)
        return cls.allParameters[name].unalteredType

    def connectGui(self, gui):
        """Connects the widgets that name a parameter in their property; returns a tag."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else gui.__dict__.values()
        named = [(widget.property(SlicerParameterNamePropertyName), widget) for widget in widgets]
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            self._check(name)
        connectors = {
            name: w if isinstance(w, GuiConnector) else createGuiConnector(w, self.dataType(name))
            for name, w in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._from_gui(name, connector))
        tag, self._next_gui = self._next_gui, self._next_gui + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, guiTag):
        connectors, observer = self._guis.pop(guiTag, ({}, None))
        for connector in connectors.values():
            connector.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _from_gui(self, name, connector):
        if not self._updating_gui:
            self.setValue(name, connector.read())

    def _to_gui(self):
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in list(self._guis.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()
