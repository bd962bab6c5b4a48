"""The engine in this very process, as the commands use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .common import Bar

if TYPE_CHECKING:
    from ..boxes import Box
    from ..segment import Query, Segmentation
    from ..volume import SupportSet

    Segment = Callable[[SupportSet, Query, Box | None, Query | None], Segmentation]


def engine(model: str | None, device: str, options: dict[str, Any]) -> Segment:
    """A function that segments one structure after another, and shows how far it is.

    Raises WorkerError where torch is missing or does not work, WeightsError, and InputError for impossible
    options.
    """
    from ..worker.backend import check_engine

    check_engine()
    from ..models import load_networks
    from ..segment import Job, SegmentOptions, segment_volume

    chosen = SegmentOptions.from_dict({**options, "device": device})
    networks = load_networks(model)

    def segment(
        support: SupportSet, query: Query, background: Box | None, drawn_on: Query | None
    ) -> Segmentation:
        with Bar(support.name) as bar:
            return segment_volume(support, query, networks, chosen, Job(bar.show), background, drawn_on)

    return segment
