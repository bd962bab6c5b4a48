"""Section Volumes: what is segmented, and what was drawn on."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..scene.views import show_volume
from .session import Session
from .widgets import on_button


class VolumesSection:
    """The selectors are bound to the parameter node by the .ui file; here is the rest."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        ui.alignViewsButton.clicked.connect(self._show)
        session.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Offer the views only when there is something to show."""
        node = self._session.support_node
        self._ui.alignViewsButton.enabled = node is not None
        name = node.GetName() if node is not None else _("volume")
        self._ui.alignViewsButton.text = _("Show {name} for drawing").format(name=on_button(_short(name)))

    def _show(self, *_args: Any) -> None:
        show_volume(self._session.support_node)


def _short(name: str, longest: int = 24) -> str:
    """A name that fits on a button of a narrow panel."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
