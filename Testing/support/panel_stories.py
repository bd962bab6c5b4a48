"""What the panel's stories share: a patient, a drawing, a quick engine, and folders of their own.

from support.panel_stories import story     # a fixture
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
from PySide6.QtTest import QTest
from slicer_session import session

session()  # before the module's packages, which need all of `slicer`

import slicer  # noqa: E402

from QNetSegmentLib.panel.state import RunState  # noqa: E402
from QNetSegmentLib.process import worker as worker_module  # noqa: E402
from QNetSegmentLib.scene.canonical import CanonicalGrid  # noqa: E402
from QNetSegmentLib.scene.results import is_preview, surface_visible  # noqa: E402
from QNetSegmentLib.scene.segments import segment_mask  # noqa: E402
from QNetSegmentLib.scene.views import jump_to  # noqa: E402
from QNetSegmentLib.setup import requirements  # noqa: E402
from support.masks import write_segment  # noqa: E402
from support.panel_bed import Panel, add_volume, choose, click, paint, wait_until  # noqa: E402
from support.panel_models import two_models  # noqa: E402
from support.qt_worker_bed import is_gone, watched_folder  # noqa: E402
from support.scene_bed import inventory  # noqa: E402

__all__ = [
    "CanonicalGrid",
    "RunState",
    "Story",
    "is_preview",
    "jump_to",
    "real_story",
    "requirements",
    "segment_mask",
    "story",
    "surface_visible",
    "unchanged_scene",
    "worker_module",
    "write_segment",
]

QUICK = [sys.executable, str(Path(__file__).with_name("story_worker.py"))]
SHAPE = (14, 48, 56)  # k, j, i
SPACING = (6.0, 2.0, 2.0)  # mm along k, j, i
ORGAN = (slice(2, 12), slice(12, 34), slice(16, 40))
SPLEEN = (slice(4, 10), slice(36, 44), slice(8, 20))
DRAWN = 6  # slice of the volume
DOUBTFUL = {3: 20.0, 9: 16.0, 10: 23.0}  # slices and how much darker the organ is there


def patient(shift: int = 0, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(K, J, I) float32 image of a body with two organs, and their masks by name; shift: in voxels."""
    image = np.full(SHAPE, 100.0, np.float32)
    masks = {}
    for name, box, value in (("liver", ORGAN, 300.0), ("spleen", SPLEEN, 500.0)):
        mask = np.zeros(SHAPE, bool)
        mask[box] = True
        mask = np.roll(mask, (shift, -shift), (1, 2))
        image[mask] = value
        masks[name] = mask
    for k, darker in DOUBTFUL.items():
        image[k][masks["liver"][k]] -= darker
    image += np.random.default_rng(seed).normal(0, 12, SHAPE).astype(np.float32)
    return image, masks


def matrix_of(left_handed: bool = False, oblique: float = 0.0) -> np.ndarray:
    """(4, 4) IJK to RAS in mm; oblique: turned by that many radians about S."""
    matrix = np.diag([-SPACING[2], -SPACING[1], -SPACING[0] if left_handed else SPACING[0], 1.0])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(oblique), -np.sin(oblique)], [np.sin(oblique), np.cos(oblique)]]
    matrix = turn @ matrix
    matrix[:3, 3] = (50.0, 40.0, -30.0)
    return matrix


def one_slice(mask: np.ndarray, k: int = DRAWN) -> np.ndarray:
    """The mask on that slice alone."""
    drawn = np.zeros(mask.shape, np.uint8)
    drawn[k] = mask[k]
    return drawn


