"""Work that waits for the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import qt

from .signals import weakly


class Later:
    """Calls a function once, a little after the last of many requests.

    Strokes of a brush change a segmentation many times a second; the panel follows when they pause.
    """

    def __init__(self, function: Callable[[], None], milliseconds: int = 0) -> None:
        self._function = function
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.timeout.connect(weakly(self._call))

    def request(self, *_: object) -> None:
        """Call the function soon; starts the waiting anew."""
        self._timer.start()

    def stop(self) -> None:
        """Forget a request."""
        self._timer.stop()

    def _call(self, *_: object) -> None:
        self._function()


class EventLoop:
    """Calls functions one by one from the event loop, so that the panel is painted in between.

    It lives until they have been called, also if nobody else keeps it.
    """

    _busy: ClassVar[set[EventLoop]] = set()

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._later = Later(self._next)

    def __call__(self, function: Callable[[], None]) -> None:
        """Call `function` when all that were given before have been called."""
        self._waiting.append(function)
        self._busy.add(self)
        self._later.request()

    def _next(self) -> None:
        function = self._waiting.pop(0)
        if self._waiting:
            self._later.request()
        else:
            self._busy.discard(self)
        function()
