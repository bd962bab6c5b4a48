"""Section Support library: named examples that can be used for other patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..library import NameTaken, file_name
from ..runs.errand import Packing
from ..scene.volumes import source_of
from .review import plane_text
from .session import Session, typed
from .widgets import chosen, in_rich_text, quiet, say

VISIBLE_ROWS, ROW, FRAME = 5, 20, 6  # of the list, in pixels


class LibrarySection:
    """The list is checkable; the checked names are part of the parameter node."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._entries: list[Any] = []
        self._packing: Packing | None = None  # drawings on their way into the library
        ui.libraryList.itemChanged.connect(self._checked)
        ui.libraryList.currentRowChanged.connect(self._show_buttons)
        ui.saveSupportButton.clicked.connect(self._guarded(self._save))
        ui.importSupportButton.clicked.connect(self._guarded(self._import))
        ui.exportSupportButton.clicked.connect(self._guarded(self._export))
        ui.removeSupportButton.clicked.connect(self._guarded(self._remove))
        ui.supportNameEdit.textChanged.connect(self._show_buttons)
        session.changed.connect(self._show_buttons)
        self._say("")
        self.read()

    def cleanup(self) -> None:
        """The module is unloaded, and the worker may answer after its widgets."""
        if self._packing is not None:
            self._packing.call_off()

    def read(self) -> None:
        """Show what is in the library."""
        parameters = self._session.parameters
        checked = set(parameters.supportSets) if parameters is not None else set()
        widget, current = self._ui.libraryList, self._chosen()
        self._entries = entries = self._session.library.entries()
        with quiet(widget):
            widget.clear()
            for row, entry in enumerate(entries):
                item = qt.QListWidgetItem(_entry_text(entry))
                item.setToolTip(in_rich_text(_hint(entry)))
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)  # a damaged one can be deleted
                if not entry.problem:
                    item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
                    item.setCheckState(qt.Qt.Checked if entry.name in checked else qt.Qt.Unchecked)
                widget.addItem(item)
                if entry.name == current:
                    widget.setCurrentRow(row)
        widget.visible = bool(entries)
        widget.setFixedHeight(FRAME + ROW * min(max(len(entries), 1), VISIBLE_ROWS))
        usable = {entry.name for entry in entries if not entry.problem}
        if checked - usable and parameters is not None:  # their files are gone
            parameters.supportSets = [name for name in parameters.supportSets if name in usable]
        self._show_buttons()

    def _checked(self, *_args: Any) -> None:
        widget = self._ui.libraryList
        names = [
            entry.name
            for row, entry in enumerate(self._entries)
            if not entry.problem and widget.item(row).checkState() == qt.Qt.Checked
        ]
        if self._session.parameters is not None:
            self._session.parameters.supportSets = names
            self._session.parameters.useLibrary = bool(names)
        self._session.changed.emit()

    def _show_buttons(self, *_args: Any) -> None:
        ui = self._ui
        for button in (ui.exportSupportButton, ui.removeSupportButton):
            button.enabled = self._chosen() is not None
        ui.saveSupportButton.enabled = bool(self._session.drawn and ui.supportNameEdit.text.strip())

    def _chosen(self) -> str | None:
        entry = chosen(self._ui.libraryList, self._entries)
        return entry.name if entry is not None else None

    def _guarded(self, action: Callable[[], str | None]) -> Callable[..., None]:
        """An action whose typed errors, or whose answer, become the section's sentence."""

        def slot(*_args: Any) -> None:
            try:
                text = action()
            except Exception as error:
                text = str(typed(error))
            if text is not None:
                self._say(text)
                self.read()

        return slot

    def _say(self, text: str) -> None:
        say(self._ui.libraryMessage, text)

    def _save(self) -> str | None:
        session, name = self._session, self._ui.supportNameEdit.text.strip()
        drawings = session.drawings()
        names = [name] if len(drawings) == 1 else [f"{name} {drawing.name}" for drawing in drawings]
        taken = [entry_name for entry_name in names if session.library.taken(entry_name)]
        question = _("Replace “{name}” in the library?").format(name=", ".join(taken))
        if taken and not session.dialogs.confirm(question):
            return None

        def keep(supports: list[Any]) -> str:
            for entry_name, support in zip(names, supports, strict=True):
                session.library.save(entry_name, support, replace=True)
            return _("Saved: {names}.").format(names=", ".join(names))

        self._say(_("Saving…"))
        self._packing = Packing(
            session.logic.worker,
            drawings,
            source_of(session.support_node),
            lambda supports: self._guarded(lambda: keep(supports))(),
            lambda error: self._say(str(error)),
            session.accepted(),
        )
        return None

    def _import(self) -> str | None:
        session = self._session
        path = session.dialogs.open_file(_("Import an example"), _("Examples (*.npz)"))
        if not path:
            return None
        try:
            entry = session.library.import_file(path)
        except NameTaken as error:
            if not session.dialogs.confirm(_("{problem} Replace it?").format(problem=error.message)):
                return None
            entry = session.library.import_file(path, replace=True)
        return _("Imported: {name}.").format(name=entry.name)

    def _export(self) -> str | None:
        name = self._chosen()
        if name is None:
            return None
        path = self._session.dialogs.save_file(
            _("Export the example"), file_name(name), _("Examples (*.npz)")
        )
        if not path:
            return None
        self._session.library.export(name, path, replace=True)  # the dialog has asked
        return _("Exported to {path}.").format(path=path)

    def _remove(self) -> str | None:
        name = self._chosen()
        question = _("Delete “{name}” from the library? Its file is removed.").format(name=name)
        if name is None or not self._session.dialogs.confirm(question):
            return None
        self._session.library.remove(name)
        parameters = self._session.parameters
        if parameters is not None and name in parameters.supportSets:
            parameters.supportSets = [other for other in parameters.supportSets if other != name]
            parameters.useLibrary = bool(parameters.supportSets)
        return _("Deleted: {name}.").format(name=name)


def _hint(entry: Any) -> str:
    if entry.problem or entry.whole:
        return entry.problem or str(entry.path)
    slices_only = _("Holds the drawn slices only: saved again, it is found in other patients more often.")
    return f"{entry.path}\n{slices_only}"


def _entry_text(entry: Any) -> str:
    if entry.problem:
        return _("{name} (cannot be read)").format(name=entry.name)
    text = _("{name}: {structure}, {plane}, {count} slices")
    if entry.slices == 1:
        text = _("{name}: {structure}, {plane}, 1 slice")
    return text.format(
        name=entry.name, structure=entry.structure, plane=plane_text(entry.plane), count=entry.slices
    )
