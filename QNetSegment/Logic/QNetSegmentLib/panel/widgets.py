"""What the sections do with widgets again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import qt

from .texts import in_rich_text


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
