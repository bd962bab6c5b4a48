"""Section Batch: many volumes from one example."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from qnetseg.batch import folder_studies
from qnetseg.errors import InputError, QNetSegmentError
from qnetseg.extras import require_highdicom

from ..runs.batch import Batch
from ..runs.scene_studies import scene_studies
from ..scene.reports import store_reports
from ..scene.results import write_result
from ..scene.segments import free_node_name
from ..timers import Later
from .session import Session, typed
from .widgets import fill_row, say


class BatchSection:
    """Lists the studies, runs them one after the other, shows the state of each."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._studies: list[Any] = []
        self._listed: list[tuple[str, Any]] = []  # their names and sources before a batch gave them targets
        self._later = Later(self.list_studies, 0.2)
        header = ui.batchTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Interactive)
        header.setStretchLastSection(True)
        ui.batchTable.verticalHeader().setVisible(False)
        ui.batchSceneRadio.toggled.connect(self._choose_source)
        ui.batchFolderButton.clicked.connect(self._choose_folder)
        ui.batchOutputButton.clicked.connect(self._choose_output)
        ui.batchFolderEdit.textChanged.connect(self._later.request)
        ui.batchButton.clicked.connect(self._on_click)
        ui.batchSection.contentsCollapsed.connect(self._later.request)
        self._say("")
        self._fill([])
        if problem := dicom_problem():
            ui.batchDicomCheckBox.enabled = False
            ui.batchDicomCheckBox.toolTip = problem
        session.changed.connect(self._follow)

    def cleanup(self) -> None:
        """The module is unloaded, and the batch may end after its widgets."""
        self._later.stop()
        if (batch := self._session.batch) is not None:
            for signal in (batch.changed, batch.progress, batch.finished):
                signal.clear()

    # What there is to do

    @property
    def _from_folder(self) -> bool:
        return bool(self._ui.batchFolderRadio.checked)

    def _choose_source(self, *_args: Any) -> None:
        if self._session.parameters is not None:
            self._session.parameters.batchFromFolder = self._from_folder
        self.list_studies()

    def _choose_folder(self, *_args: Any) -> None:
        if path := self._session.dialogs.folder(_("Folder with studies")):
            self._session.parameters.batchFolder = path
            self._ui.batchFolderRadio.checked = True

    def _choose_output(self, *_args: Any) -> None:
        if path := self._session.dialogs.folder(_("Folder for the results")):
            self._session.parameters.batchOutput = path

    def _follow(self) -> None:
        """Scene and drawing have changed: the list of the scene's volumes may be another."""
        parameters = self._session.parameters
        if parameters is not None and parameters.batchFromFolder != self._from_folder:
            radio = self._ui.batchFolderRadio if parameters.batchFromFolder else self._ui.batchSceneRadio
            radio.checked = True
        if parameters is None and self._session.batch is None:
            self._fill([])  # else nodes of a closed scene would stay in memory
        if self._session.batch is None and not self._ui.batchSection.collapsed and not self._from_folder:
            self._later.request()

    def list_studies(self) -> None:
        """Fill the table; the states that the last batch left stay as long as the studies do.

        A running batch keeps its own list.
        """
        if self._session.batch is not None or self._session.parameters is None:
            return
        problem = ""
        try:
            studies = self._find()
        except QNetSegmentError as error:
            studies, problem = [], str(error)
        if problem or _names_and_sources(studies) != self._listed:
            self._say(problem)
            self._fill(studies)

    def _fill(self, studies: list[Any]) -> None:
        self._studies, self._listed = studies, _names_and_sources(studies)
        table = self._ui.batchTable
        table.setRowCount(len(studies))
        for index, study in enumerate(studies):
            self._show_study(index, study)
        table.visible = bool(studies)
        table.resizeColumnToContents(0)

    def _find(self) -> list[Any]:
        parameters = self._session.parameters
        if self._from_folder:
            folder = parameters.batchFolder.strip()
            return folder_studies(folder) if folder else []
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        drawn_on = None if parameters.useLibrary else self._session.support_node
        plain = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
        return scene_studies([node for node in plain if node is not drawn_on])

    # Running

    def _on_click(self, *_args: Any) -> None:
        session = self._session
        if session.batch is not None:
            session.cancelling = True
            session.changed.emit()
            session.batch.cancel()
            return
        try:
            self._start()
        except Exception as error:
            session.batch = None
            self._say(str(typed(error)))
            session.changed.emit()

    def _start(self) -> None:
        session, parameters = self._session, self._session.parameters
        self._say("")
        self._fill(self._find())
        if not session.has_example():
            raise InputError(
                _("There is no example."), _("Draw the structure, or check an example in the library.")
            )
        if not self._studies and self._from_folder:
            raise InputError(
                _("There is no study in this folder."),
                _("Choose a folder that directly holds image files, or one folder for each DICOM series."),
            )
        if not self._studies:
            raise InputError(
                _("There is no study to segment."),
                _("Load volumes other than the one drawn on, or choose a folder."),
            )
        examples, drawn_on = session.examples()
        batch = Batch(
            session.logic.worker,
            examples,
            self._studies,
            parameters.batchOutput.strip() or None,
            drawn_on=drawn_on,
            accepted=() if parameters.useLibrary else session.accepted(),
            model=session.model,
            options=session.options(),
            device=parameters.device,
            redo=parameters.batchRedo,
            dicom=parameters.batchDicom and self._ui.batchDicomCheckBox.enabled,
            on_result=self._add_to_scene,
        )
        batch.changed.connect(self._follow_study)
        batch.progress.connect(self._show_progress)
        batch.finished.connect(self._finished)
        session.batch, session.cancelling = batch, False
        self._ui.progressBar.setValue(0)
        self._ui.progressLabel.text = ""
        session.changed.emit()
        batch.start()

    def _add_to_scene(self, node: Any, results: list[Any]) -> None:
        name = free_node_name(_("{volume} segmentation").format(volume=node.GetName()))
        store_reports(write_result(node, results, name=name), results, node)

    def _follow_study(self, index: int, study: Any) -> None:
        self._show_study(index, study)
        if study.state.name == "RUNNING":
            self._show_place(index, 0.0)

    def _show_progress(self, index: int, progress: Any) -> None:
        self._show_place(index, progress.fraction)

    def _show_place(self, index: int, fraction: float) -> None:
        total = max(1, len(self._studies))
        self._ui.progressLabel.text = _("Study {number} of {total}: {name}").format(
            number=index + 1, total=total, name=self._studies[index].name
        )
        self._ui.progressBar.setValue(round(1000 * (index + fraction) / total))

    def _finished(self, summary: Any) -> None:
        self._session.batch = None
        self._say(summary_text(summary))
        self._session.changed.emit()

    # Table

    def _say(self, text: str) -> None:
        say(self._ui.batchMessage, text)

    def _show_study(self, index: int, study: Any) -> None:
        fill_row(self._ui.batchTable, index, (study.name, state_text(study.state), study.detail))


def dicom_problem() -> str:
    """Why no DICOM segmentation can be written; empty where it can."""
    try:
        require_highdicom()
    except InputError as error:
        return str(error)
    return ""


def _names_and_sources(studies: list[Any]) -> list[tuple[str, Any]]:
    return [(study.name, study.source) for study in studies]


def summary_text(summary: Any) -> str:
    """For example "12 of 14 studies segmented, 1 finished earlier, 1 failed."."""
    parts = [_("{done} of {total} studies segmented").format(done=summary.done, total=summary.total)]
    for count, text in (
        (summary.kept, _("{count} finished earlier")),
        (summary.failed, _("{count} failed")),
        (summary.cancelled, _("{count} cancelled")),
    ):
        if count:
            parts.append(text.format(count=count))
    return f"{', '.join(parts)}. {summary.problem}".strip()


def state_text(state: Any) -> str:
    """A study's state in the user's language."""
    texts = {
        "WAITING": _("waiting"),
        "RUNNING": _("running"),
        "DONE": _("done"),
        "KEPT": _("finished earlier"),
        "FAILED": _("failed"),
        "CANCELLED": _("cancelled"),
    }
    return texts[state.name]
