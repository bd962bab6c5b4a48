"""Section Segment: the button that becomes Cancel, progress, messages and the log."""

from __future__ import annotations

import platform
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from qnetseg import __version__

from ..setup.requirements import device_text
from .live import LiveUpdate
from .session import Session
from .state import RunState
from .widgets import say

ERROR_STYLE = "color: #d04030; font-weight: bold"  # legible on light and dark


class NoDoubleClick(qt.QObject):
    """Swallows the second click of a double click, which would cancel what the first one has started."""

    def __init__(self) -> None:
        qt.QObject.__init__(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Called by Qt for every event of the button."""
        return event.type() == qt.QEvent.MouseButtonDblClick


class SegmentSection:
    """Starts and stops runs, and says how they go."""

    def __init__(self, ui: Any, session: Session, live: LiveUpdate) -> None:
        self._ui, self._session, self._live = ui, session, live
        self._no_double_click = NoDoubleClick()
        ui.segmentButton.installEventFilter(self._no_double_click)
        ui.segmentButton.clicked.connect(session.slot(self._on_click))
        ui.updateCheckBox.clicked.connect(lambda *_args: live.switch(bool(ui.updateCheckBox.checked)))
        ui.copyLogButton.clicked.connect(self._copy_log)
        session.message.connect(self._show_message)
        session.logged.connect(self._log)
        session.changed.connect(self.refresh)
        session.watch(session.logic.worker.log, self._log)
        self._run: Any = None  # the run whose progress is shown
        self._show_message("", False, "")
        self._show_live()

    def cleanup(self) -> None:
        """The module is unloaded, and the process may end after its widgets."""
        if self._run is not None:
            self._run.progress.disconnect(self._show_progress)
        self._ui.segmentButton.removeEventFilter(self._no_double_click)

    def refresh(self) -> None:
        """Follow the run that has just begun, and show the device."""
        run = self._session.run
        if run is not None and run is not self._run:
            run.progress.connect(self._show_progress)
            self._ui.progressBar.setValue(0)
            self._ui.progressLabel.text = _("Starting the segmentation process…")
        self._run = run
        device = self._session.logic.worker.device
        say(
            self._ui.deviceLabel,
            _("Computes on: {device}").format(device=device_text(device)) if device else "",
        )
        self._show_live()

    def _show_live(self) -> None:
        offered = self._live.offered
        self._ui.updateCheckBox.visible = offered
        self._ui.updateCheckBox.checked = self._live.on
        say(self._ui.updateHint, self._live.hint if offered else "")

    def _on_click(self) -> None:
        running = self._session.state() is RunState.RUNNING
        (self._session.cancel if running else self._session.start)()

    def _show_progress(self, progress: Any) -> None:
        self._ui.progressLabel.text = progress_text(progress)
        self._ui.progressBar.setValue(round(1000 * progress.fraction))

    def _show_message(self, text: str, is_error: bool, details: str) -> None:
        say(self._ui.messageLabel, text)
        self._ui.messageLabel.setStyleSheet(ERROR_STYLE if is_error else "")
        for part in (text, details):
            if part:
                self._log(part)

    def _log(self, text: str) -> None:
        self._ui.logText.appendPlainText(text.rstrip("\n"))

    def _copy_log(self, *_args: Any) -> None:
        versions = f"QNetSegment {__version__}, Python {platform.python_version()}, {platform.platform()}"
        slicer.app.clipboard().setText(f"{versions}\n{self._ui.logText.toPlainText()}")


def progress_text(progress: Any) -> str:
    """For example "liver (1 of 2): slice 12 of 36, 8 s left"."""
    stages = {
        "starting": _("Starting the segmentation process…"),
        "preparing": _("Reading the volume…"),
    }
    if progress.stage in stages:
        return stages[progress.stage]
    if progress.stage == "sending":  # to a worker on another machine
        percent = round(100 * progress.done / max(progress.total, 1))
        return _("Sending the volume: {percent} %").format(percent=percent)
    text = progress.structure
    if progress.count > 1:
        text += _(" ({number} of {count})").format(number=progress.number, count=progress.count)
    text += _(": slice {done} of {total}").format(done=progress.done, total=progress.total)
    if progress.eta_s is not None:
        text += ", " + time_left(progress.eta_s)
    return text


def time_left(seconds: float) -> str:
    """For example "8 s left" or "3 min left"."""
    if seconds < 90:
        return _("{seconds} s left").format(seconds=max(1, round(seconds)))
    return _("{minutes} min left").format(minutes=round(seconds / 60))
