"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; cells that are None stay empty."""
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def section(title: str, *paragraphs: str) -> str:
    """A section of the second level, its paragraphs apart; empty ones are left out."""
    return "\n\n".join([f"## {title}", *(text for text in paragraphs if text)])


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"
