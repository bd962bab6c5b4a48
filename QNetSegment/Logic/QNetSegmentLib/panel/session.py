"""What the sections of the panel share: choices, the running work, messages, undo."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from qnetseg.errors import Cancelled, QNetSegmentError
from qnetseg.worker import failures

from ..library import SupportLibrary
from ..runs.prepare import prepare_run
from ..scene.accepted import accepted_results
from ..scene.drawings import drawings_of
from ..scene.results import KeptSegmentation, is_preview, signature, volume_of_result
from ..scene.segments import remove_node
from ..scene.views import show_if_hidden
from ..scene.volumes import source_of
from ..signals import Signal
from .dialogs import Dialogs
from .state import RunState
from .undo import UndoStack

SLICE_BY_SLICE = "q-net"
NODES = ("queryVolume", "supportVolume", "drawing", "preview", "output")  # parameters that are nodes
USUAL: dict[str, dict[str, Any]] = {  # the numbers of `Refinement.usual`, which needs torch
    "none": {},
    "reconstruction": {"rate": 0.05},
    "released": {},
    "closed_form": {"steps": 1},
}


class Session:
    """The panel's model: holds no widget and opens no dialog but through `dialogs`.

    Signals:
        changed(): a choice, the drawing or the running work changed; sections show themselves anew.
        message(text, is_error, details): one sentence for the user; text "" takes the last one away.
        logged(text): a line for the log.
        draw_here(segment_id): the user wants to correct that segment of the drawing.
        stop_drawing(): the user looks at the result from now on, and a click into a view must not paint.
        drawing_changes(): the panel itself is about to change the drawing, and the editor may keep its state.
        drawing_read(): strokes have paused, and what is drawn was read anew.
        run_ended(seconds, first): what the user waited for the result, None without one; and whether it was
            the first one of its process.
        show_setup(): the user asked for the section Setup.
    """

    def __init__(self, logic: Any, dialogs: Dialogs | None = None) -> None:
        self.logic = logic
        self.dialogs = dialogs or Dialogs()
        self.library = SupportLibrary()
        self.undo = UndoStack()
        self.parameters: Any = None  # QNetSegmentParameterNode; None while a scene closes
        self.run: Any = None  # SceneRun, while it runs
        self.updating = False  # whether the run was started by a stroke, and not by a click
        self.cancelling = False
        self._began: float | None = None  # when the run began to be worked on; None while the process starts
        self._follows_up: Any = None  # the result that was under review when the run began
        self._queued = False  # whether a click shall start another run after the running one
        self._first = True  # whether the process has given no result yet
        self._ran: tuple[Any, Any, str] = (None, None, "")  # drawing, volume and signature of the last run
        self._written = ""  # signature of the last result
        self._followed: Any = None  # the volume and the drawing that `follow_drawing` was last asked about
        self.batch: Any = None  # Batch, while it runs
        self.setup_missing = False
        self.drawn: list[Any] = []  # DrawnSlice, kept up to date by the section Draw
        self.not_here: list[Any] = []  # DrawnSlice, those that are marked as free of a structure
        self.changed, self.message, self.logged = Signal(), Signal(), Signal()
        self.draw_here, self.drawing_changes, self.show_setup = Signal(), Signal(), Signal()
        self.drawing_read, self.run_ended, self.stop_drawing = Signal(), Signal(), Signal()
        self._watched: list[tuple[Signal, Callable[..., None]]] = []
        self.watch(logic.worker.ready, self._on_ready)

    def watch(self, signal: Signal, slot: Callable[..., None]) -> None:
        """Hear a signal of the worker, which outlives the panel, until `cleanup`."""
        signal.connect(slot)
        self._watched.append((signal, slot))

    # Choices

    @property
    def support_node(self) -> Any:
        """The volume that is drawn on; the query itself unless another one is chosen."""
        return self.parameters and (self.parameters.supportVolume or self.parameters.queryVolume)

    @property
    def draws_on_query(self) -> bool:
        """Whether the example is drawn on the very volume that is segmented."""
        chosen = self.parameters
        if chosen is None or chosen.useLibrary or chosen.queryVolume is None:
            return False
        return self.support_node is chosen.queryVolume

    @property
    def drawing_volume(self) -> Any:
        """The volume that the drawing was made on; None if it does not say."""
        drawing = self.parameters and self.parameters.drawing
        return volume_of_result(drawing) if drawing is not None else None

    def follow_drawing(self) -> None:
        """With another volume to segment, the drawing stays one on the volume that it was made on."""
        chosen = self.parameters
        if chosen is None or chosen.supportVolume is not None or chosen.queryVolume is None:
            return
        if self._followed == (chosen.queryVolume, chosen.drawing):
            return  # the user has chosen "the same volume" himself
        self._followed = (chosen.queryVolume, chosen.drawing)
        if self.drawing_volume not in (None, chosen.queryVolume):
            chosen.supportVolume = self.drawing_volume

    def forget(self, node: Any) -> None:
        """The node is about to leave the scene: no choice may be it any more.

        A drawing goes with the volume that it was made on: on the next one it would be taken for drawn there.
        """
        if self.parameters is None:
            return
        if node is self.support_node and node is self.drawing_volume:
            self.parameters.drawing = None
        for name in NODES:
            if getattr(self.parameters, name) is node:
                setattr(self.parameters, name, None)

    @property
    def preview(self) -> Any:
        """The segmentation node to review, or None."""
        node = self.parameters and self.parameters.preview
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    @property
    def model(self) -> str | None:
        """Name or file of the model; None for the default one."""
        return (self.parameters.model if self.parameters else "") or None

    @property
    def plane(self) -> str | None:
        """The plane of drawing; None to find it from the drawing."""
        return None if not self.parameters or self.parameters.plane == "auto" else self.parameters.plane

    def options(self) -> dict[str, Any]:
        """The engine's options that the user has a say in."""
        chosen = self.parameters
        found = {"method": chosen.method, "precision": chosen.precision, "clean_up": chosen.cleanUp}
        if chosen.method == SLICE_BY_SLICE:  # the others are not shown, so they have no say
            found["calibrate"] = chosen.calibrate
            found["refinement"] = {"mode": chosen.refinement, **USUAL[chosen.refinement]}
            found["alpha"] = None if chosen.finePercent < 0 else chosen.finePercent / 100
        return found

    def examples(self) -> tuple[list[Any], Any]:
        """Support sets of the library, when the user wants these, else what is drawn; and on which source.

        Raises the errors of `SupportLibrary.load`, `drawings_of` and `source_of`.
        """
        if self.parameters.useLibrary:
            return [self.library.load(name) for name in self.parameters.supportSets], None
        return self.drawings(), source_of(self.support_node)

    def drawings(self) -> list[Any]:
        """What is drawn. Raises the errors of `drawings_of`."""
        return drawings_of(self.parameters.drawing, self.support_node, plane=self.plane)

    def accepted(self) -> list[Any]:
        """For each of `drawings` the result that the user has accepted for it, or None."""
        return accepted_results(self.parameters.drawing, self.support_node)

    # State

    def state(self) -> RunState:
        """What can be done now."""
        if self.batch is not None:
            return RunState.BATCH_CANCELLING if self.cancelling else RunState.BATCH
        if self.run is not None:
            running = RunState.UPDATING if self.updating else RunState.RUNNING
            return RunState.CANCELLING if self.cancelling else running
        if self.setup_missing:
            return RunState.SETUP
        if self.parameters is None or self.parameters.queryVolume is None:
            return RunState.NO_VOLUME
        if self.has_example():
            return RunState.READY
        return RunState.NO_CHECKED if self.parameters.useLibrary else RunState.NO_EXAMPLE

    def has_example(self) -> bool:
        """Whether there is something to segment after."""
        if self.parameters is None:
            return False
        return bool(self.parameters.supportSets if self.parameters.useLibrary else self.drawn)

    def example_text(self) -> str:
        """What a run would segment after, in a few words."""
        if not self.has_example():
            return ""
        if self.parameters.useLibrary:
            return _("After the library: {names}.").format(names=", ".join(self.parameters.supportSets))
        names = dict.fromkeys(part.structure for part in self.drawn)
        return _("After the drawing: {names}.").format(names=", ".join(names))

    def tell(self, text: str) -> None:
        """Say something that is no error."""
        self.message.emit(text, False, "")

    def report(self, error: QNetSegmentError) -> None:
        """Say what went wrong, and put the details into the log."""
        self.message.emit(str(error), True, error.details)

    # Work

    def start(self, update: bool = False) -> None:
        """Segment. Raises typed errors of the input; everything later comes as a message.

        update: a stroke has started it, and the result takes the place of the one under review. While such a
        run goes on, a click makes it an ordinary one, and what was drawn since is segmented after it.
        """
        chosen, clicked = self.parameters, time.monotonic()
        if self.run is not None and self.updating:
            self._queued = self.is_behind()
            self.stop_drawing.emit()
            self.promote()
            return
        if not chosen.useLibrary and chosen.drawing is not None:
            self._ran = (chosen.drawing, chosen.queryVolume, signature(chosen.drawing))
        run = prepare_run(
            self.logic.worker,
            chosen.queryVolume,
            self.examples()[0] if chosen.useLibrary else chosen.drawing,
            self.support_node,
            plane=self.plane,
            model=self.model,
            options=self.options(),
            device=chosen.device,
            name=preview_name(chosen.queryVolume),
            preview=True,
            output=chosen.output,
            rewrite=self._to_rewrite,
        )
        run.finished.connect(self._finished)
        run.failed.connect(self._failed)
        self.run, self.updating, self.cancelling = run, update, False
        self._follows_up, self._queued = self.preview, False
        self._began = clicked if self.logic.worker.device is not None else None
        if not update:
            self.stop_drawing.emit()
        self.tell("")
        self.changed.emit()
        try:
            run.start()
        except Exception:
            self.run = None
            self.changed.emit()
            raise

    def promote(self) -> None:
        """The run that a stroke has started counts as one that was clicked for: shown, and to be undone."""
        if self.run is not None and self.updating:
            self.updating = False
            self.changed.emit()

    def may_rewrite(self) -> bool:
        """Whether the result under review was made of this drawing on this volume, and nobody edited it."""
        chosen, preview = self.parameters, self.preview
        made_of = (chosen.drawing, chosen.queryVolume)
        if preview is None or preview is chosen.drawing or self._ran[:2] != made_of:
            return False
        return is_preview(preview) and signature(preview) == self._written

    def is_behind(self) -> bool:
        """Whether something was drawn since the last run began."""
        drawing = self.parameters.drawing
        return drawing is not None and bool(self.drawn) and signature(drawing) != self._ran[2]

    def _to_rewrite(self) -> Any:
        """The result that the running update shall change in place; None for another one beside it."""
        if self.parameters is None or not self.updating or self.preview is not self._follows_up:
            return None
        return self.preview if self.may_rewrite() else None

    def _on_ready(self, _greeting: Any) -> None:
        self._first = True
        if self.run is not None and self._began is None:
            self._began = time.monotonic()

    def cancel(self) -> None:
        """Stop the running segmentation; its end comes by signals, within seconds."""
        if self.run is not None and not self.cancelling:
            self.cancelling = True
            self.changed.emit()
            self.run.cancel()

    def _finished(self, result: Any) -> None:
        self.run = None
        if self.parameters is None or (self.updating and self.preview is not self._follows_up):
            remove_node(result.node)  # the scene is being replaced, or the user has another result now
            self._ended(None)
            return
        self._written = signature(result.node)
        if result.node is not self.preview:
            self.replace_preview(result.node, _("the last run"))
            show_if_hidden(volume_of_result(result.node))  # another patient's may be there, for drawing
        self.tell(" ".join(result.warnings))
        self._ended(None if self._began is None else time.monotonic() - self._began)

    def _failed(self, error: QNetSegmentError) -> None:
        self.run = None
        self.report(error)
        self._ended(None)

    def _ended(self, seconds: float | None) -> None:
        """The run is over; seconds: what its result took, None without one."""
        first, self._first = self._first, self._first and seconds is None
        self.run_ended.emit(seconds, first)
        self.changed.emit()
        if self._queued and self.state() is RunState.READY:
            self._queued = False
            self.guarded(self.start)

    def replace_preview(self, node: Any, what: str) -> None:
        """Review `node` (None: nothing) from now on; `what` names the step for the undo button."""
        previous = self.preview
        kept = KeptSegmentation(previous, volume_of_result(previous)) if previous is not None else None
        self.show_preview(node)

        def undo() -> None:
            self.show_preview(kept.restore() if kept else None)

        self.undo.push(what, undo)

    def show_preview(self, node: Any) -> None:
        """Review `node`, or nothing; the result that was under review before goes."""
        previous = self.preview
        self.parameters.preview = node
        drawing = self.parameters.drawing
        if previous is not None and previous is not node and previous is not drawing and is_preview(previous):
            remove_node(previous)  # unless the user went on drawing in it
        self.changed.emit()

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something, and tell the user instead of failing."""
        try:
            action()
        except Exception as error:
            self.report(typed(error))

    def slot(self, action: Callable[[], None]) -> Callable[..., None]:
        """`guarded` for a signal of Qt, whatever it tells."""
        return lambda *_args: self.guarded(action)

    def close(self, sentence: str) -> None:
        """The scene closes, or the module is unloaded: nothing of this session may run on."""
        if self.run is not None:
            self.run.cancel(Cancelled(sentence))
        if self.batch is not None:
            self.batch.cancel()
        self._ran, self._follows_up = (None, None, ""), None
        self.undo.clear()

    def cleanup(self) -> None:
        """The module is unloaded: what still ends reaches neither this session nor a widget. Idempotent."""
        if self.run is not None:
            self.run.finished.disconnect(self._finished)
            self.run.failed.disconnect(self._failed)
        self.run = self.batch = None
        for signal, slot in self._watched:
            signal.disconnect(slot)
        for signal in (self.undo.changed, *vars(self).values()):
            if isinstance(signal, Signal):
                signal.clear()


def preview_name(volume: Any) -> str:
    """The name of a result that is to be reviewed, unless the user gives it another one."""
    return _("{volume} to review").format(volume=volume.GetName())


def typed(error: Exception) -> QNetSegmentError:
    """The error itself, or for one that no user can have caused a sentence, with the traceback as details."""
    if not isinstance(error, QNetSegmentError):
        logging.error("QNetSegment", exc_info=error)
    return failures.typed(error)
