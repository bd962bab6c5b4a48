"""Section Review: see the result, find the doubtful slices, correct, accept or discard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from qnetseg.errors import InputError

from ..scene.canonical import CanonicalGrid
from ..scene.drawings import copy_slice, drawn_slices, slice_place
from ..scene.not_here import mark_slice, require_blank
from ..scene.reports import reports_text, set_reports_text, stored_reports
from ..scene.results import (
    KeptSegmentation,
    accept_preview,
    back_to_preview,
    set_opacity,
    set_surface_visible,
    surface_visible,
    volume_of_result,
)
from ..scene.segments import free_node_name, new_segmentation
from ..scene.views import jump_to, show_if_hidden
from ..timers import Later
from .review import bars, slice_text, slices_to_check
from .session import Session, preview_name
from .strip_chart import StripChart
from .widgets import quiet, say


class ReviewSection(VTKObservationMixin):
    """Works on the session's preview; without one it says what will be here."""

    def __init__(self, ui: Any, session: Session) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._session = ui, session
        self._later = Later(session.changed.emit)
        self._chart = StripChart(ui.chartLabel)
        self._chart.clicked.connect(lambda index: session.guarded(lambda: self._go_to(index)))
        self._shown: Any = None  # the preview that the section shows
        self._segment_ids: tuple[str, ...] = ()  # of the preview when it was last read
        self._reports: list[Any] = []
        self._reports_text = ""
        self._current: Any = None  # canonical index of the slice that is looked at
        self._place: dict[str, Any] = {}  # and how it is called: arguments of `slice_text`
        self._seen: set[int] = set()
        ui.structureCombo.currentIndexChanged.connect(self._show_structure)
        ui.nextUncertainButton.clicked.connect(session.slot(self._next_uncertain))
        ui.correctSliceButton.clicked.connect(session.slot(self._correct))
        ui.useSliceButton.clicked.connect(session.slot(self._use))
        ui.notThisSliceButton.clicked.connect(session.slot(self._not_here))
        ui.acceptButton.clicked.connect(session.slot(self._keep))
        ui.discardButton.clicked.connect(session.slot(self._discard))
        ui.show3DCheckBox.toggled.connect(self._show_surface)
        ui.undoButton.clicked.connect(session.slot(session.undo.undo))
        session.undo.changed.connect(self._show_undo)
        session.changed.connect(self.refresh)
        self._slice_buttons = (ui.correctSliceButton, ui.useSliceButton, ui.notThisSliceButton)
        self._tips = {button.name: button.toolTip for button in self._slice_buttons}
        self._show_preview(None)
        self._show_undo()

    def cleanup(self) -> None:
        """The module is unloaded."""
        self.removeObservers()
        self._later.stop()
        self._chart.cleanup()

    # What is shown

    def refresh(self) -> None:
        """Follow the preview, its opacity and the threshold of doubt."""
        preview = self._session.preview
        if preview is not self._shown or segment_ids(preview) != self._segment_ids:
            self._show_preview(preview)  # the user may have deleted a segment of it
        elif reports_text(preview) != self._reports_text:  # it follows the drawing
            self._read_reports()
        if preview is not None:
            opacity = self._session.parameters.previewOpacity / 100
            set_opacity(preview, opacity, opacity)
            self._show_structure()

    def _show_preview(self, node: Any) -> None:
        ui, self._shown = self._ui, node
        self.removeObservers()
        if node is not None:
            removed = slicer.vtkSegmentation.SegmentRemoved
            self.addObserver(node.GetSegmentation(), removed, self._later.request)
        self._read_reports()
        self._segment_ids = segment_ids(node)
        self._current, self._seen = None, set()
        ui.reviewBox.visible = node is not None
        help_text = _("The result appears here, to be checked and accepted.")
        say(ui.reviewHelp, help_text if node is None else "")
        with quiet(ui.structureCombo):
            ui.structureCombo.clear()
            ui.structureCombo.addItems([found.report.structure for found in self._reports])
        for widget in (ui.structureCombo, ui.structureLabel):
            widget.visible = len(self._reports) > 1
        with quiet(ui.show3DCheckBox):
            ui.show3DCheckBox.checked = surface_visible(node)

    def _read_reports(self) -> None:
        self._reports, self._reports_text = stored_reports(self._shown), reports_text(self._shown)

    @property
    def _report(self) -> Any:
        return self._found.report if self._found is not None else None

    @property
    def _found(self) -> Any:
        """The segment that is looked at, with its report; None without a result, or when it was deleted."""
        index = self._ui.structureCombo.currentIndex
        return self._reports[index] if 0 <= index < len(self._reports) else None

    @property
    def _below(self) -> float:
        return self._session.parameters.uncertainBelow / 100

    def _show_structure(self, *_args: Any) -> None:
        report, ui = self._report, self._ui
        for widget in (ui.chartLabel, ui.chartHelp, ui.sliceLabel, ui.volumeLabel, ui.volumeValue):
            widget.visible = report is not None
        ui.nextUncertainButton.enabled = report is not None and bool(slices_to_check(report, self._below))
        volume = volume_of_result(self._session.preview) if report is not None else None
        for button in self._slice_buttons:
            button.enabled = volume is not None and self._current is not None
            button.toolTip = (
                self._tips[button.name] if button.enabled else _("First click a bar of the chart.")
            )
        if report is not None:
            ui.volumeValue.text = _("{volume:.1f} ml").format(volume=report.volume_ml)
            self._chart.show(bars(report, self._below), self._current)
            ui.sliceLabel.text = slice_text(report, self._current, self._below, **self._place)

    def _show_undo(self) -> None:
        what = self._session.undo.text
        self._ui.undoButton.enabled = bool(what)
        self._ui.undoButton.text = _("Undo {what}").format(what=what) if what else _("Undo")

    # Slices

    def _go_to(self, index: int) -> None:
        from qnetseg.volume import PLANES

        self._session.stop_drawing.emit()
        self._current = index
        self._seen.add(index)
        self._place = {}
        volume, plane = volume_of_result(self._session.preview), self._report.plane
        if volume is not None:
            grid = CanonicalGrid.of(volume)
            center = grid.center(plane, index)
            section = grid.section(plane, volume.GetName())
            position = slice_place(grid, plane, index, section, center)
            self._place = {
                "position": position,
                "section": section,
                "own": grid.native_slice(plane, index)[1] if section in PLANES else None,
            }
            show_if_hidden(volume)
            jump_to(center)
        self._show_structure()

    def _next_uncertain(self) -> None:
        order = slices_to_check(self._report, self._below)
        if not set(order) - self._seen:
            self._seen.clear()  # all were seen: begin again
        if (unseen := next((index for index in order if index not in self._seen), None)) is not None:
            self._go_to(unseen)

    def _drawing_here(self) -> Any:
        """The drawing on the volume of the result; a new one, if the example came from elsewhere."""
        parameters, volume = self._session.parameters, volume_of_result(self._session.preview)
        drawing = parameters.drawing
        if drawing is None or parameters.useLibrary or self._session.support_node is not volume:
            drawing = new_segmentation(volume, _("{volume} drawing").format(volume=volume.GetName()))
            parameters.useLibrary, parameters.queryVolume = False, volume
            parameters.drawing = drawing
            parameters.supportVolume = None  # last, since the session takes it from the drawing
        return drawing

    def _drawn_segment(self, drawing: Any) -> str:
        """The segment that the structure was drawn in, else one of its name; made if there is none."""
        segmentation, found = drawing.GetSegmentation(), self._found
        if segmentation.GetSegment(found.drawn_id) is not None:
            return found.drawn_id
        name = found.report.structure
        color = self._session.preview.GetSegmentation().GetSegment(found.segment_id).GetColor()
        return segmentation.GetSegmentIdBySegmentName(name) or segmentation.AddEmptySegment("", name, color)

    def _take_slice(self, may_be_empty: bool) -> str:
        """Copy the slice that is looked at into the drawing, unless something is drawn there already.

        Raises MaskError for a slice on which nothing was found, unless it `may_be_empty`.
        """
        session, plane, index = self._session, self._report.plane, self._current
        drawing, volume = self._drawing_here(), volume_of_result(session.preview)
        segment_id = self._drawn_segment(drawing)
        drawn = drawn_slices(drawing, volume, plane)  # not the list on screen, which comes later
        is_drawn = any((one.segment_id, one.index) == (segment_id, index) for one in drawn)
        part = next(part for part in self._report.slices if part.index == index)
        if not is_drawn and (part.occupied or not may_be_empty):
            session.drawing_changes.emit()
            undo = copy_slice(
                session.preview, self._found.segment_id, drawing, segment_id, volume, plane, index
            )
            session.undo.push(_("copied slice"), undo)
        return segment_id

    def _correct(self) -> None:
        segment_id = self._take_slice(may_be_empty=True)
        self._go_to(self._current)
        self._session.draw_here.emit(segment_id)

    def _use(self) -> None:
        self._take_slice(may_be_empty=False)
        self._session.start()

    def _not_here(self) -> None:
        """The structure was found wrongly on the slice that is looked at: mark it, and run again."""
        session, plane, index = self._session, self._report.plane, self._current
        drawing, volume = self._drawing_here(), volume_of_result(session.preview)
        segment_id = self._drawn_segment(drawing)
        require_blank(drawn_slices(drawing, volume, plane), segment_id, index)
        session.undo.push(_("the mark"), mark_slice(drawing, segment_id, volume, plane, index))
        session.start()

    # The whole result

    def _show_surface(self, *_args: Any) -> None:
        set_surface_visible(self._session.preview, self._ui.show3DCheckBox.checked)

    def _discard(self) -> None:
        self._session.replace_preview(None, _("discarded result"))

    def _keep(self) -> None:
        session, node = self._session, self._session.preview
        into = session.parameters.output if session.parameters.output is not node else None
        if into is not None and into is session.parameters.drawing:
            raise InputError(
                _("The result cannot be added to the drawing: it would become an example itself."),
                _("Choose another segmentation under “Accept into”, or a new one."),
            )
        volume = volume_of_result(node)
        undo = self._keep_in(into, volume) if into is not None else self._keep_node(node, volume)
        session.undo.push(_("accepted result"), undo)
        session.changed.emit()

    def _keep_node(self, node: Any, volume: Any) -> Callable[[], None]:
        """The preview becomes a result of its own, with the name that the user may have given it."""
        session, name = self._session, node.GetName()
        new_name = name
        if volume is not None and name == preview_name(volume):
            new_name = free_node_name(_("{volume} segmentation").format(volume=volume.GetName()))
        session.parameters.preview = None
        accept_preview(node, new_name)
        session.tell(_("Kept as “{name}”.").format(name=new_name))

        def undo() -> None:
            back_to_preview(node, name)
            session.show_preview(node)

        return undo

    def _keep_in(self, into: Any, volume: Any) -> Callable[[], None]:
        """The preview's segments become segments of another segmentation."""
        session = self._session
        kept = KeptSegmentation(session.preview, volume)
        before, reports = set(into.GetSegmentation().GetSegmentIDs()), reports_text(into)
        accept_preview(session.preview, "", into)
        added = set(into.GetSegmentation().GetSegmentIDs()) - before
        session.show_preview(None)
        session.tell(_("Added to “{name}”.").format(name=into.GetName()))

        def undo() -> None:
            session.show_preview(kept.restore())
            for segment_id in added & set(into.GetSegmentation().GetSegmentIDs()):
                into.GetSegmentation().RemoveSegment(segment_id)
            set_reports_text(into, reports)

        return undo


def segment_ids(node: Any) -> tuple[str, ...]:
    """The ids of a segmentation node's segments; none for None."""
    return tuple(node.GetSegmentation().GetSegmentIDs()) if node is not None else ()
