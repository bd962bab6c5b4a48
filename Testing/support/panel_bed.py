"""Stories on the stand-ins: the module's panel in a fresh scene, a user's mouse and keys, pictures of it.

    from support.panel_bed import click, panel, wait_until     # `panel` is a fixture

What a user cannot do fails here, too: clicking what is hidden or disabled. After the test, exceptions
that slots or observers raised fail it, because Qt and VTK only print them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

STANDINS = Path(__file__).resolve().parents[1] / "standins"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if str(STANDINS) not in sys.path:
    sys.path.insert(0, str(STANDINS))

import qt  # noqa: E402
import slicer  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from slicer_session import Session, load_module, session, unload_module  # noqa: E402

WIDTH = 360
PATIENCE = 120.0


class Panel:
    """The module, its widget, the form's widgets by name, the frame on screen, and the session."""

    def __init__(self, path: Path | None = None) -> None:
        self.session: Session = session()
        self.session.reset()
        self.module: ModuleType
        self.module, self.widget = load_module(path)
        self.frame = self.widget.parent
        self.frame.resize(WIDTH, 900)
        self.frame.show()
        self.frame.enter()
        turn_events()

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def messages(self) -> list[Any]:
        """Dialogs shown so far, see standins/modal.py."""
        return self.session.messages

    @property
    def answers(self) -> Any:
        """Answers of the dialogs to come."""
        return self.session.answers

    def close(self) -> None:
        """Leaves and unloads the module; what slots or observers raised meanwhile fails the test."""
        name = self.widget.moduleName
        self.widget = getattr(slicer.modules, name + "Widget")  # after a reload it is another one
        self.frame.exit()
        unload_module(self.widget)
        turn_events()
        uncaught = list(self.session.uncaught)
        self.session.reset()
        if uncaught:
            raise AssertionError(f"raised in slots or observers: {uncaught}") from uncaught[0]


@pytest.fixture
def panel() -> Iterator[Panel]:
    """QNetSegment's panel as a user sees it who has just opened the module."""
    opened = Panel()
    yield opened
    opened.close()


def turn_events(turns: int = 5) -> None:
    """Lets the event loop do what is due now, deletions too."""
    for _ in range(turns):
        qt.QCoreApplication.processEvents()
        qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Runs the event loop until the condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    loop, timer = qt.QEventLoop(), qt.QTimer()
    timer.timeout.connect(lambda: loop.quit() if condition() or time.monotonic() > deadline else None)
    timer.start(5)
    if not condition():
        loop.exec()
    timer.stop()
    assert condition(), f"the condition was not met within {seconds} s"


def _usable(widget: Any) -> None:
    name = f"{widget.className()} {widget.name!r}"
    assert widget.isVisible(), f"a user cannot use {name}: it is hidden"
    assert widget.isEnabled(), f"a user cannot use {name}: it is disabled"


