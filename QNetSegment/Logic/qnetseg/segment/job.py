"""Progress and cancelling of a piece of work: one small object that everybody hands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Cancelled


@dataclass(frozen=True)
class Job:
    """What a caller wants to hear of the work, and how it stops it.

    Attributes:
        progress: called as progress(done, total, stage); None where nobody listens.
        cancel: asked now and then; True stops.
    """

    progress: Callable[[int, int, str], None] | None = None
    cancel: Callable[[], bool] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the caller wants no more."""
        return self.cancel is not None and self.cancel()

    def check(self) -> None:
        """Raise `Cancelled` if the caller wants no more."""
        if self.cancelled:
            raise Cancelled("The segmentation was cancelled.")

    @property
    def silent(self) -> Job:
        """The same for a part of the work that nobody wants to hear of."""
        return Job(cancel=self.cancel)

    def part(self, begin: float, end: float, count: int = 1000) -> Job:
        """The same for a part of the work.

        Its own progress goes from one share of the whole, 0 to 1, to another, never falls, and is told as so
        many of `count` slices.
        """
        reached = begin

        def told(done: int, total: int, stage: str) -> None:
            nonlocal reached
            reached = max(reached, begin + (end - begin) * min(done / max(total, 1), 1.0))
            self.tell(int(count * reached + 1e-6), count, stage)  # no slice is lost to rounding

        return Job(told if self.progress else None, self.cancel)

    def tell(self, done: int, total: int, stage: str) -> None:
        """Pass on how far the work is."""
        if self.progress is not None:
            self.progress(done, total, stage)
