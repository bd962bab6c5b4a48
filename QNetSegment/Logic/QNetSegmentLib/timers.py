"""Work that waits for the event loop."""

from __future__ import annotations

from collections.abc import Callable

import qt


class Later:
    """Calls a function once, a little after the last of many requests.

    Strokes of a brush change a segmentation many times a second; the panel follows when they pause.
    """

    def __init__(self, function: Callable[[], None], milliseconds: int = 0) -> None:
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.timeout.connect(function)

    def request(self, *_: object) -> None:
        """Call the function soon; starts the waiting anew."""
        self._timer.start()

    def stop(self) -> None:
        """Forget a request."""
        self._timer.stop()


class EventLoop:
    """Calls functions one by one from the event loop, so that the panel is painted in between."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._later = Later(self._next)

    def __call__(self, function: Callable[[], None]) -> None:
        """Call `function` when all that were given before have been called."""
        self._waiting.append(function)
        self._later.request()

    def _next(self) -> None:
        function = self._waiting.pop(0)
        if self._waiting:
            self._later.request()
        function()
