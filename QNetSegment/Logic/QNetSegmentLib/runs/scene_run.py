"""A run on nodes of the scene: its result becomes a segmentation node, or the scene stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from qnetseg.errors import QNetSegmentError, VolumeError
from qnetseg.worker.source import Source

from ..process.worker import Worker
from ..scene.layers import segment_ids_of
from ..scene.reports import store_reports, stored_reports
from ..scene.results import rewrite_result, volume_of_result, write_result
from ..scene.volumes import lattice_of, require_unchanged
from .run import Run

if TYPE_CHECKING:
    from qnetseg.segment.result import StructureResult
    from qnetseg.volume import Drawing, SupportSet


@dataclass(frozen=True, eq=False)
class SceneResult:
    """What a run left in the scene."""

    node: Any  # the segmentation node
    results: list[StructureResult]  # in the order of the examples
    query_node_id: str
    warnings: tuple[str, ...]  # for the user: those that the run was given, then those of the engine


class SceneRun(Run, VTKObservationMixin):
    """A `Run` on a volume node, which is watched: when it is removed or the scene closes, the run stops.

    query_node is the node that `query` is a view of; name that of the result (default: from the volume's);
    preview marks the result as one to be accepted or discarded; warnings are handed on to the result, and
    drawn_ids, of the segments that were drawn, to its reports. rewrite is asked at the end for an older
    result whose segments shall get the new voxels; it may say None, and one of other structures stays as it
    is. The other arguments are those of `Run`; `finished` tells a SceneResult.
    """

    def __init__(
        self,
        worker: Worker,
        query_node: Any,
        examples: Sequence[SupportSet | Drawing],
        query: Source,
        drawn_on: Source | None = None,
        *,
        name: str | None = None,
        preview: bool = False,
        warnings: Sequence[str] = (),
        drawn_ids: Sequence[str] = (),
        rewrite: Callable[[], Any] | None = None,
        **how: Any,
    ) -> None:
        """Raises VolumeError for a node that is no volume, InputError without an example."""
        Run.__init__(self, worker, examples, query, drawn_on, **how)
        VTKObservationMixin.__init__(self)
        self._node, self._lattice = query_node, lattice_of(query_node)
        self._name = name or _("{volume} segmentation").format(volume=query_node.GetName())
        self._preview, self._warnings, self._drawn_ids = preview, tuple(warnings), tuple(drawn_ids)
        self._rewrite = rewrite or (lambda: None)

    def start(self) -> None:
        """Begin. Raises WorkerError when the worker is busy, GeometryError when the node is gone or was
        changed since; later errors reach `failed`."""
        require_unchanged(self._node, self._lattice)
        super().start()
        scene = self._node.GetScene()
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_removed)
        self.addObserver(scene, scene.StartCloseEvent, self._on_closing)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removed(self, _scene: Any, _event: str, node: Any) -> None:
        if node is self._node:
            self._on_lost(_("'{name}' was removed from the scene.").format(name=node.GetName()))

    def _on_closing(self, *_arguments: Any) -> None:
        self._on_lost(_("The scene was closed."))

    def _on_lost(self, sentence: str) -> None:
        self.removeObservers()
        self.cancel(VolumeError(sentence, _("Choose the volumes again.")))

    def _end(self, outcome: list[StructureResult] | QNetSegmentError) -> None:
        self.removeObservers()
        super()._end(outcome)

    def _result(self, results: list[StructureResult]) -> SceneResult:
        require_unchanged(self._node, self._lattice)
        node = self._rewrite()
        if node is not None and self._fits(node, results):
            rewrite_result(node, results, self._node)
        else:
            node = write_result(self._node, results, name=self._name, preview=self._preview)
        store_reports(node, results, self._node, self._drawn_ids)
        said = [warning for result in results for warning in _warnings_of(result, len(results) > 1)]
        warnings = tuple(dict.fromkeys([*self._warnings, *said]))
        return SceneResult(node, results, self._node.GetID(), warnings)

    def _fits(self, node: Any, results: list[StructureResult]) -> bool:
        """Whether an older result has the same structures, drawn in the same segments, and no others."""
        stored = stored_reports(node)
        return (
            volume_of_result(node) is self._node
            and tuple(one.segment_id for one in stored) == segment_ids_of(node)
            and [one.drawn_id for one in stored] == list(self._drawn_ids)
            and [one.report.structure for one in stored] == [result.example.name for result in results]
        )


def _warnings_of(result: StructureResult, several: bool) -> list[str]:
    prefix = f"{result.example.name}: " if several else ""
    return [f"{prefix}{warning}" for warning in result.report.warnings]
