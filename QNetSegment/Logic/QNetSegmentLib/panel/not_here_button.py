"""Button and key that say of the slice on screen: the structure is not here."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from qnetseg.errors import MaskError

from ..scene.not_here import is_marked, mark_slice, require_blank
from ..scene.views import shown_slice
from .session import Session

# The segment editor has the digits, Esc, Space, Z, Y, Q, W, I and / * , . < >; slice views F, B, G, T, R, V.
KEY = "N"


class NotHere:
    """Marks the slice that the views show, for the segment that the editor holds; again takes it back."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._shortcut: Any = None
        ui.notHereButton.clicked.connect(self._on_click)
        session.changed.connect(self.refresh)
        self.refresh()

    def enter(self) -> None:
        """The module is shown: the key works in the whole window, as those of the editor do."""
        if self._shortcut is None:
            parent = slicer.util.mainWindow() or self._ui.notHereButton.window()
            self._shortcut = qt.QShortcut(parent)
            self._shortcut.setKey(qt.QKeySequence(KEY))
            self._shortcut.activated.connect(self._on_click)
        self.refresh()

    def exit(self) -> None:
        """Another module is shown: the key is free again."""
        if self._shortcut is not None:
            self._shortcut.activated.disconnect(self._on_click)
            self._shortcut.setParent(None)
            self._shortcut.deleteLater()
            self._shortcut = None

    def refresh(self) -> None:
        """Offer it as soon as the plane is known, which is that of the drawing."""
        self._ui.notHereButton.visible = bool(self._session.drawn)
        if self._shortcut is not None:
            self._shortcut.setEnabled(bool(self._session.drawn))

    def _on_click(self, *_args: Any) -> None:
        if self._session.drawn:
            self._session.guarded(self._toggle)

    def _toggle(self) -> None:
        """Mark the slice, or take its mark back."""
        session = self._session
        drawing, volume, part = session.parameters.drawing, session.support_node, self._structure()
        index = shown_slice(volume, part.plane)
        marked = is_marked(drawing, part.segment_id, volume, part.plane, index)
        if not marked:
            require_blank(session.drawn, part.segment_id, index)
        undo = mark_slice(drawing, part.segment_id, volume, part.plane, index, here=marked)
        session.undo.push(_("the mark"), undo)

    def _structure(self) -> Any:
        """A drawn slice of the segment that the editor holds; of the only one if it holds none."""
        drawn = {part.segment_id: part for part in self._session.drawn}
        current = self._ui.segmentEditor.currentSegmentID()
        if current in drawn:
            return drawn[current]
        if current or len(drawn) > 1:
            raise MaskError(
                _("The chosen structure has no drawn slice yet, so its plane is unknown."),
                _("Draw it on one slice first, or choose another segment."),
            )
        return next(iter(drawn.values()))
