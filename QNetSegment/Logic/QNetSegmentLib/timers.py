"""Work that waits for the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import qt

from .signals import weakly


class Later:
    """Calls a function once, a little after the last of many requests.

    Strokes of a brush change a segmentation many times a second; the panel follows when they pause. While a
    script waits and the event loop does not run, `check` is asked instead.
    """

    def __init__(self, function: Callable[[], None], seconds: float = 0.0) -> None:
        self._function, self._seconds = function, seconds
        self._due: float | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(weakly(self._call))

    @property
    def pending(self) -> bool:
        """Whether it was asked for, and has neither been called nor stopped."""
        return self._due is not None

    def request(self, *_: object) -> None:
        """Call the function soon; starts the waiting anew."""
        self.start(self._seconds)

    def start(self, seconds: float) -> None:
        """Call the function in so many seconds instead."""
        self._due = time.monotonic() + seconds
        self._timer.start(max(int(seconds * 1000), 0))

    def stop(self) -> None:
        """Forget a request."""
        self._due = None
        self._timer.stop()

    def check(self) -> None:
        """Call the function if it is due."""
        if self._due is not None and time.monotonic() >= self._due:
            self._call()

    def _call(self, *_: object) -> None:
        if self._due is not None:
            self.stop()
            self._function()
