"""What the worker is asked for: the volumes it needs, then a request that is about them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from qnetseg.errors import Cancelled
from qnetseg.worker import protocol, requests
from qnetseg.worker.source import Source

from ..signals import Signal


@dataclass
class Task:
    """A piece of work that was submitted and has not ended.

    make: the request, of the exchange folder, an id and the ids of the open volumes; None to open only.
    read: what its answer means, of the folder, the request and the answer.
    """

    token: str  # what its signals carry
    sources: Sequence[Source]  # volumes that must be open
    make: Callable[[Path, str, Sequence[str]], protocol.Request] | None = None
    read: Callable[[Path, Any, protocol.Event], Any] = requests.read_opened
    sent: protocol.Request | None = None  # what the worker works on
    opening: Source | None = None  # what `sent` opens, None for the last request
    reopened: bool = False  # whether the worker had let go of a volume, which was then opened again
    cancelled: bool = False

    def next_request(
        self, folder: Path, number: str, held: Held, shared: bool = True
    ) -> protocol.Request | None:
        """To open the first volume that is not open; when all are, the last one, None where there is none.

        shared: whether the worker sees our disk.
        """
        self.opening = held.missing(self.sources)
        if self.opening is not None:
            return requests.open_volume(folder, number, self.opening, shared)
        volumes = [held.used(source).id for source in self.sources]
        return None if self.make is None else self.make(folder, number, volumes)


class Held:
    """The volumes that are open in a worker, by the key of their source; the last used one comes last."""

    MOST = 3  # a query, the volume drawn on, and one before

    def __init__(self) -> None:
        self._opened: dict[Hashable, protocol.Opened] = {}

    def missing(self, sources: Sequence[Source]) -> Source | None:
        """The first of them that is not open."""
        return next((source for source in sources if source.key not in self._opened), None)

    def used(self, source: Source) -> protocol.Opened:
        """An open one, which is now the last used."""
        self._opened[source.key] = opened = self._opened.pop(source.key)
        return opened

    def added(self, source: Source, opened: protocol.Opened, needed: Sequence[Source]) -> list[str]:
        """Keep a new one; the ids of those to close for it, which were not used for the longest time."""
        self._opened[source.key] = opened
        keys = {one.key for one in needed}
        others = [key for key in self._opened if key not in keys]
        return [self._opened.pop(key).id for key in others[: max(0, len(self._opened) - self.MOST)]]

    def released(self, source: Source) -> list[str]:
        """The id to close, none where it is not open."""
        opened = self._opened.pop(source.key, None)
        return [] if opened is None else [opened.id]

    def clear(self) -> None:
        """None is open any more."""
        self._opened.clear()


def cancelled() -> Cancelled:
    """How a task ends that was cancelled."""
    return Cancelled(_("The segmentation was cancelled."))


def emit(signal: Signal, *arguments: object) -> None:
    """A slot that raises is reported like Qt does, and harms neither the worker nor the other events."""
    try:
        signal.emit(*arguments)
    except Exception:
        traceback.print_exc()
