"""The engine of one process of a batch: networks and drawn volumes stay loaded from study to study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..segment import Example, Query, Segmentation, SegmentOptions, segment_volume
from ..volume import read_volume
from ..worker.backend import Backend, check_engine
from .plan import Drawn, Plan


class Engine:
    """Segments a structure in a study after its examples."""

    def __init__(self, plan: Plan) -> None:
        """Raises WorkerError where torch is missing or does not work, InputError for impossible options."""
        check_engine()
        self._plan, self._backend = plan, Backend()
        self._options = SegmentOptions.from_dict({**plan.options, "device": plan.device})
        self._drawn_on: dict[Path, Query] = {}

    def __call__(self, examples: Sequence[Drawn], query: Query) -> Segmentation:
        """Raises what `segment_volume`, `load_networks` and `read_volume` raise.

        An example that was drawn on the study itself goes before the others, since it shows the structure.
        """
        networks = self._backend.networks(self._plan.model)
        own_first = sorted(examples, key=lambda drawn: drawn.support.volume_id != query.fingerprint)
        first, *further = (self._example(drawn) for drawn in own_first)
        found = segment_volume(
            first.support,
            query,
            networks,
            self._options,
            drawn_on=None if first.support.volume_id == query.fingerprint else first.volume,
            further=further,
        )
        for volume in self._drawn_on.values():
            volume.forget()
        return found

    def _example(self, drawn: Drawn) -> Example:
        if drawn.volume is None:
            return Example(drawn.support)
        if drawn.volume not in self._drawn_on:
            self._drawn_on[drawn.volume] = Query.of(read_volume(drawn.volume))
        return Example(drawn.support, self._drawn_on[drawn.volume])
