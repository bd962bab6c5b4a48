"""The engine of one process of a batch: networks and drawn patients stay loaded from study to study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..model import Networks
from ..segment import Query, Segmentation, SegmentOptions, segment_volume, with_patient
from ..volume import SupportSet, read_volume
from ..worker.backend import Backend, check_engine
from .plan import Example, Plan


class Engine:
    """Segments a structure in a study after its examples."""

    def __init__(self, plan: Plan) -> None:
        """Raises WorkerError where torch is missing or does not work, InputError for impossible options."""
        check_engine()
        self._plan, self._backend = plan, Backend()
        self._options = SegmentOptions.from_dict({**plan.options, "device": plan.device})
        self._volumes: dict[Path, Query] = {}
        self._joined: dict[Example, SupportSet] = {}

    def __call__(self, examples: Sequence[Example], query: Query) -> Segmentation:
        """Raises what `segment_volume`, `load_networks` and `read_volume` raise."""
        networks = self._backend.networks(self._plan.model)
        first, *further = (self._with_patient(example, query, networks) for example in examples)
        return segment_volume(first, query, networks, self._options, further=further)

    def _with_patient(self, example: Example, query: Query, networks: Networks) -> SupportSet:
        """The example with the whole patient, where that is named and another one; made once."""
        support, path = example.support, example.volume
        if path is None or support.volume_id == query.fingerprint:
            return support
        if example not in self._joined:
            if path not in self._volumes:
                self._volumes[path] = Query.of(read_volume(path))
            self._joined[example] = with_patient(support, self._volumes[path], networks, self._options)
        return self._joined[example]
