"""The only modal dialogs of the panel. Tests put others in their place."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from .widgets import in_rich_text


class Dialogs:
    """Asks the user; every answer may be empty, for a user who closed the dialog."""

    def open_file(self, title: str, pattern: str) -> str:
        """An existing file; `pattern` as in "Examples (*.npz)"."""
        return _path(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", pattern))

    def save_file(self, title: str, name: str, pattern: str) -> str:
        """A file to write; the dialog itself asks before an existing one."""
        return _path(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, pattern))

    def folder(self, title: str) -> str:
        """An existing folder."""
        return _path(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title))

    def confirm(self, question: str) -> bool:
        """Whether the user agrees."""
        return bool(slicer.util.confirmOkCancelDisplay(in_rich_text(question)))


def _path(answer: Any) -> str:
    """PythonQt gives the path, other bindings of Qt the path and the pattern."""
    return str(answer[0] if isinstance(answer, tuple) else answer or "")