class Story:
    """A panel, its user, and the worker behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.panel = Panel()
        self.pids: set[int] = set()
        self.masks: dict[str, np.ndarray] = {}
        self.session.logic.worker.ready.connect(lambda ready: self.pids.add(ready.pid))

    @property
    def ui(self) -> Any:
        return self.panel.ui

    @property
    def session(self) -> Any:
        return self.panel.widget.panel.session

    @property
    def worker(self) -> Any:
        return self.session.logic.worker

    @property
    def log(self) -> str:
        return str(self.ui.logText.toPlainText())

    @property
    def message(self) -> str:
        """The sentence under the button, as far as the user sees it."""
        return str(self.ui.messageLabel.text) if self.ui.messageLabel.isVisible() else ""

    @property
    def preview(self) -> Any:
        return self.session.preview

    @property
    def report(self) -> Any:
        return self.panel.widget.panel.review._report

    @property
    def seen(self) -> list[dict[str, Any]]:
        """What the engine was asked for so far, see support/story_worker.py."""
        path = self.folder / "seen"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # What the user does

    def order(self, text: str) -> None:
        """What the engine does from now on, see support/story_worker.py."""
        path = self.folder / "orders"
        staged = path.with_suffix(".new")
        staged.write_text(text, encoding="utf-8")
        staged.replace(path)

    def load(self, name: str = "MR", matrix: np.ndarray | None = None, **options: Any) -> Any:
        """A volume is loaded and chosen as the one to segment."""
        image, self.masks = patient(**options)
        volume = add_volume(image, name, matrix_of() if matrix is None else matrix)
        choose(self.ui.querySelector, name)
        return volume

    def draw(self, *names: str, volume: Any = None, k: int = DRAWN) -> Any:
        """A new drawing with one slice of each structure; the drawing's node."""
        volume = volume or self.session.support_node
        before = len(self.session.drawn)
        click(self.ui.newDrawingButton)
        drawing = self.session.parameters.drawing
        segmentation = drawing.GetSegmentation()
        for number, name in enumerate(names or ("liver",)):
            segment_id = segmentation.GetNthSegmentID(0) if number == 0 else segmentation.AddEmptySegment()
            segmentation.GetSegment(segment_id).SetName(name)
            paint(drawing, segment_id, one_slice(self.masks[name], k), volume)
        wait_until(lambda: self.session.drawn and (before == 0 or self.session.parameters.drawing is drawing))
        wait_until(lambda: len(self.session.drawn) == len(names or ("liver",)))
        return drawing

    def load_and_draw(self, *names: str, **options: Any) -> tuple[Any, Any]:
        """The usual beginning; (volume, drawing)."""
        volume = self.load(**options)
        return volume, self.draw(*names)

    def stroke(self, k: int, rows: slice = ORGAN[1], columns: slice = ORGAN[2], erase: bool = False) -> None:
        """The user paints a box on a slice of the drawing's first segment, or erases it."""
        drawing, volume = self.session.parameters.drawing, self.session.support_node
        mask = self.found(drawing, volume=volume)
        mask[k, rows, columns] = not erase
        write_segment(drawing, drawing.GetSegmentation().GetNthSegmentID(0), mask, volume)

    def start(self) -> None:
        """Click Segment, and see that it runs, or has ended already."""
        assert self.ui.segmentButton.text == "Segment"
        before = self.preview
        click(self.ui.segmentButton)
        if self.session.run is not None:
            assert self.ui.segmentButton.text == "Cancel" and self.ui.segmentButton.enabled
        else:
            assert self.preview is not before or self.message

    def start_and_hold(self) -> None:
        """Click Segment, and wait until some slices are done and the engine stops for a while."""
        self.order("wait")
        self.start()
        wait_until(lambda: "slice 3 of" in self.ui.progressLabel.text)

    def end(self) -> None:
        """Wait for the end of the run, whatever it is."""
        wait_until(lambda: self.session.run is None)

    def segment(self) -> Any:
        """Click Segment and wait; the preview."""
        before = self.preview
        self.start()
        self.end()
        assert self.preview is not None and self.preview is not before, self.message
        return self.preview

    def cool(self) -> None:
        """The warm process is ended, so that the next run has to start one."""
        self.worker.shutdown()
        wait_until(lambda: self.worker.pid is None and self.worker.device is None)

    def kill(self) -> None:
        os.kill(self.worker.pid, signal.SIGKILL)

    # What the user sees

    def found(self, node: Any = None, number: int = 0, volume: Any = None) -> np.ndarray:
        """(K, J, I) bool: a segment of the preview, or of another node, on the volume to segment."""
        node = node or self.preview
        volume = volume or self.session.parameters.queryVolume
        return segment_mask(node, node.GetSegmentation().GetNthSegmentID(number), volume)

    def dice(self, name: str = "liver", **options: Any) -> float:
        found, truth = self.found(**options), self.masks[name]
        return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())

    def close(self) -> None:
        self.panel.close()
        wait_until(lambda: all(map(is_gone, self.pids)))


def slice_positions() -> list[tuple[float, float, float]]:
    """World (R, A, S) of the middles of the slice views."""
    found = []
    for name in ("Red", "Green", "Yellow"):
        matrix = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}").GetSliceToRAS()
        found.append(tuple(matrix.GetElement(row, 3) for row in range(3)))
    return found


def segment_names(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(one).GetName() for one in segmentation.GetSegmentIDs()]


@contextlib.contextmanager
def unchanged_scene() -> Iterator[None]:
    """Number of nodes, hierarchy items and ids are the same at the end."""
    before = inventory()
    yield
    assert inventory() == before


@contextlib.contextmanager
def _story(folder: Path, monkeypatch: Any) -> Iterator[Story]:
    """A panel with folders of its own; afterwards no process and no exchange folder may be left."""
    for variable, name in (
        ("QNETSEG_MODELS", "models"),
        ("QNETSEG_SUPPORTS", "supports"),
        ("QNETSEG_ORDERS", "orders"),
    ):
        monkeypatch.setenv(variable, str(folder / name))
    with watched_folder(folder, monkeypatch):
        opened = Story(folder)
        yield opened
        opened.close()


@pytest.fixture
def story(tmp_path: Path, monkeypatch: Any) -> Iterator[Story]:
    """A story with the quick engine, and a catalogue of two models that it does not need."""
    monkeypatch.setattr(worker_module, "worker_command", lambda: QUICK)
    two_models(tmp_path / "shipped")
    monkeypatch.setenv("QNETSEG_RESOURCES", str(tmp_path / "shipped"))
    with _story(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def real_story(tmp_path: Path, monkeypatch: Any) -> Iterator[Story]:
    """A story with the engine that the module ships with."""
    with _story(tmp_path, monkeypatch) as opened:
        yield opened


def click_bar(story: Story, index: int) -> None:
    """Click into the bar of the slice with that index."""
    label, slices = story.ui.chartLabel, [part.index for part in story.report.slices]
    x = (slices.index(index) + 0.5) * label.width / len(slices)
    QTest.mouseClick(label, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(int(x), 30))
