"""Section Draw: the embedded segment editor and the list of drawn slices."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from qnetseg.errors import QNetSegmentError

from ..scene.canonical import CanonicalGrid
from ..scene.drawings import clear_slice, drawn_slices, further_slice, is_blank
from ..scene.not_here import drop_drawn_marks, mark_slice, marked_slices
from ..scene.segments import new_segmentation
from ..scene.views import jump_to, show_if_hidden
from ..timers import Later
from .review import plane_text
from .session import Session
from .widgets import chosen, fill_row, say

EFFECTS = ("Paint", "Draw", "Erase", "Level tracing")  # others work in 3-D, and spoil or empty single slices
SMALL_MM2 = 40.0  # a disc of 7 mm: hardly a pixel of the network's deepest features
AFTER_STROKE = 0.15  # seconds
VISIBLE_ROWS, HEADER_HEIGHT = 4, 30  # of the table of drawn slices


class DrawSection(VTKObservationMixin):
    """Keeps the editor, the drawing's node and the list of drawn slices together."""

    def __init__(self, ui: Any, session: Session) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._session = ui, session
        self._editor = ui.segmentEditor
        self._editor_node: Any = None
        self._shown: tuple[Any, Any] = (None, None)  # drawing and volume that the editor shows
        self._plane: str | None = None  # in which the list shows the drawn slices
        self._rows: list[Any] = []  # of the table: drawn slices, and those that are marked
        self._later = Later(self._on_pause, AFTER_STROKE)
        self._optional("setEffectNameOrder", list(EFFECTS))
        ui.newDrawingButton.clicked.connect(session.slot(self._new_drawing))
        ui.goToSliceButton.clicked.connect(self._go_to)
        ui.drawnTable.cellDoubleClicked.connect(self._go_to)
        ui.drawnTable.itemSelectionChanged.connect(self._show_buttons)
        ui.addSliceButton.clicked.connect(self._add)
        ui.removeSliceButton.clicked.connect(session.slot(self._remove))
        header = ui.drawnTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.drawnTable.verticalHeader().setVisible(False)
        self._read_drawing()
        session.changed.connect(self.refresh)
        session.draw_here.connect(self._draw_here)
        session.stop_drawing.connect(self._stop_drawing)
        session.drawing_changes.connect(lambda: self._optional("saveStateForUndo"))
        self._entered = False

    # Life of the panel

    def enter(self) -> None:
        """The module is shown: shortcuts of the editor work while there is a drawing."""
        self._entered = True
        self._connect_editor()
        self._optional("updateEffectList")  # some register after the panel was made
        self._install_shortcuts()

    def exit(self) -> None:
        """Another module is shown: nothing of the editor may act there."""
        self._entered = False
        self._stop_drawing()
        self._optional("uninstallKeyboardShortcuts")
        self._optional("removeViewObservations")

    def forget(self) -> None:
        """The scene closes: let go of its nodes."""
        self.let_go()
        self._editor_node = None
        self._editor.setSegmentationNode(None)
        self._optional("removeViewObservations")
        self._read_drawing()

    def let_go(self) -> None:
        """Forget drawing and volume; `refresh` takes up those that are chosen then."""
        self._later.stop()
        self.removeObservers()
        self._shown = (None, None)

    # Editor

    def _connect_editor(self) -> None:
        """The editor's own node first, then the scene: what it selects by itself is then kept."""
        if self._editor_node is None or not slicer.mrmlScene.IsNodePresent(self._editor_node):
            tag = "QNetSegment"
            node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
            if node is None:
                node = slicer.vtkMRMLSegmentEditorNode()
                node.SetSingletonTag(tag)
                node = slicer.mrmlScene.AddNode(node)
            self._editor_node = node
            self._editor.setMRMLSegmentEditorNode(node)
            self._editor.setMRMLScene(slicer.mrmlScene)
            self._shown = (None, None)
        self.refresh()

    def _optional(self, method: str, *arguments: Any) -> None:
        """Call a method of the editor that stand-ins and other versions of Slicer may lack."""
        getattr(self._editor, method, lambda *_: None)(*arguments)

    def refresh(self) -> None:
        """Show the chosen drawing on the chosen volume."""
        parameters = self._session.parameters
        if parameters is None or self._editor_node is None:
            return
        drawing, volume = parameters.drawing, self._session.support_node
        if (drawing, volume) != self._shown:
            self._shown = (drawing, volume)
            self.removeObservers()
            self._edit(drawing, volume)
            if drawing is not None:
                self._observe(drawing)
            self._read_drawing()
        elif self._editor_node.GetSegmentationNode() is not drawing:
            self._edit(drawing, volume)  # it chooses another by itself when its own goes
        elif self._session.plane != self._plane:
            self._read_drawing()
        self._ui.newDrawingButton.enabled = volume is not None
        self._ui.segmentEditor.enabled = drawing is not None and volume is not None

    def _edit(self, drawing: Any, volume: Any) -> None:
        self._editor.setSegmentationNode(drawing)
        if drawing is not None:  # the editor keeps its source volume with the segmentation
            self._editor.setSourceVolumeNode(volume)
        self._install_shortcuts()

    def _install_shortcuts(self) -> None:
        """Only with a drawing: they would work on whatever segmentation the editor holds."""
        self._optional("uninstallKeyboardShortcuts")
        if self._entered and self._shown[0] is not None:
            self._optional("installKeyboardShortcuts")

    def _observe(self, drawing: Any) -> None:
        segmentation = slicer.vtkSegmentation
        for event in (
            segmentation.SourceRepresentationModified,
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
            segmentation.SegmentModified,
        ):
            self.addObserver(drawing.GetSegmentation(), event, self._later.request)
        self.addObserver(drawing, vtk.vtkCommand.ModifiedEvent, self._later.request)
        self.addObserver(drawing, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._later.request)

    def _new_drawing(self) -> None:
        """An empty drawing with one segment, ready to paint."""
        volume = self._session.support_node
        name = _("{volume} drawing").format(volume=volume.GetName())
        drawing = new_segmentation(volume, name)
        segment_id = drawing.GetSegmentation().AddEmptySegment("", _("structure"))
        self._session.parameters.drawing = drawing
        self._session.parameters.useLibrary = False
        self.refresh()
        self._paint(segment_id)

    def _paint(self, segment_id: str) -> None:
        self._editor.setCurrentSegmentID(segment_id)
        self._editor.setActiveEffectByName("Paint")

    def _stop_drawing(self) -> None:
        self._editor.setActiveEffectByName("")

    def _draw_here(self, segment_id: str) -> None:
        self.refresh()
        self._ui.drawSection.collapsed = False
        self._paint(segment_id)

    # Drawn slices

    def _on_pause(self) -> None:
        """The strokes have paused."""
        self._read_drawing()
        self._session.drawing_read.emit()

    def _read_drawing(self) -> None:
        drawing, volume = self._shown
        self._plane = self._session.plane
        hint = ""
        found, marked = [], []
        try:
            if drawing and volume:
                found = drawn_slices(drawing, volume, self._plane)
                drop_drawn_marks(drawing, volume, found)
                marked = marked_slices(drawing, volume, found)
        except QNetSegmentError as error:
            found, hint = [], str(error)
        self._session.drawn, self._session.not_here = found, marked
        self._fill_table()
        if volume is not None:
            hint = hint or self._hint(found)
        say(self._ui.drawHint, hint)
        self._session.changed.emit()

    def _hint(self, found: list[Any]) -> str:
        drawing, volume = self._shown
        made_on = self._session.drawing_volume
        if drawing is not None and not found and not is_blank(drawing):
            return _("The drawing lies outside of the volume {volume}.").format(volume=volume.GetName())
        if found and made_on not in (None, volume):
            return _(
                "This was drawn on {made_on}, and is used on {volume} as if it had been drawn there."
            ).format(made_on=made_on.GetName(), volume=volume.GetName())
        return drawing_hint(found, drawing is not None)

    def _fill_table(self) -> None:
        table, session = self._ui.drawnTable, self._session
        order = list(dict.fromkeys(part.segment_id for part in session.drawn))
        self._rows = sorted(
            [*session.drawn, *session.not_here], key=lambda part: (order.index(part.segment_id), part.index)
        )
        table.setRowCount(len(self._rows))
        for row, part in enumerate(self._rows):
            area = _("not here") if part.not_here else _("{area:.1f} cm²").format(area=part.area_mm2 / 100)
            fill_row(table, row, (part.structure, plane_text(part.section), part.position, area))
        rows = min(max(len(self._rows), 1), VISIBLE_ROWS)
        table.setFixedHeight(HEADER_HEIGHT + rows * table.verticalHeader().defaultSectionSize)
        for widget in (table, self._ui.drawnLabel):
            widget.visible = bool(self._rows)
        self._show_buttons()

    def _show_buttons(self) -> None:
        for button in (self._ui.goToSliceButton, self._ui.removeSliceButton):
            button.visible = bool(self._session.drawn)
            button.enabled = self._chosen() is not None
        self._ui.addSliceButton.visible = bool(self._session.drawn)

    def _chosen(self) -> Any:
        return chosen(self._ui.drawnTable, self._rows)

    def _go_to(self, *_args: Any) -> None:
        if (part := self._chosen()) is not None:
            show_if_hidden(self._shown[1])
            jump_to(part.center)

    def _add(self, *_args: Any) -> None:
        """Lead to a slice that is not drawn yet: of the chosen row's structure, else of the last one."""
        drawn = self._session.drawn
        like = self._chosen() or drawn[-1]
        volume = self._shown[1]
        index = further_slice(volume, [part for part in drawn if part.segment_id == like.segment_id])
        show_if_hidden(volume)
        jump_to(CanonicalGrid.of(volume).center(like.plane, index))
        self._paint(like.segment_id)

    def _remove(self) -> None:
        part, (drawing, volume) = self._chosen(), self._shown
        if part is None:
            return
        where = (drawing, part.segment_id, volume, part.plane, part.index)
        if part.not_here:
            self._session.undo.push(_("removed mark"), mark_slice(*where, here=True))
            return
        self._session.drawing_changes.emit()
        self._session.undo.push(_("removed slice"), clear_slice(*where))


def drawing_hint(drawn: list[Any], has_drawing: bool) -> str:
    """What a user should know about the drawing; empty if it is fine."""
    if not has_drawing:
        return _("Click New drawing, then paint the structure on one slice.")
    if not drawn:
        return _("Nothing is drawn yet: paint the structure on one slice.")
    largest: dict[str, float] = {}
    for part in drawn:
        largest[part.structure] = max(largest.get(part.structure, 0.0), part.area_mm2)
    small = [name for name, area in largest.items() if area < SMALL_MM2]
    if small:
        return _("{names}: very little is drawn; choose a slice where the structure is large.").format(
            names=", ".join(small)
        )
    return ""
