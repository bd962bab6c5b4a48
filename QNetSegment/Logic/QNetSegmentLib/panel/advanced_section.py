"""Section Advanced: model and method, and what the .ui file binds by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from qnetseg.errors import InputError, WeightsError
from qnetseg.models import find, read_catalogue

from ..process.python import choose_command, chosen_command
from .review import plane_text
from .session import SLICE_BY_SLICE, Session
from .widgets import quiet, show_choice


def choices() -> dict[str, dict[str, str]]:
    """For each parameter that is chosen from a list its values, and what the user reads."""
    return {
        "method": {"volume": _("in 3-D"), SLICE_BY_SLICE: _("slice by slice, as in the paper")},
        "plane": {value: plane_text(value) for value in ("auto", "axial", "coronal", "sagittal")},
        "device": {"auto": _("auto"), "cpu": _("cpu"), "cuda": _("cuda"), "mps": _("mps")},
        "precision": {"auto": _("auto"), "fp32": _("fp32"), "bf16": _("bf16")},
        "refinement": {
            "none": _("none"),
            "reconstruction": _("as in the paper"),
            "released": _("as in the released code"),
            "closed_form": _("in one step"),
        },
    }


class _Choices:
    """A combo box whose texts are translated. The .ui file cannot bind it: Slicer would show raw values."""

    def __init__(self, session: Session, combo: Any, parameter: str, texts: dict[str, str]) -> None:
        self._session, self._combo, self._parameter = session, combo, parameter
        self._values = list(texts)
        combo.addItems(list(texts.values()))
        combo.currentIndexChanged.connect(self._choose)

    def refresh(self) -> None:
        """Show the value of the parameter node."""
        value = getattr(self._session.parameters, self._parameter)
        show_choice(self._combo, self._values.index(value))

    def _choose(self, *_args: Any) -> None:
        if self._session.parameters is not None:
            setattr(self._session.parameters, self._parameter, self._values[self._combo.currentIndex])


class AdvancedSection:
    """Fills the lists of choices, and shows what the chosen method obeys.

    The other choices are bound to the parameter node by the .ui file.
    """

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._models: list[str] = []  # what the parameter node gets, row by row
        self._names: list[str] = []  # of the models on this computer besides the default ones
        self._lists = [
            _Choices(session, getattr(ui, f"{parameter}Combo"), parameter, texts)
            for parameter, texts in choices().items()
        ]
        ui.modelCombo.currentIndexChanged.connect(self._choose)
        ui.showSetupButton.clicked.connect(lambda *_args: session.show_setup.emit())
        ui.freeMemoryButton.clicked.connect(self._free_memory)
        ui.workerEdit.text = chosen_command()
        ui.workerEdit.editingFinished.connect(self._choose_worker)
        session.changed.connect(self.refresh)

    def read(self) -> None:
        """Look at which models this computer has."""
        try:
            catalogue = read_catalogue()
            here = [entry.name for entry in catalogue.models if find(entry) is not None]
            self._names = [name for name in here if name not in catalogue.defaults.values()]
        except WeightsError:
            self._names = []  # the section Setup says so
        self.refresh()

    def refresh(self) -> None:
        """Show the models of this computer, and the chosen one."""
        if self._session.parameters is None:
            return
        chosen = self._session.parameters.model
        models = ["", *self._names]
        if chosen and chosen not in models:
            models.append(chosen)
        if models != self._models:
            self._fill(models)
        show_choice(self._ui.modelCombo, models.index(chosen))
        for shown in self._lists:
            shown.refresh()
        ui, slice_by_slice = self._ui, self._session.parameters.method == SLICE_BY_SLICE
        rows = (ui.refinementLabel, ui.refinementCombo, ui.fineLabel, ui.fineSpinBox)
        for widget in (*rows, ui.calibrateCheckBox):
            widget.visible = slice_by_slice

    def _fill(self, models: list[str]) -> None:
        self._models = models
        combo = self._ui.modelCombo
        with quiet(combo):
            combo.clear()
            combo.addItems([Path(model).name if model else _("default") for model in models])

    def _choose(self, *_args: Any) -> None:
        index = self._ui.modelCombo.currentIndex
        if self._session.parameters is not None and 0 <= index < len(self._models):
            self._session.parameters.model = self._models[index]

    def _free_memory(self, *_args: Any) -> None:
        self._session.logic.worker.shutdown()
        self._session.tell(_("The segmentation process was ended; it starts again when it is needed."))
        self._session.changed.emit()

    def _choose_worker(self, *_args: Any) -> None:
        """Let the next segmentation run where the user says; that it can is seen at once."""
        text = self._ui.workerEdit.text.strip()
        if text == chosen_command():
            return
        try:
            choose_command(text)
        except InputError as error:
            self._session.tell(str(error))
            return
        worker = self._session.logic.worker
        worker.shutdown()
        self._session.tell("")
        worker.start()
        self._session.changed.emit()
