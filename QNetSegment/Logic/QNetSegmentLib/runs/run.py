"""One run: the structures of one volume, segmented one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import Cancelled, InputError, QNetSegmentError
from qnetseg.segment.overlap import share_voxels
from qnetseg.segment.result import Found, StructureResult
from qnetseg.worker.failures import WorkerFailure, typed
from qnetseg.worker.protocol import Progress
from qnetseg.worker.source import Source

from ..process.worker import Worker
from ..signals import Signal
from .errand import Errand

if TYPE_CHECKING:
    import numpy as np

    from qnetseg.volume import Drawing, SupportSet

STARTING, PREPARING, SLICES = "starting", "preparing", "slices"  # the last one is the engine's own


@dataclass(frozen=True)
class RunProgress:
    """How far a run is."""

    stage: str  # STARTING (the process), PREPARING, "sending" (to another machine) or SLICES
    done: int
    total: int  # steps of that stage; 0 while unknown
    structure: str  # the present one, with its number from 1 and how many there are
    number: int
    count: int
    eta_s: float | None  # seconds until the end of the run, None while unknown
    fraction: float  # 0 to 1 over all structures and stages; it never falls


class Run:
    """Segments every structure of `examples` in `query`; only the whole run has a result.

    Support sets of one name are examples of one structure, of several patients, and used together.
    Signals: progress(RunProgress), and at the end one of finished(list of StructureResult, in the order of
    `examples`) and failed(error). `drawn_on` and `how` are those of `Worker.segment`; others: for each
    example where something else is known to be; accepted: for each the result that goes with it from
    `drawn_on`, if there is one. A run is used once.
    """

    def __init__(
        self,
        worker: Worker,
        examples: Sequence[SupportSet | Drawing],
        query: Source,
        drawn_on: Source | None = None,
        *,
        others: Sequence[Box] = (),
        accepted: Sequence[Box | None] = (),
        **how: Any,
    ) -> None:
        """Raises InputError without an example."""
        if not examples:
            raise InputError(
                _("There is no drawing to segment from."), _("Draw a structure on at least one slice.")
            )
        self.progress, self.finished, self.failed = Signal(), Signal(), Signal()
        self._worker, together = worker, _by_structure(examples)
        self._examples = [examples[first] for first, *_ in together]
        self._further = [[examples[number] for number in rest] for _, *rest in together]
        self._query, self._drawn_on, self._how = query, drawn_on, how
        if len(self._examples) > 1:  # who is more confident gets the voxels that several claim
            self._how["confidence_of"] = "mask"
        self._others = [others[first] for first, *_ in together] if others else []
        self._accepted = [accepted[first] for first, *_ in together] if accepted else []
        self._found: list[Found] = []
        self._errand: Errand | None = None  # for the present structure
        self._started = False
        self.active = False  # whether it was started and has not ended
        self._fraction = 0.0
        self._first_news: float | None = None  # when the present structure's first progress came
        self._reason: QNetSegmentError | None = None
        self._outcome: Any = None  # what `finished` or `failed` told

    def start(self) -> None:
        """Begin. Raises WorkerError when the worker is busy; later errors reach `failed`."""
        assert not self._started, "a run is used once"
        self._submit()
        self._started = self.active = True
        self._worker.ready.connect(self._on_ready)
        self._tell(STARTING if self._worker.device is None else PREPARING, 0, 0, None)

    def cancel(self, reason: QNetSegmentError | None = None) -> None:
        """Stop; `failed` gets `reason`, or Cancelled. Harmless when the run has ended."""
        if self.active and self._errand is not None:
            self._reason = self._reason or reason or Cancelled(_("The segmentation was cancelled."))
            self._worker.cancel(self._errand.token)

    def wait(self, timeout_s: float | None = None) -> Any:
        """Block until the end, for scripts, and return what `finished` tells.

        Raises the run's error, or WorkerError after `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.active:
            left = None if deadline is None else deadline - time.monotonic()
            assert self._errand is not None, "it is active"
            if not self._worker.wait(self._errand.token, left):
                raise WorkerFailure(
                    _("The run takes longer than it was given."), _("Wait again, or cancel it.")
                )
        if isinstance(self._outcome, QNetSegmentError):
            raise self._outcome
        assert self._outcome is not None, "a run is waited for after its start"
        return self._outcome

    def _submit(self) -> None:
        number = len(self._found)
        background = self._others[number] if self._others else None
        result = self._accepted[number] if self._accepted else None
        where, further = (self._examples[number], self._query, self._drawn_on), self._further[number]
        self._errand = Errand(
            self._worker,
            lambda: self._worker.segment(
                *where, background=background, further=further, result=result, **self._how
            ),
            self._on_finished,
            self._on_failed,
            self._on_progress,
        )
        self._first_news = None

    def _on_ready(self, _greeting: object) -> None:
        self._tell(PREPARING, 0, 0, None)

    def _on_progress(self, news: Progress) -> None:
        if self._first_news is None:
            self._first_news = time.monotonic()
        self._tell(news.stage, news.done, news.total, self._eta(news.eta_s))

    def _on_finished(self, found: Found) -> None:
        self._found.append(found)
        if self._reason is not None:  # cancelled between two structures, when the worker had no job
            self._end(self._reason)
        elif len(self._found) < len(self._examples):
            try:
                self._submit()
            except QNetSegmentError as error:
                self._end(error)
            else:
                self._tell(PREPARING, 0, 0, None)
        else:
            parts = zip(self._examples, share_voxels(self._found), self._found, strict=True)
            results = [StructureResult(one, self._axes_of(one), mask, by.report) for one, mask, by in parts]
            self._end(results)

    def _axes_of(self, example: SupportSet | Drawing) -> np.ndarray:
        """Of the canonical volume that the example was drawn on."""
        from qnetseg.volume import SupportSet, array_axes, canonical

        if isinstance(example, SupportSet):
            return example.axes
        return array_axes(canonical((self._drawn_on or self._query).grid)[0])

    def _on_failed(self, error: QNetSegmentError) -> None:
        self._end(self._reason if self._reason is not None and isinstance(error, Cancelled) else error)

    def _end(self, outcome: list[StructureResult] | QNetSegmentError) -> None:
        self.active = False
        self._worker.ready.disconnect(self._on_ready)
        try:
            self._outcome = outcome if isinstance(outcome, QNetSegmentError) else self._result(outcome)
        except Exception as error:
            self._outcome = typed(error)
        failed = isinstance(self._outcome, QNetSegmentError)
        (self.failed if failed else self.finished).emit(self._outcome)

    def _result(self, results: list[StructureResult]) -> Any:
        """What is made of the results, and told."""
        return results

    def _tell(self, stage: str, done: int, total: int, eta_s: float | None) -> None:
        count, number = len(self._examples), min(len(self._found) + 1, len(self._examples))
        part = min(done / total, 1.0) if total and stage == SLICES else 0.0
        self._fraction = max(self._fraction, (len(self._found) + part) / count)
        name = self._examples[number - 1].name
        self.progress.emit(RunProgress(stage, done, total, name, number, count, eta_s, self._fraction))

    def _eta(self, eta_s: float | None) -> float | None:
        """Seconds for the present structure and all that follow, which take about as long."""
        if eta_s is None or self._first_news is None:
            return None
        each = time.monotonic() - self._first_news + eta_s
        if self._found:
            each = sum(found.report.seconds for found in self._found) / len(self._found)
        return eta_s + each * (len(self._examples) - len(self._found) - 1)


def _by_structure(examples: Sequence[SupportSet | Drawing]) -> list[list[int]]:
    """Numbers of the examples of each structure; every drawing is one of its own."""
    from qnetseg.volume import SupportSet

    found: dict[str | int, list[int]] = {}
    for number, example in enumerate(examples):
        key = example.name if isinstance(example, SupportSet) else number
        found.setdefault(key, []).append(number)
    return list(found.values())
