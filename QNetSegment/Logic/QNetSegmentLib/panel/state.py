"""The states of the panel, and the one function that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from slicer.i18n import tr as _


class RunState(Enum):
    """What the panel can do now. Whether there is a result to review is another matter."""

    SETUP = "something is not installed"
    NO_VOLUME = "no volume chosen"
    NO_EXAMPLE = "nothing drawn, and nothing chosen from the library"
    READY = "a click on Segment works"
    RUNNING = "a segmentation runs"
    CANCELLING = "the running segmentation was asked to stop"
    BATCH = "a batch runs"


@dataclass(frozen=True)
class _Look:
    button: str
    enabled: bool
    hint: str = ""
    busy: bool = False


def _looks() -> dict[RunState, _Look]:
    """Made when it is shown, since the application's language is not known before."""
    segment, cancel = _("Segment"), _("Cancel")
    return {
        RunState.SETUP: _Look(segment, False, _("Something is not installed yet: see Setup above.")),
        RunState.NO_VOLUME: _Look(segment, False, _("Choose the volume to segment.")),
        RunState.NO_EXAMPLE: _Look(segment, False, _("Draw the structure on at least one slice.")),
        RunState.READY: _Look(segment, True),
        RunState.RUNNING: _Look(cancel, True, busy=True),
        RunState.CANCELLING: _Look(_("Cancelling…"), False, busy=True),
        RunState.BATCH: _Look(segment, False, _("A batch is running."), busy=True),
    }


def apply_state(ui: Any, state: RunState) -> None:
    """Show `state` on the widgets `ui`: the only place that enables, renames or hides them for it."""
    look = _looks()[state]
    ui.segmentButton.text = look.button
    ui.segmentButton.enabled = look.enabled
    ui.hintLabel.text = look.hint
    ui.hintLabel.visible = bool(look.hint)
    ui.progressBar.visible = look.busy
    ui.progressLabel.visible = look.busy
    for editing in (ui.reviewBox, ui.undoRow):
        editing.enabled = not look.busy
    for choice in (ui.modelCombo, ui.deviceCombo, ui.freeMemoryButton, ui.removeDownloadsButton):
        choice.enabled = not look.busy
    batch = state is RunState.BATCH
    ui.batchButton.text = _("Cancel batch") if batch else _("Start batch")
    ui.batchButton.enabled = batch or state in (RunState.READY, RunState.NO_VOLUME, RunState.NO_EXAMPLE)
    ui.batchInputs.enabled = not batch
