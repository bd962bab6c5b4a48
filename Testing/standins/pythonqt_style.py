"""Gives PySide6 the manners of PythonQt, Slicer's Qt for Python.

Bridged: Qt properties are attributes (`w.text`, `w.enabled = False`), `obj.connect("sig(type)", f)`
beside `obj.signal.connect(f)`, `obj.name`, `obj.className()`, `obj.delete()`, `isinstance` for an
object's own class only, refusal of attributes that do not exist, tuples for lists in settings, and
how long things live (`pythonqt_life`).

Not bridged, and so not proved by tests on these stand-ins: PythonQt's conversion of arguments and
overloads, its integers in place of enumerations, ownership of C++ objects.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import functools
import inspect
import re
import sys
import weakref

from PySide6 import QtCore, QtGui, QtWidgets
from pythonqt_life import patch_life, patch_signals, require_alive

MODULES = (QtCore, QtGui, QtWidgets)
STANDIN_MODULES = ("qt", "ctk", "qmrml", "node_combo_box", "segment_editor", "segments_table")

# Properties whose C++ getter PythonQt users call as a method, or that Qt itself calls as a virtual one.
STAY_METHODS = {"sizeHint", "minimumSizeHint", "parent"}

_native_find_children = QtCore.QObject.findChildren
_native_find_child = QtCore.QObject.findChild
_string_connections = weakref.WeakKeyDictionary()


def _own_class(cls: type) -> type:
    """The class of Qt, or of a stand-in, that an object of `cls` is made of."""
    return next(
        base
        for base in cls.__mro__
        if base.__module__ in STANDIN_MODULES or base.__module__.startswith("PySide6.")
    )


def _is_instance(cls, instance) -> bool:
    """PythonQt's classes have no bases: a QPushButton is a QPushButton, and not a QWidget."""
    if cls.__module__ != "qt" or not isinstance(type(instance), type(QtCore.QObject)):
        return type.__instancecheck__(cls, instance)
    return _own_class(type(instance)) in (cls, cls.__bases__[0])


def concrete(native: type) -> type:
    """A Python class of the same name over a Qt class.

    Objects of PySide6's own classes answer `connect` with a static function of QObject that no patch
    reaches; objects of a Python subclass answer with ours.
    """
    return type(QtCore.QObject)(
        native.__name__, (native,), {"__module__": "qt", "__setattr__": _set_attribute}
    )


def _set_attribute(self, name, value):
    """PythonQt refuses unknown attributes of its own classes; Python subclasses may have any."""
    cls = type(self)
    current = inspect.getattr_static(cls, name, None)
    strict = cls.__module__ in STANDIN_MODULES
    if strict and isinstance(value, QtCore.QObject) and value.objectName == name:
        return  # PySide6's form loader names children on the form; childWidgetVariables does that for Slicer
    if isinstance(current, QtCore.Property):
        current.fset(self, value)
    elif hasattr(type(current), "__set__"):
        type(current).__set__(current, self, value)
    elif strict and not name.startswith("_"):
        what = "is a method" if callable(current) else "does not exist"
        raise AttributeError(f"{cls.__name__}.{name} {what}: PythonQt does not let it be assigned")
    else:
        self.__dict__[name] = value


class _Attribute:
    """A Qt property as an attribute of objects; the class still shows Qt's own (QTimer.singleShot)."""

    def __init__(self, name: str, native):
        self._name, self._native = name, native

    def __get__(self, instance, owner):
        if instance is None:
            return self._native
        require_alive(instance, self._name)
        value = instance.property(self._name)
        return int(value) if isinstance(value, enum.IntEnum) else value

    def __set__(self, instance, value):
        require_alive(instance, self._name)
        instance.setProperty(self._name, value)


