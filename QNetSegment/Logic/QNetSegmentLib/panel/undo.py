"""Undo of the panel's own steps; strokes of the brush have the segment editor's undo."""

from __future__ import annotations

from collections.abc import Callable

from ..signals import Signal

MOST = 10  # steps; some keep a copy of a segmentation


class UndoStack:
    """Steps that can be taken back, the last one first."""

    def __init__(self) -> None:
        self.changed = Signal()
        self._steps: list[tuple[str, Callable[[], None]]] = []

    @property
    def text(self) -> str:
        """What the next undo takes back; empty if there is nothing."""
        return self._steps[-1][0] if self._steps else ""

    def push(self, text: str, undo: Callable[[], None]) -> None:
        """Remember how to take back what was just done."""
        self._steps = [*self._steps, (text, undo)][-MOST:]
        self.changed.emit()

    def undo(self) -> None:
        """Take back the last step; harmless if there is none."""
        if self._steps:
            step = self._steps.pop()[1]
            self.changed.emit()
            step()

    def clear(self) -> None:
        """Forget everything: the nodes that the steps speak of are gone."""
        self._steps.clear()
        self.changed.emit()
