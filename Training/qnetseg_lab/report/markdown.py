"""Markdown: tables, sections, cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..evaluation.comparison import Difference

NONE = "Not measured yet."


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; cells that are None stay empty. "" where there are no rows."""
    lines = ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *lines]) if lines else ""


def section(title: str, *paragraphs: str) -> str:
    """A section of the second level, its paragraphs apart; empty ones are left out."""
    return "\n\n".join([f"## {title}", *(text for text in paragraphs if text)])


def number(value: float | None, digits: int = 1) -> str | None:
    """A figure as a cell."""
    return None if value is None else f"{value:.{digits}f}"


def interval(entry: Difference) -> str:
    """A paired difference with its 95 % interval."""
    low, high = entry["interval"]
    return f"{entry['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def link(result: dict[str, Any]) -> str:
    """Link to a result file."""
    return f"[json]({result['file']})"
