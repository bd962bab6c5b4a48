"""Dialogs without waiting: what would stop a test is recorded and answered instead.

`recorder.messages` lists what was shown. `recorder.answers` holds the answers of the next questions,
first in, first out; without one, questions are answered as Slicer's testing mode does: accepted.
An answer is True or False (accept, reject), the text of a button, or, for a file dialog, the path.
For a dialog of our own it may also be a function that gets the dialog, as a user would, and returns
True or False; without an answer such dialogs are rejected. None of this proves that a dialog
looks or behaves well in Slicer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from PySide6.QtWidgets import QDialog, QMessageBox


@dataclass(frozen=True)
class Message:
    """One dialog: kind ("info", "warning", "error", "question", "dialog", "file", "input", "menu")."""

    kind: str
    text: str
    title: str = ""
    details: str = ""


@dataclass
class Recorder:
    messages: list[Message] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)

    def clear(self) -> None:
        self.messages.clear()
        self.answers.clear()

    def record(self, kind: str, text: str, title: str = "", details: str = "") -> None:
        self.messages.append(Message(kind, str(text), str(title), str(details)))

    def answer(self, default):
        return self.answers.popleft() if self.answers else default


recorder = Recorder()

_KINDS = {
    QMessageBox.Icon.NoIcon: "info",
    QMessageBox.Icon.Information: "info",
    QMessageBox.Icon.Warning: "warning",
    QMessageBox.Icon.Critical: "error",
    QMessageBox.Icon.Question: "question",
}
_ACCEPT = (
    QMessageBox.ButtonRole.AcceptRole,
    QMessageBox.ButtonRole.YesRole,
    QMessageBox.ButtonRole.ActionRole,
    QMessageBox.ButtonRole.DestructiveRole,
)
_REJECT = (QMessageBox.ButtonRole.RejectRole, QMessageBox.ButtonRole.NoRole)


def _plain(text: str) -> str:
    return text.replace("&", "")


def _button(box, answer):
    """The button that an answer means; a lone button is pressed for any answer but an unknown text."""
    buttons = box.buttons()
    if isinstance(answer, str):
        named = [button for button in buttons if _plain(button.text) == _plain(answer)]
        if not named:
            raise AssertionError(f"no button {answer!r} in {[_plain(b.text) for b in buttons]}")
        return named[0]
    roles = _ACCEPT if answer else _REJECT
    matching = [button for role in roles for button in buttons if box.buttonRole(button) == role]
    return (matching or buttons)[0]


def run_message_box(box) -> int:
    """Stands in for QMessageBox.exec: presses a button and returns it as Qt does."""
    if not box.buttons():
        box.setStandardButtons(QMessageBox.StandardButton.Ok)
    text = "\n\n".join(part for part in (box.text, box.informativeText) if part)
    recorder.record(_KINDS[box.icon], text, box.windowTitle, box.detailedText)
    button = _button(box, recorder.answer(True))
    button.click()
    return box.standardButton(button)


def ask(kind: str, cls, title: str, text: str, buttons) -> Any:
    """Stands in for the static functions of QMessageBox."""
    box = cls(_ICONS[kind], title, text, buttons or QMessageBox.StandardButton.Ok)
    return run_message_box(box)


_ICONS = {kind: icon for icon, kind in _KINDS.items() if icon is not QMessageBox.Icon.NoIcon}


def run_dialog(dialog) -> int:
    """Stands in for QDialog.exec: an answer function plays the user."""
    recorder.record("dialog", dialog.windowTitle, dialog.windowTitle)
    answer = recorder.answer(False)
    accepted = answer(dialog) if callable(answer) else answer
    dialog.done(QDialog.DialogCode.Accepted if accepted else QDialog.DialogCode.Rejected)
    return int(bool(accepted))


def ask_path(title: str, nothing):
    """Stands in for the static functions of QFileDialog; `nothing` is what a cancelled one returns."""
    recorder.record("file", title, title)
    return recorder.answer(nothing)


def ask_value(title: str, label: str, nothing):
    """Stands in for the static functions of QInputDialog."""
    recorder.record("input", label, title)
    return recorder.answer(nothing)
