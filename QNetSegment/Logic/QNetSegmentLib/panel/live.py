"""Update while drawing: each stroke starts a run, as long as runs are fast on this machine."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..timers import Later
from .session import Session
from .state import RunState

FAST = 2.0  # seconds; a result that comes later does not follow the hand


class LiveUpdate:
    """Lets the result under review follow the drawing that it was made of.

    The drawing is read after a pause of the strokes, never while the mouse moves. A stroke during a run
    starts another one after it, so the latest drawing wins. Nothing here opens a dialog, or changes the
    drawing.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seconds: float | None = None  # of the last run on the volume that was drawn on
        self._slow = False  # for this session; the user may switch it on again
        self._waiting = False  # a stroke came during a run
        self._next = Later(self._start)
        self._lasts = False  # the run at hand has used up the patience
        self._patience = Later(self._on_patience_ended, FAST)
        session.drawing_read.connect(self._on_stroke)
        session.run_ended.connect(self._on_run_ended)

    @property
    def offered(self) -> bool:
        """Whether results could follow at all: in 3-D, on the very volume that is drawn on."""
        return self._session.draws_on_query and self._session.parameters.method == "volume"

    @property
    def on(self) -> bool:
        """Whether results follow the drawing."""
        chosen = self._session.parameters
        return chosen is not None and chosen.updateWhileDrawing and not self._slow

    @property
    def hint(self) -> str:
        """Why it was switched off; empty if it was not."""
        if not self._slow or self._seconds is None:
            return ""
        return _(
            "Switched off: the last run took {seconds:.1f} s. Click Segment to see what a stroke changes."
        ).format(seconds=self._seconds)

    def switch(self, on: bool) -> None:
        """The user wants it, or does not."""
        if on and self._slow:
            self._seconds = 0.0  # another try
        self._slow = False
        self._session.parameters.updateWhileDrawing = on
        self._session.changed.emit()

    def stop(self) -> None:
        """The scene closes, or the module is unloaded."""
        self._waiting = False
        self._next.stop()
        self._patience.stop()

    def _wanted(self) -> bool:
        """Whether the result under review is one that shall follow, and is behind the drawing."""
        session = self._session
        if not self.on or not self.offered or self._seconds is None or self._seconds >= FAST:
            return False
        return session.may_rewrite() and session.is_behind()

    def _on_stroke(self) -> None:
        if self._session.run is not None:
            self._waiting = True
        elif self._wanted():
            self._next.request()

    def _start(self) -> None:
        session = self._session
        if session.state() is RunState.READY and self._wanted():
            self._patience.request()
            session.guarded(lambda: session.start(update=True))

    def _on_patience_ended(self) -> None:
        self._lasts = True
        self._session.promote()

    def _on_run_ended(self, seconds: float | None, first: bool = False) -> None:
        """seconds: what the user waited; None for a run without a result. first: of its process."""
        self._patience.stop()
        if seconds is not None and self.offered:
            self._seconds = 0.0 if first else seconds  # the first one also loads the model: the next decides
            # A run that was shown as one that lasts is slow, whatever the two clocks say.
            self._slow = self._slow or (self.on and (self._lasts or self._seconds >= FAST))
        self._lasts = False
        waiting, self._waiting = self._waiting, False
        if waiting:
            self._next.request()
