"""The states of the panel, and the one function that shows them."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Look:
    button: str
    enabled: bool
    hint: str = ""
    busy: bool = False
    progress: bool = False
    batch_button: str = ""


def _looks() -> dict[RunState, _Look]:
    """Made when it is shown, since the application's language is not known before."""
    segment, cancel = _("Segment"), _("Cancel")
    return {
        RunState.SETUP: _Look(segment, False, _("Something is not installed yet: see Setup above.")),
        RunState.NO_VOLUME: _Look(segment, False, _("Choose the volume to segment.")),
        RunState.NO_EXAMPLE: _Look(segment, False, _("Draw the structure on at least one slice.")),
        RunState.NO_CHECKED: _Look(segment, False, _("Check an example in the Support library below.")),
        RunState.READY: _Look(segment, True),
        RunState.UPDATING: _Look(segment, True, _("Updating the result…"), busy=True),
        RunState.RUNNING: _Look(cancel, True, busy=True, progress=True),
        RunState.CANCELLING: _Look(_("Cancelling…"), False, busy=True, progress=True),
        RunState.BATCH: _Look(segment, False, _("A batch is running."), True, True, _("Cancel batch")),
        RunState.BATCH_CANCELLING: _Look(
            segment, False, _("A batch is running."), True, True, _("Cancelling…")
        ),
    }


def apply_state(ui: Any, state: RunState, example: str = "") -> None:
    """Show `state` on the widgets `ui`: the only place that enables, renames or hides them for it.

    example: what a run would segment after, in words.
    """
    look = _looks()[state]
    hint = look.hint or (example if state is RunState.READY else "")
    ui.segmentButton.text = look.button
    ui.segmentButton.enabled = look.enabled
    say(ui.hintLabel, hint)
    ui.progressBar.visible = look.progress
    ui.progressLabel.visible = look.progress
    for editing in (ui.reviewBox, ui.undoRow):
        editing.enabled = not look.busy or state is RunState.UPDATING
    for choice in (ui.modelCombo, ui.deviceCombo, ui.freeMemoryButton, ui.setupBody):
        choice.enabled = not look.busy
    batch = state in (RunState.BATCH, RunState.BATCH_CANCELLING)
    ui.batchButton.text = look.batch_button or _("Start batch")
    ui.batchButton.enabled = state is RunState.BATCH or not (look.busy or state is RunState.SETUP)
    ui.batchInputs.enabled = not batch
