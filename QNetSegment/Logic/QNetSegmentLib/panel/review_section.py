"""Section Review: see the result, find the doubtful slices, correct, accept or discard."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..scene.drawings import copy_slice, drawn_slices, restore, snapshot
from ..scene.kept import KeptSegmentation, volume_of_result
from ..scene.reports import stored_reports
from ..scene.results import accept_preview, discard, set_opacity, set_surface_visible, surface_visible
from ..scene.views import jump_to, slice_center
from .review import bars, slice_text, slices_to_check
from .session import Session
from .strip_chart import StripChart


class ReviewSection:
    """Works on the session's preview; without one it says what will be here."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._chart = StripChart(ui.chartLabel)
        self._chart.clicked.connect(self._go_to)
        self._shown: Any = None  # the preview that the section shows
        self._reports: list[Any] = []
        self._current: int | None = None  # canonical index of the slice that is looked at
        self._seen: set[int] = set()
        ui.structureCombo.currentIndexChanged.connect(self._show_structure)
        ui.nextUncertainButton.clicked.connect(self._next_uncertain)
        ui.correctSliceButton.clicked.connect(self._correct)
        ui.useSliceButton.clicked.connect(self._use)
        ui.acceptButton.clicked.connect(self._accept)
        ui.discardButton.clicked.connect(self._discard)
        ui.show3DCheckBox.toggled.connect(self._show_surface)
        ui.undoButton.clicked.connect(lambda *_args: session.take_back())
        session.undo.changed.connect(self._show_undo)
        session.changed.connect(self.refresh)
        self._show_preview(None)
        self._show_undo()

    # What is shown

    def refresh(self) -> None:
        """Follow the preview, its opacity and the threshold of doubt."""
        preview = self._session.preview
        if preview is not self._shown:
            self._show_preview(preview)
        if preview is not None:
            set_opacity(preview, self._session.parameters.previewOpacity / 100)
            self._show_structure()

    def _show_preview(self, node: Any) -> None:
        ui, self._shown = self._ui, node
        self._reports = stored_reports(node) if node is not None else []
        self._current, self._seen = None, set()
        ui.reviewBox.visible = node is not None
        ui.reviewHelp.text = (
            "" if node is not None else _("The result appears here, to be checked and accepted.")
        )
        ui.reviewHelp.visible = node is None
        ui.structureCombo.blockSignals(True)
        ui.structureCombo.clear()
        ui.structureCombo.addItems([report.structure for report in self._reports])
        ui.structureCombo.blockSignals(False)
        for widget in (ui.structureCombo, ui.structureLabel):
            widget.visible = len(self._reports) > 1
        if node is not None:
            ui.show3DCheckBox.blockSignals(True)
            ui.show3DCheckBox.checked = surface_visible(node)
            ui.show3DCheckBox.blockSignals(False)

    @property
    def _report(self) -> Any:
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
        for button in (ui.correctSliceButton, ui.useSliceButton):
            button.enabled = self._can_correct()
        if report is not None:
            ui.volumeValue.text = _("{volume:.1f} ml").format(volume=report.volume_ml)
            self._chart.show(bars(report, self._below), self._current)
            ui.sliceLabel.text = slice_text(report, self._current, self._below)

    def _show_undo(self) -> None:
        what = self._session.undo.text
        self._ui.undoButton.enabled = bool(what)
        self._ui.undoButton.text = _("Undo {what}").format(what=what) if what else _("Undo")

    # Slices

    def _segment_id(self) -> str:
        return self._session.preview.GetSegmentation().GetNthSegmentID(self._ui.structureCombo.currentIndex)

    def _go_to(self, index: int) -> None:
        self._current = index
        self._seen.add(index)
        volume = volume_of_result(self._session.preview)
        if volume is not None:
            jump_to(slice_center(volume, self._report.plane, index))
        self._show_structure()

    def _next_uncertain(self, *_args: Any) -> None:
        order = slices_to_check(self._report, self._below)
        if not set(order) - self._seen:
            self._seen.clear()  # all were seen: begin again
        unseen = [index for index in order if index not in self._seen]
        if unseen:
            self._go_to(unseen[0])

    def _can_correct(self) -> bool:
        """The drawing has to be on the volume of the result: another patient's cannot take its slices."""
        session = self._session
        if self._report is None or self._current is None or session.parameters.drawing is None:
            return False
        return session.support_node is volume_of_result(session.preview) and not session.parameters.useLibrary

    def _drawn_segment(self) -> str:
        """The drawing's segment with the name of the reviewed structure; made if there is none."""
        segmentation = self._session.parameters.drawing.GetSegmentation()
        name = self._report.structure
        color = self._session.preview.GetSegmentation().GetSegment(self._segment_id()).GetColor()
        found = segmentation.GetSegmentIdBySegmentName(name)
        return found or segmentation.AddEmptySegment("", name, color)

    def _take_slice(self) -> str:
        """Copy the slice that is looked at into the drawing, unless something is drawn there already."""
        session, report = self._session, self._report
        drawing, volume, segment_id = session.parameters.drawing, session.support_node, self._drawn_segment()
        drawn = drawn_slices(drawing, volume, report.plane)  # not the list on screen, which comes later
        if (segment_id, self._current) not in [(part.segment_id, part.index) for part in drawn]:
            before = snapshot(drawing, segment_id)
            copy_slice(
                *(session.preview, self._segment_id()),
                *(drawing, segment_id),
                *(volume, report.plane, self._current),
            )
            session.undo.push(_("copied slice"), lambda: restore(drawing, before))
        return segment_id

    def _correct(self, *_args: Any) -> None:
        def correct() -> None:
            assert self._current is not None  # the button is disabled otherwise
            part = self._report.slices[self._current - self._report.slices[0].index]
            segment_id = self._take_slice() if part.occupied else self._drawn_segment()
            self._go_to(self._current)
            self._session.draw_here.emit(segment_id)

        self._session.guarded(correct)

    def _use(self, *_args: Any) -> None:
        def use() -> None:
            self._take_slice()
            self._session.start()

        self._session.guarded(use)

    # The whole result

    def _show_surface(self, *_args: Any) -> None:
        set_surface_visible(self._session.preview, self._ui.show3DCheckBox.checked)

    def _discard(self, *_args: Any) -> None:
        self._session.replace_preview(None, _("discarded result"))

    def _accept(self, *_args: Any) -> None:
        self._session.guarded(self._keep)

    def _keep(self) -> None:
        session, node = self._session, self._session.preview
        into = session.parameters.output if session.parameters.output is not node else None
        volume = volume_of_result(node)
        kept = KeptSegmentation(node, volume)
        before = set(into.GetSegmentation().GetSegmentIDs()) if into is not None else set()
        name = _("{volume} segmentation").format(volume=volume.GetName() if volume else node.GetName())
        accepted = accept_preview(node, name, into)

        def undo() -> None:
            if into is None:
                discard(accepted)
            else:
                for segment_id in set(into.GetSegmentation().GetSegmentIDs()) - before:
                    into.GetSegmentation().RemoveSegment(segment_id)
            session.show_preview(kept.restore())

        session.undo.push(_("accepted result"), undo)
        session.show_preview(None)
        session.tell(_("Kept as “{name}”.").format(name=accepted.GetName()))
        session.changed.emit()