def click(widget: Any, times: int = 1) -> None:
    """Presses the left button on a button, a check box, or the header of a collapsible section."""
    _usable(widget)
    point = qt.QPoint(int(widget.width) // 2, min(int(widget.height) // 2, 12))
    if isinstance(widget, (qt.QCheckBox, qt.QRadioButton)):
        point.setX(8)
    for _ in range(times):
        QTest.mouseClick(widget, qt.Qt.LeftButton, qt.Qt.NoModifier, point)
    turn_events()


def click_item(view: Any, row: int, column: int = 0, *, double: bool = False) -> None:
    """Clicks an item of a list or table."""
    _usable(view)
    index = view.model().index(row, column)
    view.scrollTo(index)
    point = view.visualRect(index).center()
    press = QTest.mouseDClick if double else QTest.mouseClick
    QTest.mouseClick(view.viewport(), qt.Qt.LeftButton, qt.Qt.NoModifier, point)
    if double:
        press(view.viewport(), qt.Qt.LeftButton, qt.Qt.NoModifier, point)
    turn_events()


def type_text(field: Any, text: str) -> None:
    """Replaces the text of a field key by key, and presses Return in a line."""
    _usable(field)
    field.setFocus()
    field.selectAll()
    for character in text:
        for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
            qt.QApplication.sendEvent(field, qt.QKeyEvent(kind, 0, qt.Qt.NoModifier, character))
    if isinstance(field, qt.QLineEdit):
        QTest.keyClick(field, qt.Qt.Key_Return)
    turn_events()


def choose(box: Any, text: str) -> None:
    """Chooses the item of that text in a combo box or node selector, as with the mouse."""
    _usable(box)
    combo = box.comboBox() if hasattr(box, "comboBox") else box
    index = combo.findText(text)
    assert index >= 0, f"{text!r} is none of {[combo.itemText(i) for i in range(combo.count)]}"
    combo.setCurrentIndex(index)
    combo.activated.emit(index)
    turn_events()


def needed_width(widget: Any) -> int:
    """Pixels below which something of the widget is cut off."""
    turn_events()
    return max(widget.minimumSizeHint().width(), widget.layout().minimumSize().width())


def grab(widget: Any, path: Path | str, dark: bool = False, width: int = WIDTH) -> tuple[int, int]:
    """Writes a picture of the widget in its full height; returns (width, height) in pixels."""
    application = qt.application()
    before = application.palette()
    if dark:
        application.setStyle("Fusion")
        application.setPalette(dark_palette())
    try:
        widget.resize(width, widget.height)
        turn_events()
        widget.resize(width, _full_height(widget, width))
        turn_events()
        picture = widget.grab()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        assert picture.save(str(path)), f"cannot write {path}"
        return picture.width(), picture.height()
    finally:
        application.setPalette(before)
        turn_events()


def _full_height(widget: Any, width: int) -> int:
    layout = widget.layout()
    if layout.hasHeightForWidth():
        return max(layout.totalHeightForWidth(width), layout.minimumSize().height())
    return layout.sizeHint().height()


def dark_palette() -> Any:
    """Colours like those of Slicer's dark style."""
    palette, role = qt.QPalette(), qt.QPalette
    colors = {
        role.Window: (43, 43, 43),
        role.WindowText: (220, 220, 220),
        role.Base: (30, 30, 30),
        role.AlternateBase: (50, 50, 50),
        role.ToolTipBase: (60, 60, 60),
        role.ToolTipText: (220, 220, 220),
        role.Text: (220, 220, 220),
        role.PlaceholderText: (140, 140, 140),
        role.Button: (58, 58, 58),
        role.ButtonText: (220, 220, 220),
        role.BrightText: (255, 80, 80),
        role.Link: (90, 160, 240),
        role.Highlight: (47, 101, 160),
        role.HighlightedText: (255, 255, 255),
    }
    for name, color in colors.items():
        palette.setColor(name, qt.QColor(*color))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(role.Disabled, name, qt.QColor(125, 125, 125))
    return palette


def add_volume(array: np.ndarray, name: str = "volume", ijk_to_ras: np.ndarray | None = None) -> Any:
    """A scalar volume node; array: (K, J, I), ijk_to_ras: (4, 4) in mm."""
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(array), name=name)
    if ijk_to_ras is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


def add_drawing(volume: Any, masks: Mapping[str, np.ndarray], name: str = "drawing") -> Any:
    """A segmentation node with one segment for each mask: (K, J, I) on the volume's grid."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for structure, mask in masks.items():
        segment_id = node.GetSegmentation().AddEmptySegment("", structure)
        paint(node, segment_id, mask, volume)
    return node


def paint(segmentation: Any, segment_id: str, mask: np.ndarray, volume: Any) -> None:
    """Gives a segment these voxels, as strokes of the segment editor would."""
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.ascontiguousarray(mask, np.uint8), segmentation, segment_id, volume
    )
