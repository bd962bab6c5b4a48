"""A signal in pure Python: subclassing Qt's own crashes in PythonQt, and logic must run without Qt."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Signal:
    """Calls its slots in the order of their connection.

    Slots that disconnect themselves or others while the signal is emitted are fine.
    """

    def __init__(self) -> None:
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        """Call `slot` with the arguments of every `emit` from now on."""
        self._slots.append(slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        """Forget `slot`; harmless if it is not connected."""
        if slot in self._slots:
            self._slots.remove(slot)

    def clear(self) -> None:
        """Forget every slot."""
        self._slots.clear()

    def emit(self, *arguments: Any) -> None:
        """Call every slot."""
        for slot in list(self._slots):
            slot(*arguments)


def weakly(method: Callable[..., Any]) -> Callable[..., None]:
    """A function that calls the bound `method` as long as its object lives, to be connected to Qt's signals.

    PythonQt keeps what is connected until the sender goes. An object that connected a method of its own to a
    timer or process of its own would never go, and neither would these.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        alive = reference()
        if alive is not None:
            alive(*arguments)

    return call
