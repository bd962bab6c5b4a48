"""Deadlines that need no event loop while a script waits, and the end of the application."""

from __future__ import annotations

import time
from collections.abc import Callable

import qt
import slicer

from ..signals import weakly


class Alarm:
    """Calls `action` once, some seconds after `start`: from the event loop, or from `check` in a wait."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._due: float | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(weakly(self._ring))

    @property
    def pending(self) -> bool:
        """Whether it was started, and has neither rung nor been stopped."""
        return self._due is not None

    def start(self, seconds: float) -> None:
        """Set it, or set it anew."""
        self._due = time.monotonic() + seconds
        self._timer.start(max(int(seconds * 1000), 0))

    def stop(self) -> None:
        """Forget it. Harmless when it is not set."""
        self._due = None
        self._timer.stop()

    def check(self) -> None:
        """Call the action if it is due."""
        if self._due is not None and time.monotonic() >= self._due:
            self._ring()

    def _ring(self, *_: object) -> None:
        if self._due is not None:
            self.stop()
            self._action()


class AtQuit:
    """Calls `function` when the application quits; from `start` to `stop` this keeps what it belongs to."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._started = False

    def start(self) -> None:
        """Begin; harmless when it has begun."""
        if not self._started:
            self._started = True
            slicer.app.aboutToQuit.connect(self._function)

    def stop(self) -> None:
        """The application shall do without; harmless when it does."""
        if self._started:
            self._started = False
            slicer.app.aboutToQuit.disconnect(self._function)
