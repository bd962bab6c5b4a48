"""The module's life in Slicer: built without torch, reloaded, left and entered, ended without a trace."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer

from support.panel_bed import Panel, add_volume, click, turn_events, wait_until
from support.panel_stories import Story, matrix_of, patient, story
from support.qt_worker_bed import is_gone

__all__ = ["story"]

TESTING = Path(__file__).resolve().parents[1]

GENERIC = """
import importlib.abc, sys

class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "safetensors"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, "standins")
from slicer_session import load_module, session, unload_module
bed = session()
bed.pytorch_extension(False)
import slicer
module, widget = load_module()
assert slicer.util.mainWindow() is None and slicer.app.layoutManager() is None
widget.parent.setMRMLScene(None)
widget.parent.setMRMLScene(slicer.mrmlScene)
widget.parent.enter()
slicer.mrmlScene.Clear(0)
assert widget.ui.segmentButton.enabled is False
widget.parent.exit()
unload_module(widget)
heavy = [name for name in ("torch", "scipy", "SimpleITK", "matplotlib") if name in sys.modules]
assert heavy == [], heavy
assert bed.uncaught == [], bed.uncaught
print("built")
"""


def test_the_widget_is_built_without_torch_and_without_a_main_window() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GENERIC],
        cwd=TESTING,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.endswith("built\n"), done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.fixture
def own_modules() -> Iterator[None]:
    """The packages that other tests have imported are back afterwards: a reload imports them anew."""
    ours = ("QNetSegmentLib", "qnetseg", "QNetSegment")

    def modules() -> dict[str, Any]:
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] in ours}

    before = modules()
    yield
    for name in modules():
        del sys.modules[name]
    sys.modules.update(before)


def test_reload(own_modules: None, story: Story) -> None:
    story.load_and_draw()
    story.segment()
    old, panel, pid = story.panel.widget, story.panel.widget.panel, story.worker.pid
    old.onReload()
    turn_events()
    new = slicer.modules.QNetSegmentWidget
    assert new is not old and is_gone(pid)
    assert type(new.panel).__module__ == type(panel).__module__ and type(new.panel) is not type(panel)
    story.panel.widget = new
    story.panel.frame.enter()
    wait_until(lambda: new.panel.session.drawn)
    assert new.ui.querySelector.currentNode().GetName() == "MR" and new.ui.reviewBox.isVisible()
    assert new.ui.segmentButton.enabled
    new.ui.opacitySlider.setValue(20)  # the old panel's observers are gone with it
    new.ui.drawnTable.selectRow(0)
    click(new.ui.removeSliceButton)
    wait_until(lambda: not new.panel.session.drawn)
    assert panel.session.parameters is None and panel.session.drawn == []
    assert old.panel is None and not old.uiWidget


def test_reload_by_the_button_of_developers(own_modules: None, story: Story) -> None:
    """The way over `slicer.util`, which asks the widget for nothing but `cleanup`."""
    slicer.util.reloadScriptedModule("QNetSegment")
    turn_events()
    story.panel.widget = slicer.modules.QNetSegmentWidget
    story.panel.frame.enter()
    assert story.panel.widget.ui.segmentButton.text == "Segment"


def test_nothing_keeps_a_panel_that_was_reloaded(own_modules: None, story: Story) -> None:
    """PythonQt keeps what is connected: each reload would leave a panel, a worker and their timers."""
    story.load_and_draw()
    story.segment()
    old = story.panel.widget
    kept = [
        weakref.ref(one)
        for one in (old.panel, old.panel.session, old.panel.live, old.panel.batch, old.logic.worker)
    ]
    slicer.util.reloadScriptedModule("QNetSegment")
    story.panel.widget, old = slicer.modules.QNetSegmentWidget, None
    turn_events()
    story.panel.frame.enter()
    wait_until(lambda: story.worker.device)
    gc.collect()
    assert [one() for one in kept if one() is not None] == []


@pytest.mark.parametrize("what", ["nothing", "run", "batch"])
def test_what_the_worker_says_after_the_end_of_the_panel_reaches_no_widget(story: Story, what: str) -> None:
    """At the end of Slicer the widgets may go before the process does."""
    story.load_and_draw()
    if what == "run":
        story.start_and_hold()
    elif what == "batch":
        add_volume(patient()[0], "another", matrix_of())
        story.order("wait")
        story.ui.batchSection.collapsed = False
        story.ui.batchSceneRadio.checked = True
        story.session.parameters.batchOutput = str(story.folder / "results")
        click(story.ui.batchButton)
        wait_until(lambda: story.worker.busy)
    widget, worker, ui = story.panel.widget, story.worker, story.ui
    worker.ready.clear()  # the story's own ear
    widget.panel.cleanup()
    widget.panel = None
    names = ("ready", "progress", "finished", "failed", "log", "stopped")
    slots = {name: getattr(worker, name)._slots for name in names}
    of_the_panel = [slot for found in slots.values() for slot in found if ".panel." in slot.__module__]
    assert of_the_panel == [] and (what != "nothing" or not any(slots.values()))
    for child in widget.parent.children():
        if child.isWidgetType():
            child.deleteLater()
    turn_events()
    assert not ui.segmentButton and not ui.chartLabel
    worker.shutdown()
    turn_events()
    assert not worker.busy and worker.pid is None


def test_leaving_and_entering_the_module(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    story.start_and_hold()
    ui.segmentEditor.setActiveEffectByName("Paint")
    story.panel.frame.exit()
    assert not ui.segmentEditor.activeEffect()
    story.order("")
    story.end()  # the run goes on behind
    story.panel.frame.enter()
    assert story.preview is not None and ui.reviewBox.isVisible() and len(story.session.drawn) == 1


def test_the_end_of_the_module_ends_a_running_process(story: Story) -> None:
    story.load_and_draw()
    story.start_and_hold()
    pid, segmentations = story.worker.pid, slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    story.panel.widget.cleanup()
    assert is_gone(pid)
    turn_events()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == segmentations
    slicer.mrmlScene.Clear(0)  # nothing listens any more
    turn_events()


def test_the_end_of_the_application_ends_a_running_process(story: Story) -> None:
    story.load_and_draw()
    story.start_and_hold()
    pid = story.worker.pid
    slicer.app.aboutToQuit.emit()
    assert is_gone(pid)
    story.end()


def test_the_module_is_entered_after_volumes_were_loaded(story: Story) -> None:
    story.panel.frame.exit()
    slicer.mrmlScene.Clear(0)
    for name in ("first", "second"):
        add_volume(patient()[0], name, matrix_of())
    story.panel.frame.enter()
    assert story.session.parameters.queryVolume.GetName() == "first"
    assert story.ui.querySelector.currentNode().GetName() == "first"


def test_two_panels_in_one_session() -> None:
    """One after the other, as the generic tests of Slicer do."""
    for _turn in range(2):
        panel = Panel()
        assert panel.ui.segmentButton.text == "Segment"
        panel.close()
