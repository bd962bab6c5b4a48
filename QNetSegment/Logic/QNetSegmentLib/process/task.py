"""What the worker is asked for: the volumes it needs, then a request that is about them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from qnetseg.boxes import Box
from qnetseg.errors import Cancelled, QNetSegmentError
from qnetseg.worker import protocol, requests
from qnetseg.worker.failures import ProtocolError, internal_error
from qnetseg.worker.source import Source

from ..signals import Signal

if TYPE_CHECKING:
    from qnetseg.volume import Drawing, SupportSet

    Make = Callable[[Path, str, Sequence[str]], protocol.Request]
    Read = Callable[[Path, Any, protocol.Event], Any]


@dataclass
class Task:
    """A piece of work that was submitted and has not ended.

    Attributes:
        token: what its signals carry.
        sources: volumes that must be open.
        make: the request, of the exchange folder, an id and the ids of the open volumes; None to open only.
        read: what its answer means, of the folder, the request and the answer.
        sent: the request that the worker works on, None where none was sent yet.
        opening: the source that `sent` opens, None for the last request.
        reopened: whether the worker had let go of a volume, which was then opened again.
        cancelled: whether it shall end.
    """

    token: str
    sources: Sequence[Source]
    make: Make | None = None
    read: Read | None = None
    sent: protocol.Request | None = None
    opening: Source | None = None
    reopened: bool = False
    cancelled: bool = False

    def next_request(self, folder: Path, number: str, held: Held) -> protocol.Request | None:
        """To open the first volume that is not open; when all are, the last one, None where there is none."""
        self.opening = held.missing(self.sources)
        if self.opening is not None:
            return requests.open_volume(folder, number, self.opening)
        volumes = [held.used(source).id for source in self.sources]
        return None if self.make is None else self.make(folder, number, volumes)


def segment_request(
    example: SupportSet | Drawing,
    *,
    model: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    background: Box | None = None,
    confidence_of: str = "none",
) -> Make:
    """A request for a structure in the first volume, after an example that was made on the last one.

    `model` is a file or a name of the catalogue, None for the default one; a `device` other than "auto" goes
    before the one in `options`, which are those of `SegmentOptions`. `background`: on the query's grid, where
    something else is known to be. confidence_of: one of `qnetseg.worker.fields.CONFIDENCE`.
    """

    def make(folder: Path, number: str, volumes: Sequence[str]) -> protocol.Request:
        return requests.segment(
            folder,
            number,
            volumes[0],
            example,
            volumes[-1],
            model=model,
            options=options,
            device=device,
            background=background,
            confidence_of=confidence_of,
        )

    return make


def pack_request(drawing: Drawing) -> tuple[Make, Read]:
    """A request for a support set of a drawing on the only volume, and what its answer means."""

    def make(folder: Path, number: str, volumes: Sequence[str]) -> protocol.Request:
        return protocol.Pack(number, requests.drawn_on(folder, number, drawing, volumes[0]))

    def read(folder: Path, _request: Any, answer: protocol.Event) -> SupportSet:
        return requests.read_support(folder, answer)

    return make, read


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


def greeting_of(event: protocol.Event, hello_id: str) -> protocol.Ready:
    """The answer to hello. Raises what an error event tells of, and ProtocolError."""
    if isinstance(event, protocol.Error):
        raise protocol.exception_of(event)
    if not isinstance(event, protocol.Ready) or event.id != hello_id:
        raise ProtocolError("The worker did not answer hello with ready.")
    protocol.require_version(event.version, "worker")
    return event


def cancelled() -> Cancelled:
    """How a task ends that was cancelled."""
    return Cancelled(_("The segmentation was cancelled."))


def typed(error: Exception) -> QNetSegmentError:
    """The error as one that is shown to a user."""
    return error if isinstance(error, QNetSegmentError) else internal_error(error)


def emit(signal: Signal, *arguments: object) -> None:
    """A slot that raises is reported like Qt does, and harms neither the worker nor the other events."""
    try:
        signal.emit(*arguments)
    except Exception:
        traceback.print_exc()