def _patch_properties(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in STAY_METHODS:
            setattr(cls, name, _Attribute(name, getattr(cls, name, None)))


def _signal(sender, specification: str):
    """The bound signal of "name(type)" and whether the specification names an argument."""
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", specification)
    signal = getattr(sender, match.group(1), None) if match else None
    if not hasattr(signal, "connect"):
        raise RuntimeError(f"{sender.className()} has no signal {specification}")
    arguments = match.group(2).strip()
    overload = {"int": int, "bool": bool, "double": float, "QString": str}.get(arguments)
    if overload is not None:
        with contextlib.suppress(IndexError, KeyError, TypeError):  # a signal of one form only
            signal = signal[overload]
    return signal, bool(arguments)


def _connect(self, specification, *target):
    """`connect("sig(type)", callable)` or, as .ui files need it, `connect("sig(type)", object, "slot()")`."""
    signal, has_arguments = _signal(self, specification)
    slot = _named_slot(*target) if len(target) == 2 else target[0]
    function = slot if has_arguments else functools.partial(_without_arguments, slot)
    signal.connect(function)
    _string_connections.setdefault(self, []).append((specification, slot, function))
    return True


def _named_slot(receiver, specification: str):
    slot = getattr(receiver, re.match(r"\w+", specification).group(), None)
    if slot is None:
        raise RuntimeError(f"{receiver.className()} has no slot {specification}")
    return slot.emit if hasattr(slot, "emit") else slot


def _without_arguments(slot, *_):
    return slot()


def _disconnect(self, specification=None, *target):
    kept = []
    for known, slot, function in _string_connections.get(self, []):
        if specification in (None, known) and (not target or slot == target[-1]):
            _signal(self, known)[0].disconnect(function)
        else:
            kept.append((known, slot, function))
    _string_connections[self] = kept
    return True


def own_connect(cls: type) -> type:
    """PySide6 looks `connect` up in the exact type only, so every class gets it."""
    cls.connect = _connect
    cls.disconnect = _disconnect
    return cls


def _native(cls):
    """The Qt class beneath a stand-in, for searches that must also find what Qt made itself."""
    return cls.__bases__[0] if getattr(cls, "__module__", "") == "qt" else cls


def stored(kind, name: str, default, changed: str | None = None):
    """A Qt property that a stand-in keeps itself; `changed` names the method to call after a change."""

    def get(self):
        value = self.__dict__.get("_" + name, default)
        return tuple(value) if kind == "QStringList" else value  # PythonQt's lists of texts are tuples

    def put(self, value):
        if value != get(self):
            self.__dict__["_" + name] = value
            if changed is not None:
                getattr(self, changed)()

    return QtCore.Property(kind, get, put)


def _patch_object() -> None:
    base = QtCore.QObject
    base.name = _Attribute("objectName", None)
    # Not over the object: PySide6 gives up a class's meta object with the first object that was asked for it.
    base.className = lambda self: type(self).staticMetaObject.className()
    base.delete = lambda self: self.deleteLater()
    base.findChildren = lambda self, cls=base, *a, **k: _native_find_children(self, _native(cls), *a, **k)
    base.findChild = lambda self, cls=base, *a, **k: _native_find_child(self, _native(cls), *a, **k)
    base.__init_subclass__ = classmethod(lambda cls, **_: own_connect(cls) and None)


def _patch_color() -> None:
    native_name = QtGui.QColor.name

    def name(self, form=None):
        return native_name(self) if form is None else native_name(self, QtGui.QColor.NameFormat(form))

    QtGui.QColor.name = name


def _patch_settings() -> None:
    native_value = QtCore.QSettings.value

    def value(self, *arguments, **options):
        found = native_value(self, *arguments, **options)
        return tuple(found) if isinstance(found, list) else found

    QtCore.QSettings.value = value


def keep_constants() -> None:
    """PySide6 6.12 gives None, True and False away without counting, and before Python 3.12 that ends the
    interpreter sooner or later ("deallocating None"): enough references are added for any test run.
    """
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def patch() -> None:
    """Patches PySide6's classes; importing this module twice must not patch them twice."""
    if hasattr(QtCore.QObject, "className"):
        return
    keep_constants()
    # By getattr: PySide6 makes its classes on demand.
    members = [getattr(module, name) for module in MODULES for name in dir(module)]
    classes = [cls for cls in members if isinstance(cls, type) and issubclass(cls, QtCore.QObject)]
    for cls in classes:
        _patch_properties(cls)
        own_connect(cls)
        patch_signals(cls)
    _patch_object()
    patch_life()
    _patch_settings()
    # In the metaclass of PySide6 itself: with another one, errors about deleted objects end the process.
    type(QtCore.QObject).__instancecheck__ = _is_instance
    _patch_color()


patch()
