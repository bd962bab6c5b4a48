"""How long the panel keeps a user waiting, in milliseconds; run by hand on a quiet machine:

    QT_QPA_PLATFORM=offscreen .venv/bin/python Testing/bench_panel.py [--large] [--build] [--structures N]

Without an option: a real segmentation of a phantom of 36 x 256 x 256 voxels with the default model. Prints
the longest gap of the event loop while it runs, and the time from a click to its effect. --large: the same
for 300 x 512 x 512 voxels with an engine that answers at once, since only the start and the end of a run
touch voxels. --build: the time that the module takes to build its widget for the first time. --structures:
N structures on 100 x 512 x 512 voxels of int16, with an engine that answers at once: for how long the
application's own thread is busy from the click to the result, and how much memory its process takes.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "standins"), str(HERE.parent / "QNetSegment" / "Logic")]

import numpy as np  # noqa: E402
import qt  # noqa: E402
from slicer_session import load_module, session, unload_module  # noqa: E402

BETWEEN_CLICKS = 0.15  # seconds
LONG = 50.0  # milliseconds


class Heartbeat:
    """Ticks as often as the event loop lets it, and notes the gaps with what the panel showed."""

    def __init__(self, label: Any) -> None:
        self.ticks, self.longest = 0, 0.0
        self.long: list[tuple[int, float, str]] = []  # a growing list makes Python collect garbage
        self._label = label
        self._last = time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.setTimerType(qt.Qt.PreciseTimer)
        self._timer.start(1)

    def _tick(self) -> None:
        now = time.perf_counter()
        gap = 1000 * (now - self._last)
        self.ticks, self.longest = self.ticks + 1, max(self.longest, gap)
        if gap > LONG:
            self.long.append((self.ticks, gap, self._label.text))
        self._last = time.perf_counter()

    def stop(self) -> None:
        self._tick()
        self._timer.stop()


class Clicker:
    """Posts clicks from a thread of its own, whatever the event loop does, and times their effect."""

    def __init__(self, button: Any) -> None:
        self.delays: list[float] = []
        self._button = button
        self._posted: deque[float] = deque()
        self._done = threading.Event()
        button.toggled.connect(self._toggled)
        self._thread = threading.Thread(target=self._click, daemon=True)
        self._thread.start()

    def _click(self) -> None:
        where = qt.QPointF(20, 8)
        while not self._done.wait(BETWEEN_CLICKS):
            self._posted.append(time.perf_counter())
            for kind in (qt.QEvent.MouseButtonPress, qt.QEvent.MouseButtonRelease):
                pressed = qt.Qt.LeftButton if kind == qt.QEvent.MouseButtonPress else qt.Qt.NoButton
                event = qt.QMouseEvent(kind, where, where, qt.Qt.LeftButton, pressed, qt.Qt.NoModifier)
                qt.QCoreApplication.postEvent(self._button, event)

    def _toggled(self, *_: object) -> None:
        if self._posted:  # else the panel itself has changed the box, as for a new result
            self.delays.append(1000 * (time.perf_counter() - self._posted.popleft()))

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._button.toggled.disconnect(self._toggled)


def spin(condition: Any) -> None:
    loop, timer = qt.QEventLoop(), qt.QTimer()
    timer.timeout.connect(lambda: condition() and loop.quit())
    timer.start(20)
    loop.exec()


def prepare(widget: Any, shape: tuple[int, int, int]) -> None:
    """A phantom, chosen and with one drawn slice."""
    import slicer

    from qnetseg_lab.evaluation.body_phantom import body_phantom, largest_slice
    from support.masks import write_segment

    volume, mask = body_phantom(shape)
    node = slicer.util.addVolumeFromArray(volume.array, name="phantom")
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    widget.ui.querySelector.setCurrentNode(node)
    widget.ui.newDrawingButton.click()
    drawing = widget.panel.session.parameters.drawing
    write_segment(drawing, drawing.GetSegmentation().GetNthSegmentID(0), largest_slice(mask), node)
    spin(lambda: widget.panel.session.drawn)


def run(widget: Any, title: str) -> None:
    """One segmentation, measured."""
    ui, state = widget.ui, widget.panel.session
    heartbeat, clicker = Heartbeat(ui.progressLabel), Clicker(ui.logSection)
    begin = time.perf_counter()
    ui.segmentButton.click()
    clicked = 1000 * (time.perf_counter() - begin)
    spin(lambda: state.run is None)
    whole = time.perf_counter() - begin
    clicker.stop()
    heartbeat.stop()
    assert state.preview is not None, ui.messageLabel.text
    print(f"{title}: {whole:.1f} s, click on Segment {clicked:.0f} ms")
    print(f"  longest gap of the event loop {heartbeat.longest:.0f} ms")
    if clicker.delays:
        worst, middle = max(clicker.delays), float(np.median(clicker.delays))
        print(f"  click to effect: median {middle:.1f} ms, longest {worst:.0f} ms of {len(clicker.delays)}")
    for tick, gap, text in heartbeat.long:
        print(f"  gap of {gap:.0f} ms at tick {tick} of {heartbeat.ticks}, before it: {text!r}")


def prepare_many(widget: Any, count: int) -> None:
    """A volume with `count` structures, each drawn on one slice."""
    import slicer

    from support.masks import add_segment, write_segment

    shape = (100, 512, 512)
    array = np.random.default_rng(0).integers(0, 100, shape, np.int16)
    masks = []
    for number in range(count):
        row, column = 30 + 90 * (number // 5), 30 + 90 * (number % 5)
        mask = np.zeros(shape, np.uint8)
        mask[50, row : row + 80, column : column + 80] = 1
        masks.append(mask)
    node = slicer.util.addVolumeFromArray(array, name="many")
    widget.ui.querySelector.setCurrentNode(node)
    widget.ui.newDrawingButton.click()
    drawing = widget.panel.session.parameters.drawing
    write_segment(drawing, drawing.GetSegmentation().GetNthSegmentID(0), masks[0], node)
    for number, mask in enumerate(masks[1:], 1):
        add_segment(drawing, mask, node, f"structure {number}", (1.0, 0.0, 0.0))
    spin(lambda: len(widget.panel.session.drawn) == count)


def run_many(widget: Any, title: str) -> None:
    """One run of many structures: what it costs the application itself."""
    import resource

    state = widget.panel.session
    seconds, before = time.perf_counter(), time.thread_time()
    widget.ui.segmentButton.click()
    clicked = time.thread_time() - before
    spin(lambda: state.run is None)
    busy, whole = time.thread_time() - before, time.perf_counter() - seconds
    assert state.preview is not None, widget.ui.messageLabel.text
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{title}: {whole:.1f} s")
    print(f"  own thread busy {1000 * busy:.0f} ms, of it the click {1000 * clicked:.0f} ms")
    print(f"  peak memory of the application's process {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the panel keeps a user waiting, in milliseconds.")
    parser.add_argument("--large", action="store_true", help="300 x 512 x 512 voxels, instant engine")
    parser.add_argument("--build", action="store_true", help="how long the widget takes to be built")
    parser.add_argument("--structures", type=int, metavar="N", help="N structures, instant engine")
    arguments = parser.parse_args()
    session()
    begin = time.perf_counter()
    _module, widget = load_module()
    built = time.perf_counter()
    widget.parent.enter()
    entered = time.perf_counter()
    if arguments.build:
        print(f"built in {1000 * (built - begin):.0f} ms, entered in {1000 * (entered - built):.0f} ms")
        return
    widget.parent.resize(360, 900)
    widget.parent.show()
    if arguments.large or arguments.structures:
        from QNetSegmentLib.process import worker

        worker.worker_command = lambda: [sys.executable, str(HERE / "support" / "instant_worker.py")]
    if arguments.structures:
        prepare_many(widget, arguments.structures)
        for title in ("first run", "second run, warm, the volume open"):
            run_many(widget, title)
        unload_module(widget)
        return
    shape = (300, 512, 512) if arguments.large else (36, 256, 256)
    prepare(widget, shape)
    for title in ("first run", "second run, with a warm process and a preview"):
        run(widget, title)
    unload_module(widget)


if __name__ == "__main__":
    main()
