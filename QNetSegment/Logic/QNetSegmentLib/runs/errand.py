"""One task of the worker, and what is done with its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qnetseg.errors import QNetSegmentError
from qnetseg.worker.protocol import Progress
from qnetseg.worker.source import Source

from ..process.worker import Worker

if TYPE_CHECKING:
    from qnetseg.boxes import Box
    from qnetseg.volume import Drawing, SupportSet


class Errand:
    """Calls `done(answer)` or `failed(error)` when a task ends, unless it was called off.

    Until then `news` is told its progress.
    """

    def __init__(
        self,
        worker: Worker,
        submit: Callable[[], str],
        done: Callable[[Any], None],
        failed: Callable[[QNetSegmentError], None],
        news: Callable[[Progress], None] | None = None,
    ) -> None:
        """submit: gives the task to the worker, and its token back. Raises what it raises."""
        self._worker, self._done, self._failed = worker, done, failed
        self._news, self._ended = news, False
        self.token = submit()
        worker.finished.connect(self._on_finished)
        worker.failed.connect(self._on_failed)
        if news is not None:
            worker.progress.connect(self._on_progress)

    def call_off(self) -> None:
        """Nobody wants the answer any more. Harmless when repeated."""
        if self._end():
            self._worker.cancel(self.token)

    def _on_progress(self, token: str, news: Progress) -> None:
        if token == self.token and self._news is not None:
            self._news(news)

    def _on_finished(self, token: str, answer: Any) -> None:
        if token == self.token and self._end():
            self._done(answer)

    def _on_failed(self, token: str, error: QNetSegmentError) -> None:
        if token == self.token and self._end():
            self._failed(error)

    def _end(self) -> bool:
        """Whether it had not ended before."""
        goes_on, self._ended = not self._ended, True
        self._worker.finished.disconnect(self._on_finished)
        self._worker.failed.disconnect(self._on_failed)
        if self._news is not None:
            self._worker.progress.disconnect(self._on_progress)
        return goes_on


class Packing:
    """Drawings, one after the other, joined with their patients; support sets stay as they are."""

    def __init__(
        self,
        worker: Worker,
        examples: Sequence[SupportSet | Drawing],
        drawn_on: Source | None,
        done: Callable[[list[SupportSet]], None],
        failed: Callable[[QNetSegmentError], None],
        accepted: Sequence[Box | None] = (),
    ) -> None:
        """drawn_on: of the drawings. done: may be called at once, where there are only support sets.
        accepted: for each example the result that goes with it, if there is one (see `with_patient`).

        Raises WorkerError where the worker is busy.
        """
        self._worker, self._drawn_on = worker, drawn_on
        self._rest = list(zip(examples, accepted or [None] * len(examples), strict=True))
        self._done, self._failed = done, failed
        self._packed: list[SupportSet] = []
        self._errand: Errand | None = None
        self._go_on()

    def call_off(self) -> None:
        """Nobody wants them any more."""
        if self._errand is not None:
            self._errand.call_off()

    def _go_on(self) -> None:
        from qnetseg.volume import SupportSet

        drawn_on = self._drawn_on
        while self._rest:
            example, result = self._rest.pop(0)
            if isinstance(example, SupportSet):
                self._packed.append(example)
                continue
            assert drawn_on is not None, "drawings come with their volume"
            pack = partial(self._worker.pack, example, drawn_on, result)
            self._errand = Errand(self._worker, pack, self._take, self._failed)
            return
        self._done(self._packed)

    def _take(self, support: SupportSet) -> None:
        self._packed.append(support)
        try:
            self._go_on()
        except QNetSegmentError as error:
            self._failed(error)
