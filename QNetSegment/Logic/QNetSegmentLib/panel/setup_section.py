"""Section Setup: what is missing, with a button that fixes it; hidden when nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from qnetseg.errors import Cancelled
from qnetseg.models import read_catalogue

from ..process.python import chosen_command
from ..setup import installer
from ..setup import requirements as needs
from ..setup.weights_file import use_weights_file
from .session import Session, typed
from .widgets import in_rich_text, say

SIGNS = {  # a sign beside the colour, for those who do not tell the colours apart
    needs.State.OK: ("✓", "#2f9e6e"),
    needs.State.MISSING: ("✗", "#d04030"),
    needs.State.FAILED: ("✗", "#d04030"),
    needs.State.UNKNOWN: ("?", "#9a9a9a"),
}


class SetupSection:
    """One row a requirement. Nothing is installed or downloaded without a click."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._worker_error: Any = None
        self._testing = False  # the user has asked whether the process starts
        self._wanted = False  # the user asked to see it although nothing is missing
        self._rows: list[Any] = []
        ui.checkAgainButton.clicked.connect(self._check_again)
        ui.useWeightsFileButton.clicked.connect(self._use_weights_file)
        ui.removeDownloadsButton.clicked.connect(self._remove_downloads)
        session.show_setup.connect(self._show)
        worker = session.logic.worker
        self._running = False  # whether there is a process that has started well
        session.watch(worker.ready, self._on_ready)
        session.watch(worker.stopped, self._on_stopped)
        session.watch(worker.failed, self._on_failed)
        self._say("")
        ui.setupProgress.visible = False

    def refresh(self) -> None:
        """Look at what is installed, and show the section if something is missing."""
        found = needs.check(self._session.model, self._session.logic.worker.device, self._worker_error)
        elsewhere = bool(chosen_command())  # another machine's packages count
        incomplete = self._worker_error is not None if elsewhere else needs.missing(found)
        # What the process said may be over, so it is shown, but does not keep the user from another try.
        self._session.setup_missing = (
            incomplete
            and not elsewhere
            and (self._worker_error is None or needs.missing(needs.check(self._session.model)))
        )
        self._fill(found)
        self._ui.setupSection.visible = incomplete or self._wanted
        self._ui.setupHelp.visible = incomplete
        self._session.changed.emit()

    def warm_up(self) -> None:
        """Start the process that segments, if it can run: the first result shall not wait for PyTorch.

        Not while Slicer tests itself: a test that wants the process starts it.
        """
        worker = self._session.logic.worker
        if not (self._session.setup_missing or worker.device or slicer.app.testingEnabled()):
            worker.start()

    def _show(self) -> None:
        self._wanted = True
        self._ui.setupSection.collapsed = False
        self.refresh()

    def _fill(self, found: list[needs.Requirement]) -> None:
        layout = self._ui.requirementsBox.layout()
        for row in self._rows:
            layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self._rows = [self._row(requirement) for requirement in found]
        for row in self._rows:
            layout.addWidget(row)

    def _row(self, requirement: needs.Requirement) -> Any:
        row = qt.QWidget()
        layout = qt.QHBoxLayout(row)
        layout.setContentsMargins(0, 2, 0, 2)
        sign, color = SIGNS[requirement.state]
        mark = qt.QLabel(sign)
        mark.setStyleSheet(f"color: {color}; font-weight: bold")
        mark.setFixedWidth(16)
        layout.addWidget(mark)
        text = qt.QLabel(_("{title}: {detail}").format(title=requirement.title, detail=requirement.detail))
        text.setTextFormat(qt.Qt.PlainText)
        text.setWordWrap(True)
        text.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)  # errors are there to be copied
        layout.addWidget(text, 1)
        if requirement.action:
            button = qt.QPushButton(requirement.action)
            button.setObjectName(f"{requirement.key}Action")
            button.setToolTip(in_rich_text(requirement.note))
            button.clicked.connect(lambda *_args: self._mend(requirement))
            layout.addWidget(button)
        return row

    def _say(self, text: str) -> None:
        say(self._ui.setupMessage, text)

    def _guarded(self, action: Callable[[], str]) -> None:
        """Do something that may fail, say how it went, and look again."""
        try:
            self._say(action())
        except Exception as failure:
            error = typed(failure)
            self._say(str(error))
            self._session.logged.emit(f"{error}\n{error.details}")
        self._ui.setupProgress.visible = False
        self.refresh()

    # Actions

    def _mend(self, requirement: needs.Requirement) -> None:
        question = " ".join(filter(None, [requirement.action + "?", requirement.note]))
        if requirement.key == needs.DEVICE:
            self._check_again()
        elif requirement.key in (needs.WEIGHTS, needs.QNET_WEIGHTS) and not requirement.model:
            self._use_weights_file()
        elif requirement.key == needs.PACKAGES:  # the installer asks by itself
            self._guarded(lambda: self._install(installer.install_packages))
        elif self._session.dialogs.confirm(question):
            model = requirement.model
            self._guarded(lambda: self._download(model) if model else self._install(installer.install_torch))

    def _install(self, install: Callable[[], installer.Outcome]) -> str:
        """How an installation went; the section stays open for the advice to restart."""
        outcome = install()
        self._wanted = self._wanted or outcome.restart
        if not outcome.done:
            return _("Nothing was installed.")
        return _("Installed. Restart Slicer to go on.") if outcome.restart else _("Installed.")

    def _download(self, model: str) -> str:
        entry = read_catalogue().entry(model)
        progress = self._ui.setupProgress
        progress.setMaximum(1000)
        progress.setValue(0)
        progress.visible = True

        def show(done: int, total: int) -> None:
            progress.setValue(round(1000 * done / max(1, total)))
            progress.repaint()

        installer.download_weights(entry, show)
        return _("Downloaded: {name}.").format(name=entry.name)

    def _use_weights_file(self, *_args: Any) -> None:
        path = self._session.dialogs.open_file(_("Use a weights file"), _("Model weights (*.safetensors)"))
        if path:
            self._guarded(lambda: self._set_model(path))

    def _set_model(self, path: str) -> str:
        self._session.parameters.model = str(use_weights_file(path))
        return _("Segmenting with {path}.").format(path=path)

    def _remove_downloads(self, *_args: Any) -> None:
        found = installer.downloads()
        if not found:
            self._say(_("Nothing was downloaded."))
            return
        size = needs.megabytes(sum(size for _entry, size in found))
        names = ", ".join(entry.name for entry, _size in found)
        question = _("Delete the downloaded models {names} ({size})?").format(names=names, size=size)
        if self._session.dialogs.confirm(question):
            self._guarded(
                lambda: _("{size} are free again.").format(size=needs.megabytes(installer.remove_downloads()))
            )

    # The worker knows what no look at the disk tells

    def _check_again(self, *_args: Any) -> None:
        self._worker_error = None
        self._say("")
        self.refresh()
        if not self._session.setup_missing:
            self._say(_("Starting the segmentation process once, to test it…"))
            self._testing = True
            self._session.logic.worker.start()

    def _on_ready(self, _ready: Any) -> None:
        self._running = True
        self._worker_error = None
        self._tested()
        self.refresh()

    def _tested(self) -> None:
        """The test that the user asked for is over: its sentence goes, any other one stays."""
        if self._testing:
            self._testing = False
            self._say("")

    def _on_stopped(self) -> None:
        self._running = False
        self._session.changed.emit()

    def _on_failed(self, _token: str, error: Exception) -> None:
        if not self._running and not isinstance(error, Cancelled):  # it did not even start
            self._worker_error = error
            self._tested()
            self.refresh()
