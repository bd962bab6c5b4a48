"""The states of the panel, and the one function that shows them."""

from __future__ import annotations

from enum import Enum
from typing import Any

from slicer.i18n import tr as _

from .widgets import say


class RunState(Enum):
    """What the panel can do now. Whether there is a result to review is another matter."""

    SETUP = "something is not installed"
    NO_VOLUME = "no volume chosen"
    NO_EXAMPLE = "nothing drawn"
    NO_CHECKED = "the library shall be used, and nothing in it is checked"
    READY = "a click on Segment works"
    UPDATING = "the result follows a stroke, in less than the time that it takes to read this"
    RUNNING = "a segmentation runs"
    CANCELLING = "the running segmentation was asked to stop"
    BATCH = "a batch runs"
    BATCH_CANCELLING = "the running batch was asked to stop"


def apply_state(ui: Any, state: RunState, example: str = "") -> None:
    """Show `state` on the widgets `ui`: the only place that enables, renames or hides them for it.

    example: what a run would segment after, in words.
    """
    batch = state in (RunState.BATCH, RunState.BATCH_CANCELLING)
    lasting = batch or state in (RunState.RUNNING, RunState.CANCELLING)
    busy = lasting or state is RunState.UPDATING
    hints = {
        RunState.SETUP: _("Something is not installed yet: see Setup above."),
        RunState.NO_VOLUME: _("Choose the volume to segment."),
        RunState.NO_EXAMPLE: _("Draw the structure on at least one slice."),
        RunState.NO_CHECKED: _("Check an example in the Support library below."),
        RunState.READY: example,
        RunState.UPDATING: _("Updating the result…"),
        RunState.BATCH: _("A batch is running."),
        RunState.BATCH_CANCELLING: _("A batch is running."),
    }
    say(ui.hintLabel, hints.get(state, ""))
    buttons = {RunState.RUNNING: _("Cancel"), RunState.CANCELLING: _("Cancelling…")}
    ui.segmentButton.text = buttons.get(state, _("Segment"))
    ui.segmentButton.enabled = state in (RunState.READY, RunState.UPDATING, RunState.RUNNING)
    for progress in (ui.progressBar, ui.progressLabel):
        progress.visible = lasting
    for editing in (ui.reviewBox, ui.undoRow):
        editing.enabled = not lasting
    for choice in (ui.modelCombo, ui.deviceCombo, ui.freeMemoryButton, ui.setupBody):
        choice.enabled = not busy
    buttons = {RunState.BATCH: _("Cancel batch"), RunState.BATCH_CANCELLING: _("Cancelling…")}
    ui.batchButton.text = buttons.get(state, _("Start batch"))
    ui.batchButton.enabled = state is RunState.BATCH or not (busy or state is RunState.SETUP)
    ui.batchInputs.enabled = not batch
