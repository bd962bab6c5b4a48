"""The same structures in many studies, one after the other, in the worker; see `qnetseg.batch`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
from slicer.i18n import tr as _

from qnetseg.atomic import replaceable
from qnetseg.batch import (
    Study,
    StudyState,
    finished_before,
    plan_targets,
    recipe_of,
    require_own_table,
    require_writable,
    rows_of,
    save_dicom,
    save_results,
    write_table,
)
from qnetseg.batch.run_study import unexpected
from qnetseg.errors import InputError, QNetSegmentError, WorkerError
from qnetseg.segment.presence import DOUBTFUL, FOUND, NOT_HERE
from qnetseg.worker.protocol import Opened
from qnetseg.worker.source import Source

from ..process.worker import Worker
from ..scene.volumes import source_of
from ..signals import Signal
from .errand import Errand, Packing
from .run import Run

if TYPE_CHECKING:
    from qnetseg.boxes import Box
    from qnetseg.segment.result import StructureResult
    from qnetseg.volume import Drawing, SupportSet


@dataclass(frozen=True)
class Summary:
    """How many studies ended in which state; problem: why the table was not written."""

    done: int
    kept: int
    failed: int
    cancelled: int
    problem: str = ""

    @property
    def total(self) -> int:
        """All studies."""
        return self.done + self.kept + self.failed + self.cancelled


class Batch:
    """Segments studies one by one; a study that fails does not stop the others.

    The worker opens the files, so that the application never waits for one.

    Signals: `changed(index, study)` whenever a study's state or detail changes; `progress(index,
    RunProgress)` while one runs; `finished(Summary)` once, also after `cancel`.
    """

    def __init__(
        self,
        worker: Worker,
        examples: Sequence[SupportSet | Drawing],
        studies: Sequence[Study],
        output: str | os.PathLike[str] | None = None,
        *,
        drawn_on: Source | None = None,
        accepted: Sequence[Box | None] = (),
        redo: bool = False,
        dicom: bool = False,
        on_result: Callable[[Any, list[StructureResult]], None] | None = None,
        make_run: Callable[..., Run] = Run,
        schedule: Callable[[Callable[[], None]], None] | None = None,
        **how: Any,
    ) -> None:
        """
        drawn_on: of examples that are drawings; before the first study their patient is packed up with them.
        accepted: for each example the result that goes with it, if there is one (see `with_patient`).
        output: folder of the results and of the table of them (batch.csv, batch.json), made when needed; None
            for beside each image, without a table. Gives the studies their targets and, where two would write
            the same file, distinct names.
        redo: run studies again that an earlier batch has finished.
        dicom: write a DICOM segmentation beside the result of a study that is a DICOM series.
        on_result: called with node and results of a study of the scene, after its files were written.
        make_run: another class than `Run`, for tests.
        schedule: calls a function from the event loop, so that the panel is painted before.
        how: model, options and device of each `Run`.
        """
        self.changed, self.progress, self.finished = Signal(), Signal(), Signal()
        self.studies = list(studies)
        self._worker = worker
        self._examples, self._drawn_on = list(examples), drawn_on
        self._accepted = list(accepted) or [None] * len(self._examples)
        self._supports: list[SupportSet] = []
        self._redo, self._dicom, self._how = redo, dicom, how
        self._on_result, self._make_run = on_result, make_run
        self._schedule = schedule or partial(qt.QTimer.singleShot, 0)
        self._index = -1
        self._waiting: Errand | Packing | None = None  # for an answer of the worker
        self._source: Source | None = None  # of the present study
        self._opened: Opened | None = None
        self._recipe: dict[str, Any] = {}
        self._run: Run | None = None
        self.active = False  # whether it has been started and not finished
        self._cancelled = False
        self._turn = 0  # number of the start; drops what an earlier one has scheduled
        self._output = None if output is None else Path(output)
        plan_targets(self.studies, self._output)

    def start(self) -> None:
        """Begin with the first study, from the event loop.

        Raises InputError without studies or examples, or when a result would go nowhere; OutputError when a
        folder cannot be written to; WorkerError when another segmentation is running. Nothing starts then.
        """
        if not (self.studies and self._examples):
            raise InputError(
                _("A batch needs studies and an example."), _("Choose volumes, and draw on one.")
            )
        if self.active or self._worker.busy:
            raise WorkerError(_("A segmentation is running already."), _("Wait until it ends, or cancel it."))
        for study in self.studies:
            if study.target is None and self._on_result is None:
                raise InputError(
                    _("The volume '{name}' has no file beside which its result could be saved.").format(
                        name=study.name
                    ),
                    _("Choose a folder for the results."),
                )
        require_writable(self.studies)
        if self._output is not None:
            require_own_table(self._output)
        self._index, self._turn = -1, self._turn + 1
        self.active, self._cancelled = True, False
        for index, study in enumerate(self.studies):
            if study.state is not StudyState.WAITING:
                self._change(index, StudyState.WAITING)
        self._later(self._pack)

    def cancel(self) -> None:
        """Stop the running study and leave out the rest; results that are there stay.

        `finished` follows as soon as the running study has stopped.
        """
        if not self.active or self._cancelled:
            return
        self._cancelled = True
        if self._run is not None:
            self._run.cancel()
        else:
            self._finish()

    def _later(self, step: Callable[[], None]) -> None:
        turn = self._turn

        def call() -> None:
            if self.active and self._turn == turn:
                step()

        self._schedule(call)

    def _begin_next(self) -> None:
        """Show that the next study is running; the work follows when the panel has been painted."""
        self._index += 1
        if self._index == len(self.studies):
            self._finish()
            return
        study = self.studies[self._index]
        self._later(lambda: self._guarded(self._open))
        self._change(self._index, StudyState.RUNNING, _("reading") if study.is_file else "")

    def _pack(self) -> None:
        def take(supports: list[SupportSet]) -> None:
            self._supports = supports
            self._later(self._begin_next)

        try:
            what = (self._examples, self._drawn_on, take, self._fail_all, self._accepted)
            self._waiting = Packing(self._worker, *what)
        except QNetSegmentError as error:
            self._fail_all(error)

    def _fail_all(self, error: QNetSegmentError) -> None:
        """Without the drawings there is nothing to do."""
        for index in range(len(self.studies)):
            self._change(index, StudyState.FAILED, str(error))
        self._finish()

    def _open(self) -> None:
        study = self.studies[self._index]
        self._source = source = Source.of(study.source) if study.is_file else source_of(study.source)

        def take(opened: Opened) -> None:
            self._waiting, self._opened = None, opened
            self._change(self._index, StudyState.RUNNING)
            if self._source is source:  # else a slot has cancelled
                self._segment(source, opened)

        self._waiting = Errand(
            self._worker,
            lambda: self._worker.open(source),
            lambda opened: self._guarded(lambda: take(opened)),
            self._fail,
        )

    def _segment(self, query: Source, opened: Opened) -> None:
        whole = [support.patient is not None for support in self._supports]
        how = (self._how.get("model"), self._how.get("options"))
        self._recipe = recipe_of(opened.fingerprint, self._decisive(), whole, *how)
        if kept := finished_before(self.studies[self._index], self._recipe, self._redo):
            self._end_study(StudyState.KEPT, kept)
            return
        for path in (self.studies[self._index].target, self.studies[self._index].report):
            if path is not None:
                replaceable(path)  # or the work would be lost
        self._run = run = self._make_run(self._worker, self._supports, query, **self._how)
        index = self._index  # and not the run itself: in a cycle with its slots it would keep the image

        def heard(slot: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda news: slot(news) if self._run is not None and self._index == index else None

        run.progress.connect(heard(lambda progress: self.progress.emit(index, progress)))
        run.finished.connect(heard(lambda results: self._guarded(lambda: self._keep(results))))
        run.failed.connect(heard(self._fail))
        run.start()

    def _decisive(self) -> list[SupportSet]:
        """The examples by what decides a result.

        A structure that was segmented for its drawing follows from that, and may differ in its last bits.
        """
        from qnetseg.volume import SupportSet

        given = zip(self._examples, self._accepted, self._supports, strict=True)
        return [
            support
            if isinstance(example, SupportSet) or result is not None
            else replace(support, patient=None)
            for example, result, support in given
        ]

    def _keep(self, results: list[StructureResult]) -> None:
        from qnetseg.volume import Volume

        study, opened = self.studies[self._index], self._opened
        assert opened is not None
        self._run = None
        if self._cancelled:
            self._finish()
            return
        if study.target is not None:
            grid = Volume.blank(opened.shape, np.array(opened.ijk_to_ras), opened.name)
            save_results(study, grid, results, self._recipe, opened.oddities)
        if self._on_result is not None and not study.is_file:
            self._on_result(study.source, results)
        problem = self._save_dicom(study, opened, results) if self._dicom else ""
        volumes = [_found_text(result) for result in results]
        warnings = [
            _("{structure}: {warning}").format(structure=result.example.name, warning=warning)
            for result in results
            for warning in result.report.warnings
        ]
        self._end_study(
            StudyState.DONE,
            " ".join([", ".join(volumes) + ".", *opened.oddities, *warnings, problem]).strip(),
        )

    def _save_dicom(self, study: Study, opened: Opened, results: list[StructureResult]) -> str:
        from qnetseg.volume import Volume

        grid = Volume.blank(opened.shape, np.array(opened.ijk_to_ras), opened.name)
        how = (self._how.get("model"), self._how.get("options") or {})
        return save_dicom(study, grid, results, *how, opened.oddities)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong in a study ends that study and no other."""
        try:
            work()
        except QNetSegmentError as error:
            self._fail(error)
        except Exception as error:
            logging.exception("QNetSegment: a study of the batch failed")
            self._end_study(StudyState.FAILED, unexpected(error))

    def _fail(self, error: QNetSegmentError) -> None:
        self._end_study(StudyState.FAILED, str(error))

    def _end_study(self, state: StudyState, detail: str) -> None:
        self._run = None
        if self._cancelled:
            self._finish()
            return
        if self.studies[self._index].state is StudyState.RUNNING:  # a slot that failed ends nothing twice
            self._drop_image()
            self._later(self._begin_next)
            self._change(self._index, state, detail)

    def _drop_image(self) -> None:
        if self._waiting is not None:
            self._waiting.call_off()
        if self._source is not None:
            self._worker.release(self._source)
        self._source = self._opened = self._waiting = None

    def _change(self, index: int, state: StudyState, detail: str = "") -> None:
        study = self.studies[index]
        study.state, study.detail = state, detail
        self.changed.emit(index, study)

    def _finish(self) -> None:
        self.active = False
        self._drop_image()
        for index, study in enumerate(self.studies):
            if study.state in (StudyState.WAITING, StudyState.RUNNING):
                self._change(index, StudyState.CANCELLED)
        states = [study.state for study in self.studies]
        ended = (StudyState.DONE, StudyState.KEPT, StudyState.FAILED, StudyState.CANCELLED)
        done, kept, failed, cancelled = (states.count(state) for state in ended)
        self.finished.emit(Summary(done, kept, failed, cancelled, self._write_table()))

    def _write_table(self) -> str:
        """The error's sentence if that failed."""
        if self._output is None:
            return ""
        try:
            write_table(self._output, [row for study in self.studies for row in rows_of(study)])
        except QNetSegmentError as error:
            return str(error)
        return ""


def _found_text(result: StructureResult) -> str:
    """One structure in a study's line."""
    report = result.report
    texts = {
        FOUND: _("{structure} {volume:.1f} ml"),
        DOUBTFUL: _("{structure} {volume:.1f} ml, doubtful"),
        NOT_HERE: _("{structure} not here"),
    }
    return texts[report.outcome].format(structure=result.example.name, volume=report.volume_ml)
