"""Progress and cancelling of one segmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Cancelled

ProgressCallback = Callable[[int, int, str], None]
CancelCallback = Callable[[], bool]


@dataclass(frozen=True)
class Job:
    """What a caller wants to hear of a segmentation, and how it stops it.

    Attributes:
        progress: called as progress(done, total, stage); None where nobody listens.
        cancel: asked now and then; True stops.
    """

    progress: ProgressCallback | None = None
    cancel: CancelCallback | None = None

    def check(self) -> None:
        """Raise `Cancelled` if the caller wants no more."""
        if self.cancel is not None and self.cancel():
            raise Cancelled("The segmentation was cancelled.")

    def tell(self, done: int, total: int, stage: str) -> None:
        """Pass on how far the work is."""
        if self.progress is not None:
            self.progress(done, total, stage)
