"""A run on nodes of the scene: its result becomes a segmentation node, or the scene stays as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import QNetSegmentError, VolumeError
from qnetseg.worker.failures import internal_error
from qnetseg.worker.source import Source

from ..process.worker import Worker
from ..scene.guard import SceneGuard
from ..scene.kept import volume_of_result
from ..scene.layers import segment_ids_of
from ..scene.reports import store_reports, stored_reports
from ..scene.results import rewrite_result, write_result
from ..scene.volumes import grid_of, require_unchanged
from ..signals import Signal
from .run import Run, StructureResult

if TYPE_CHECKING:
    from qnetseg.volume import Drawing, SupportSet


@dataclass(frozen=True, eq=False)
class SceneResult:
    """What a run left in the scene.

    node: the new segmentation node.
    results: of each structure, in the order of the examples.
    query_node_id: of the volume node that was segmented.
    warnings: sentences for the user, first those that the run was given, then those of the engine.
    """

    node: Any
    results: list[StructureResult]
    query_node_id: str
    warnings: tuple[str, ...]


class SceneRun:
    """A `Run` on a volume node, which is watched: when it is removed or the scene closes, the run stops.

    query_node is the node that `query` is a view of; name that of the result (default: from the volume's);
    preview marks the result as one to be accepted or discarded; warnings are handed on to the result, and
    drawn_ids, of the segments that were drawn, to its reports. others: as of `Run`. rewrite is asked at the
    end for an older result whose segments shall get the new voxels; it may say None, and one of other
    structures stays as it is.

    Signals: progress(RunProgress), and at the end one of finished(SceneResult) and failed(error).
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
        others: Sequence[Box] = (),
        rewrite: Callable[[], Any] | None = None,
        model: str | os.PathLike[str] | None = None,
        options: Mapping[str, Any] | None = None,
        device: str = "auto",
    ) -> None:
        """Raises VolumeError for a node that is no volume, InputError without an example."""
        self.finished, self.failed = Signal(), Signal()
        choices: dict[str, Any] = {"model": model, "options": options, "device": device}
        self._run = Run(worker, examples, query, drawn_on, others=others, **choices)
        self.progress = self._run.progress
        self._node, self._grid = query_node, grid_of(query_node)
        self._name = name or _("{volume} segmentation").format(volume=query_node.GetName())
        self._preview, self._warnings, self._drawn_ids = preview, tuple(warnings), tuple(drawn_ids)
        self._rewrite = rewrite or (lambda: None)
        self._guard: SceneGuard | None = None
        self._outcome: SceneResult | QNetSegmentError | None = None

    @property
    def active(self) -> bool:
        """Whether it was started and has not ended."""
        return self._guard is not None

    def start(self) -> None:
        """Begin. Raises WorkerError when the worker is busy, GeometryError when the node is gone or was
        changed since; later errors reach `failed`."""
        require_unchanged(self._node, *self._grid)
        self._run.finished.connect(self._on_finished)
        self._run.failed.connect(self._end)
        self._guard = SceneGuard([self._node], self._on_lost)
        try:
            self._run.start()
        except Exception:
            self._guard.release()
            self._guard = None
            raise

    def cancel(self, reason: QNetSegmentError | None = None) -> None:
        """Stop; `failed` gets `reason`, or Cancelled. Harmless when the run has ended."""
        self._run.cancel(reason)

    def wait(self, timeout_s: float | None = None) -> SceneResult:
        """Block until the end, for scripts. Raises the run's error, or WorkerError after `timeout_s`."""
        self._run.wait(timeout_s)
        if not isinstance(self._outcome, SceneResult):
            assert self._outcome is not None
            raise self._outcome
        return self._outcome

    def _on_lost(self, sentence: str) -> None:
        self._run.cancel(VolumeError(sentence, _("Choose the volumes again.")))

    def _on_finished(self, results: list[StructureResult]) -> None:
        try:
            outcome: SceneResult | QNetSegmentError = self._written(results)
        except Exception as error:
            outcome = error if isinstance(error, QNetSegmentError) else internal_error(error)
        self._end(outcome)

    def _written(self, results: list[StructureResult]) -> SceneResult:
        require_unchanged(self._node, *self._grid)
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

    def _end(self, outcome: SceneResult | QNetSegmentError) -> None:
        self._outcome = outcome
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.release()
        (self.finished if isinstance(outcome, SceneResult) else self.failed).emit(outcome)


def _warnings_of(result: StructureResult, several: bool) -> list[str]:
    prefix = f"{result.example.name}: " if several else ""
    return [f"{prefix}{warning}" for warning in result.report.warnings]
