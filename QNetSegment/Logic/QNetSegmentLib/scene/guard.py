"""Watches over nodes that something in progress needs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _


class SceneGuard:
    """Tells once when one of its nodes is removed, or the scene starts to close.

    Nothing in the scene holds the guard or what it calls: both go when their owner goes, and the observers
    with them. A bound method is held weakly, so an owner may hold its own guard.
    """

    def __init__(self, nodes: Iterable[Any], on_lost: Callable[[str], Any]) -> None:
        """nodes: of one scene; None among them is ignored. on_lost: called with one sentence for the user."""
        kept = [node for node in nodes if node is not None]
        self._names = {node.GetID(): node.GetName() for node in kept}
        self._call = _weakly(on_lost)
        scene = kept[0].GetScene() if kept else slicer.mrmlScene
        guard = weakref.ref(self)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def removed(_scene: Any, _event: str, node: Any) -> None:
            if (alive := guard()) is not None:
                alive._removed(node)

        def closing(*_: Any) -> None:
            if (alive := guard()) is not None:
                alive._closing()

        tags = [
            scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, removed),
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, closing),
        ]
        self.release = weakref.finalize(self, _remove_observers, scene, tags)
        self.release.atexit = False

    def _removed(self, node: Any) -> None:
        name = self._names.get(node.GetID())
        if name is not None:
            self._lost(_("'{name}' was removed from the scene.").format(name=name))

    def _closing(self) -> None:
        self._lost(_("The scene was closed."))

    def _lost(self, sentence: str) -> None:
        self.release()
        call = self._call()
        if call is not None:
            call(sentence)


def _weakly(call: Callable[[str], Any]) -> Callable[[], Callable[[str], Any] | None]:
    if hasattr(call, "__self__") and hasattr(call, "__func__"):
        return weakref.WeakMethod(call)
    return lambda: call


def _remove_observers(scene: Any, tags: list[int]) -> None:
    for tag in tags:
        scene.RemoveObserver(tag)
