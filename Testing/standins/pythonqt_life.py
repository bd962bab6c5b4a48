"""How long things live under PythonQt: connections, event filters and objects whose C++ half is gone.

PythonQt keeps what is connected to a signal, and by it all that this holds, until the sender goes: an object
that connects its own method to a timer of its own stays for ever, out of sight of Python's garbage collector.
An event filter in Python is called until it is removed or the watched object goes. An attribute of a deleted
object raises, and the object counts as False.
"""

from __future__ import annotations

import inspect
import types
import weakref

import shiboken6
from PySide6 import QtCore

FEWER_ARGUMENTS = {("QProcess", "finished"): 1}  # Slicer's Qt for Python gives (int), not the status


def alive(qobject) -> bool:
    """Whether the C++ object beneath still exists."""
    return qobject is not None and shiboken6.isValid(qobject)


def require_alive(qobject, name: str) -> None:
    if not shiboken6.isValid(qobject):
        raise ValueError(f"Trying to read '{name}' from a destroyed {type(qobject).__name__} object")


class SignalAttribute:
    """A signal of a class; of an object it is a `BoundSignal`."""

    def __init__(self, meta, name: str, signal):
        self._name, self._signal, self._key = name, signal, f"_native_signal_{name}"
        self._count = FEWER_ARGUMENTS.get((meta.className(), name), _arguments_of(meta, name))

    def __get__(self, instance, owner):
        if instance is None:
            return self._signal
        require_alive(instance, self._name)
        native = instance.__dict__.get(self._key) or self._signal.__get__(instance, owner)
        return BoundSignal(instance, self._name, native, self._count)

    def __set__(self, instance, value):
        instance.__dict__[self._key] = value  # PySide6 keeps what it has bound


class BoundSignal:
    """What `object.signal` is: connect, disconnect and emit."""

    def __init__(self, sender, name: str, native, count: int):
        self._sender, self._name, self._native, self._count = sender, name, native, count

    def __getitem__(self, overload):
        return BoundSignal(self._sender, self._name, self._native[overload], self._count)

    def connect(self, slot, *_) -> bool:
        """Strongly, as PythonQt does; PySide6 would hold a bound method weakly."""
        if isinstance(slot, (types.FunctionType, types.MethodType)):
            function = _strongly(slot, self._count)
            function.slot = slot
            self._functions().append(weakref.ref(function))  # PySide6 lets go of it when the sender goes
            self._native.connect(function)
        else:
            self._native.connect(_native_slot(slot))
        return True

    def connect_inside(self, slot) -> None:
        """For the parts of a stand-in, which in Slicer is all C++: the sender does not keep it alive."""
        self._native.connect(slot)

    def disconnect(self, slot=None) -> bool:
        """False for what is not connected; without a slot all are disconnected."""
        if slot is not None and not isinstance(slot, (types.FunctionType, types.MethodType)):
            return self._native.disconnect(_native_slot(slot))
        known = [function for reference in self._functions() if (function := reference()) is not None]
        found = known if slot is None else [one for one in known if one.slot == slot][:1]
        for function in found:
            self._native.disconnect(function)
        self._functions()[:] = [weakref.ref(one) for one in known if one not in found]
        return bool(found)

    def emit(self, *arguments) -> None:
        self._native.emit(*arguments)

    def _functions(self) -> list:
        return self._sender.__dict__.setdefault(f"_functions_of_{self._name}", [])


def _native_slot(slot):
    return slot._native if isinstance(slot, BoundSignal) else slot


def _arguments_of(meta, name: str) -> int:
    """How many arguments the signal has in its longest form."""
    methods = [meta.method(index) for index in range(meta.methodOffset(), meta.methodCount())]
    return max(method.parameterCount() for method in methods if method.name() == name)


def _strongly(slot, count: int):
    """A function that PySide6 holds; it gives the slot `count` arguments, or as many as this one names."""
    code = getattr(getattr(slot, "__func__", slot), "__code__", None)
    if code is not None and not code.co_flags & inspect.CO_VARARGS:
        count = min(count, code.co_argcount - isinstance(slot, types.MethodType))
    functions = (
        lambda: slot(),
        lambda first: slot(first),
        lambda first, second: slot(first, second),
        lambda first, second, third: slot(first, second, third),
    )
    return functions[count]


def patch_signals(cls: type) -> type:
    """Gives a class PythonQt's signals; PySide6 must have made it already."""
    for name, value in list(vars(cls).items()):
        if type(value) is QtCore.Signal:
            setattr(cls, name, SignalAttribute(cls.staticMetaObject, name, value))
    return cls


_native_install = QtCore.QObject.installEventFilter
_native_remove = QtCore.QObject.removeEventFilter


def native_filter(watched, event_filter) -> None:
    """For stand-ins of widgets whose filters are C++ in Slicer."""
    _native_install(watched, event_filter)


def event_filters(qobject) -> list:
    """The filters in Python that are installed on the object."""
    return qobject.__dict__.setdefault("_event_filters", [])


def _install(self, event_filter):
    event_filters(self).append(event_filter)
    _native_install(self, event_filter)


def _remove(self, event_filter):
    event_filters(self)[:] = [known for known in event_filters(self) if known is not event_filter]
    _native_remove(self, event_filter)


def patch_life() -> None:
    """Patches QObject, once."""
    base = QtCore.QObject
    base.__bool__ = alive
    base.installEventFilter, base.removeEventFilter = _install, _remove
