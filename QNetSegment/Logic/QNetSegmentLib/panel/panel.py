"""The whole panel: its sections, and what connects them with the scene and with Slicer."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..timers import Later
from .advanced_section import AdvancedSection
from .batch_section import BatchSection
from .dialogs import Dialogs
from .draw_section import DrawSection
from .library_section import LibrarySection
from .live import LiveUpdate
from .not_here_button import NotHere
from .review_section import ReviewSection
from .segment_section import SegmentSection
from .session import Session
from .setup_section import SetupSection
from .state import apply_state
from .volumes_section import VolumesSection

FIRST = 100.0  # priority of an observer that is called before those of Slicer's widgets


class Panel(VTKObservationMixin):
    """Made once for the module's widget; `set_parameters` follows the scenes that come and go."""

    def __init__(self, ui: Any, logic: Any, dialogs: Dialogs | None = None) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self.session = Session(logic, dialogs)
        self._gui_tag: Any = None
        self._model: str | None = None  # that the sections Setup and Advanced know
        self.setup = SetupSection(ui, self.session)
        self.volumes = VolumesSection(ui, self.session)
        self.draw = DrawSection(ui, self.session)
        self.not_here = NotHere(ui, self.session)
        self.live = LiveUpdate(self.session)
        self.segment = SegmentSection(ui, self.session, self.live)
        self.review = ReviewSection(ui, self.session)
        self.library = LibrarySection(ui, self.session)
        self.batch = BatchSection(ui, self.session)
        self.advanced = AdvancedSection(ui, self.session)
        self.session.changed.connect(self.refresh)
        self._later = Later(self._on_choice)
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._later.request)
        # Before the selectors see it: they would choose its neighbour.
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._on_node_leaves, priority=FIRST)
        self.refresh()

    def refresh(self) -> None:
        """Show the state that the session is in."""
        self.session.follow_drawing()
        apply_state(self.ui, self.session.state(), self.session.example_text())

    def set_parameters(self, parameters: Any) -> None:
        """Work on this parameter node from now on; None while there is none."""
        session = self.session
        if parameters is session.parameters:
            session.changed.emit()
            return
        if session.parameters is not None:
            session.parameters.disconnectGui(self._gui_tag)
            self.removeObserver(session.parameters, vtk.vtkCommand.ModifiedEvent, self._on_choice)
        session.parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_choice)
        session.changed.emit()

    def enter(self) -> None:
        """The module is shown."""
        self.setup.refresh()
        self.advanced.read()
        self.library.read()
        self.draw.enter()
        self.not_here.enter()
        self.setup.warm_up()

    def exit(self) -> None:
        """Another module is shown; a running segmentation goes on."""
        self.draw.exit()
        self.not_here.exit()

    def close_scene(self) -> None:
        """The scene is about to be closed."""
        self.live.stop()
        self.session.close(_("The scene was closed."))
        self.draw.forget()
        self.set_parameters(None)

    def cleanup(self) -> None:
        """The module is unloaded, or Slicer exits: process, node and widgets may outlive the panel."""
        self.live.stop()
        self.session.close(_("The module was closed."))
        self.draw.exit()
        self.not_here.exit()
        self.draw.forget()
        self.set_parameters(None)
        self.removeObservers()
        self._later.stop()
        for section in (self.segment, self.review, self.library, self.batch):
            section.cleanup()
        self.session.cleanup()

    def begin_import(self) -> None:
        """Another scene is about to be read into this one: node selectors drop their nodes meanwhile."""
        self.draw.let_go()
        self.set_parameters(None)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_leaves(self, _scene: Any, _event: str, node: Any) -> None:
        self.session.forget(node)

    def _on_choice(self, *_args: Any) -> None:
        model = self.session.model
        if model != self._model:
            self._model = model
            self.advanced.read()
            self.setup.refresh()
        self.session.changed.emit()
