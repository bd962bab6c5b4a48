"""Deadlines that need no event loop while a script waits."""

from __future__ import annotations

import time
from collections.abc import Callable

import qt

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
