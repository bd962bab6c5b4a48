"""Confidence per slice as a strip of bars on a label, which can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import qt

from ..signals import Signal

HEIGHT = 64
DRAWN, CONFIDENT, DOUBTFUL, EMPTY = "#3d7dd8", "#2f9e6e", "#e8871e", "#9a9a9a"  # legible on light and dark


@dataclass(frozen=True)
class Bar:
    """One slice: its index, its height from 0 to 1, and its colour (one of those above)."""

    index: int
    height: float
    color: str


class StripChart(qt.QObject):
    """Paints bars on a QLabel and tells which slice was clicked.

    An event filter and a pixmap instead of a widget class of our own: both work in every version of PythonQt.
    """

    def __init__(self, label: Any) -> None:
        qt.QObject.__init__(self)
        self.clicked = Signal()
        self._label = label
        self._bars: Sequence[Bar] = ()
        self._current: int | None = None
        label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        label.installEventFilter(self)

    def cleanup(self) -> None:
        """The label lives on, and would call the filter until the end of the process."""
        self._label.removeEventFilter(self)

    def show(self, bars: Sequence[Bar], current: int | None = None) -> None:
        """Show these bars, and mark the slice with the index `current`."""
        self._bars, self._current = bars, current
        self._paint()

    def index_at(self, x: float) -> int | None:
        """The slice index of the bar at `x` pixels from the label's left edge."""
        if not self._bars:
            return None
        position = int(x * len(self._bars) / max(1, self._label.width))
        return self._bars[min(max(position, 0), len(self._bars) - 1)].index

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Called by Qt for every event of the label."""
        if event.type() in (qt.QEvent.Resize, qt.QEvent.PaletteChange):
            self._paint()
        elif event.type() == qt.QEvent.MouseButtonPress:
            index = self.index_at(getattr(event, "position", event.pos)().x())  # Qt 6, Qt 5
            if index is not None:
                self.clicked.emit(index)
                return True
        return False

    def _paint(self) -> None:
        width = max(1, self._label.width)
        pixmap = qt.QPixmap(width, HEIGHT)
        pixmap.fill(self._label.palette.color(qt.QPalette.Base))
        painter = qt.QPainter(pixmap)
        step = width / max(1, len(self._bars))
        gap = 1 if step >= 3 else 0
        for number, bar in enumerate(self._bars):
            left, right = round(number * step), round((number + 1) * step)
            tall = max(2, round(bar.height * (HEIGHT - 8)))
            painter.fillRect(left, HEIGHT - tall, max(1, right - left - gap), tall, qt.QColor(bar.color))
            if bar.index == self._current:
                painter.setPen(self._label.palette.color(qt.QPalette.Text))
                painter.drawRect(left, 0, max(2, right - left - 1), HEIGHT - 1)
        painter.end()
        self._label.setPixmap(pixmap)
