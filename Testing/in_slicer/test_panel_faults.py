"""Cancelled at every stage, and whatever can go wrong with the process: one sentence, nothing lost, go on."""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any

import numpy as np
import pytest

from qnetseg.worker.protocol import VERSION
from support.panel_bed import click, turn_events, wait_until
from support.panel_stories import Story, story, unchanged_scene, worker_module
from support.worker_bed import speaking

__all__ = ["story"]

READY = json.dumps(  # the third id: the process that started with the panel and the run have the others
    {
        "event": "ready",
        "id": "3",
        "version": VERSION,
        "pid": 999999999,
        "torch": "x",
        "device": "cpu",
        "shared": True,
    }
)
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
runpy.run_module("qnetseg.worker", run_name="__main__")
"""


def assert_works(story: Story) -> None:
    """The next run has a result, and says nothing of the one before."""
    story.order("")
    story.segment()
    assert story.message == "" and story.dice() > 0.8
    assert not story.ui.setupSection.isVisible()


def stages(story: Story, stage: str) -> None:
    """Start, and wait for the stage."""
    if stage == "starting":
        story.cool()
        story.order("slow start")
        story.start()
        assert story.ui.progressLabel.text == "Starting the segmentation process…"
    elif stage == "preparing":
        story.order("prepare")
        story.start()
        wait_until(lambda: story.ui.progressLabel.text == "Reading the volume…")
    else:
        story.start_and_hold()


@pytest.mark.parametrize("stage", ["starting", "preparing", "slices"])
def test_cancel(story: Story, stage: str) -> None:
    ui = story.ui
    story.load_and_draw()
    with unchanged_scene():
        stages(story, stage)
        click(ui.segmentButton)
        if story.session.run is not None:
            assert ui.segmentButton.text == "Cancelling…" and not ui.segmentButton.enabled
        if stage == "starting":
            story.order("")
        story.end()
    assert story.message == "The segmentation was cancelled."
    assert ui.segmentButton.text == "Segment" and ui.segmentButton.enabled and not ui.progressBar.isVisible()
    assert_works(story)


def test_cancel_keeps_the_result_under_review(story: Story) -> None:
    story.load_and_draw()
    preview = story.segment()
    voxels = story.found()
    with unchanged_scene():
        story.start_and_hold()
        assert story.ui.reviewBox.isVisible() and not story.ui.reviewBox.isEnabled()
        click(story.ui.segmentButton)
        story.end()
    assert story.preview is preview and np.array_equal(story.found(), voxels)
    assert story.ui.reviewBox.isEnabled()


def test_cancel_after_the_end_has_no_effect(story: Story) -> None:
    story.load_and_draw()
    preview = story.segment()
    story.session.cancel()  # as a click that came too late
    turn_events()
    assert story.preview is preview and story.message == "" and story.ui.segmentButton.text == "Segment"
    assert_works(story)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stage", ["starting", "preparing", "slices"])
def test_the_process_is_killed(story: Story, stage: str) -> None:
    story.load_and_draw()
    with unchanged_scene():
        stages(story, stage)
        wait_until(lambda: story.worker.pid)
        pid = story.worker.pid
        story.kill()
        story.end()
    assert "process" in story.message and "kill" in story.message.lower() and "\n" not in story.message
    assert story.message in story.log
    assert_works(story)
    assert story.worker.pid != pid


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_process_is_killed_while_it_idles(story: Story) -> None:
    story.load_and_draw()
    story.segment()
    story.kill()
    wait_until(lambda: not story.ui.deviceLabel.isVisible())
    assert story.message == ""
    assert_works(story)


def test_the_disk_is_full(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    story.load_and_draw()
    with monkeypatch.context() as patch, unchanged_scene():
        patch.setattr(np, "save", full)
        story.start()
        story.end()
        assert "No space left on device" in story.message
    assert_works(story)


COMMANDS = {
    "no torch": ([sys.executable, "-c", WITHOUT_TORCH], "torch", "torch"),
    "no program": (["/absent/python"], "could not be started", ""),
    "leaves at once": ([sys.executable, "-c", "import absent_module"], "exit code 1", "absent_module"),
    "garbage": (speaking(READY, "garbage"), "not JSON", ""),
}


@pytest.mark.parametrize("fault", COMMANDS)
def test_a_process_that_is_of_no_use(story: Story, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, words, details = COMMANDS[fault]
    story.load_and_draw()
    story.cool()
    with monkeypatch.context() as patch, unchanged_scene():
        patch.setattr(worker_module, "worker_command", lambda: command)
        click(story.ui.segmentButton)
        story.end()
    assert words in story.message and "\n" not in story.message and story.message in story.log
    assert details in story.log and "Traceback" not in story.message
    assert story.ui.setupSection.isVisible() == (fault != "garbage")
    assert story.ui.segmentButton.enabled  # the user may try again
    assert_works(story)


@pytest.mark.parametrize(("order", "words"), [("fail", "KeyError"), ("no memory", "memory")])
def test_the_engine_fails(story: Story, order: str, words: str) -> None:
    story.load_and_draw()
    story.order(order)
    with unchanged_scene():
        story.start()
        story.end()
    assert words in story.message + story.log and "\n" not in story.message
    assert_works(story)


def test_a_result_that_cannot_be_written_into_the_scene(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    from QNetSegmentLib.runs import scene_run

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("a bug")

    story.load_and_draw()
    with monkeypatch.context() as patch, unchanged_scene():
        patch.setattr(scene_run, "write_result", fail)
        story.start()
        story.end()
    assert story.message and "RuntimeError" in story.message + story.log
    assert_works(story)
