"""What the sections do with widgets again and again, and how widgets show names that users gave.

Qt takes <b> for bold type, and & for the key of a button. Labels are plain text by the property `textFormat`;
here is what has no such property.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import qt


def say(label: Any, text: str) -> None:
    """Show a sentence; a label without one takes no room."""
    label.text = text
    label.visible = bool(text)


@contextmanager
def quiet(widget: Any) -> Iterator[None]:
    """What is shown anew within it is no choice of the user's."""
    widget.blockSignals(True)
    yield
    widget.blockSignals(False)


def show_choice(combo: Any, index: int) -> None:
    """Show an item of a combo box, and tell nobody."""
    with quiet(combo):
        combo.currentIndex = index


def fill_row(table: Any, row: int, texts: Sequence[str]) -> None:
    """Show texts in a row of a table, each with a tool tip for where it is cut off."""
    for column, text in enumerate(texts):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(in_rich_text(text))
        table.setItem(row, column, item)


def chosen(view: Any, rows: Sequence[Any]) -> Any:
    """What the chosen row of a list or table stands for; None without one. The row may be a method of Qt."""
    row = view.currentRow() if callable(view.currentRow) else view.currentRow
    return rows[row] if 0 <= row < len(rows) else None


def on_button(name: str) -> str:
    """A name as part of a button's text."""
    return name.replace("&", "&&")


def in_rich_text(text: str) -> str:
    """A text for a tool tip or a message box, which take what looks like markup for it."""
    if "<" not in text and "&" not in text:
        return text
    return "<p>" + html.escape(text, quote=False).replace("\n", "<br>") + "</p>"
