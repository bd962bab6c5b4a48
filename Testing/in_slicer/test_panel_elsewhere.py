"""A worker on another machine, as the user of the panel sees it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer

from support.panel_bed import click, type_text, wait_until
from support.panel_stories import QUICK, Story, story, unchanged_scene

__all__ = ["story"]

SETTING = "QNetSegment/WorkerCommand"
FAR = shlex.join([sys.executable, str(Path(__file__).parents[1] / "support" / "far_worker.py"), *QUICK])


@pytest.fixture
def far(story: Story) -> Iterator[Story]:
    click(story.ui.advancedSection)
    yield story
    slicer.app.userSettings().setValue(SETTING, "")


def empty(story: Story) -> None:
    """Leave the line empty, which is this computer."""
    story.ui.workerEdit.clear()
    type_text(story.ui.workerEdit, "")


def test_the_volume_is_segmented_where_the_user_says(far: Story) -> None:
    assert far.ui.workerEdit.text == "" and "on this computer" in far.ui.workerEdit.placeholderText
    far.load_and_draw()
    far.segment()
    pid = far.worker.pid
    type_text(far.ui.workerEdit, FAR)
    wait_until(lambda: far.worker.device)
    assert far.worker.pid != pid and not far.worker._connection.shared and far.message == ""
    far.segment()
    empty(far)
    wait_until(lambda: far.worker.device)
    assert far.worker._connection.shared and slicer.app.userSettings().value(SETTING) == ""


def test_a_command_that_cannot_be_used_is_told(far: Story) -> None:
    type_text(far.ui.workerEdit, "ssh 'gpu-box qnetseg worker")
    assert "quotation" in far.message and slicer.app.userSettings().value(SETTING, "") in ("", None)
    type_text(far.ui.workerEdit, "/absent/ssh gpu-box qnetseg worker")
    wait_until(lambda: far.ui.setupSection.isVisible())
    assert "/absent/ssh" in slicer.app.userSettings().value(SETTING)
    empty(far)
    wait_until(lambda: far.worker.device)
    assert not far.ui.setupSection.isVisible()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_connection_that_is_lost_leaves_the_scene_as_it_was(far: Story) -> None:
    type_text(far.ui.workerEdit, FAR)
    far.load_and_draw()
    with unchanged_scene():
        far.start_and_hold()
        far.kill()
        far.end()
    assert "connection to the worker was lost" in far.message and "\n" not in far.message
    far.order("")
    far.segment()
    assert far.message == "" and not far.worker._connection.shared


def test_sending_is_told() -> None:
    from QNetSegmentLib.panel.segment_section import progress_text
    from QNetSegmentLib.runs.run import RunProgress

    progress = RunProgress("sending", 1 << 20, 4 << 20, "liver", 1, 1, None, 0.0)
    assert progress_text(progress) == "Sending the volume: 25 %"


def test_results_are_those_of_this_machine(far: Story) -> None:
    far.load_and_draw()
    far.segment()
    here = far.found()
    type_text(far.ui.workerEdit, FAR)
    far.segment()
    assert here.any() and np.array_equal(here, far.found())
