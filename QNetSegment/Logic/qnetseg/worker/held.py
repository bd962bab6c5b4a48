"""The volumes that the worker holds, prepared and ready for the next request."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import protocol
from .exchange import load_array
from .failures import NotOpen

if TYPE_CHECKING:
    from ..segment import Query
    from ..volume import PatientImage, SupportSet, Volume

MOST_BYTES = 1 << 30  # of prepared images; those in use stay, however large
MOST_PATIENTS = 8  # of support files, of up to 4 MiB for each of their planes
IN_USE = 2  # a query, and the volume that was drawn on


class Held:
    """Open volumes by the id of their request; the one that was used last comes last."""

    def __init__(self) -> None:
        self._queries: dict[str, Query] = {}
        self._patients: deque[PatientImage] = deque(maxlen=MOST_PATIENTS)

    def open(self, request: protocol.Open, folder: Path) -> protocol.Opened:
        """Read and prepare a volume, and hold it. Raises VolumeError, GeometryError and WorkerFailure."""
        from ..errors import heard_oddities
        from ..segment import Query

        with heard_oddities() as oddities:
            query = Query.of(_read(request, folder))
        self._queries[request.id] = query
        self._make_room()
        grid = query.grid
        matrix = tuple(tuple(map(float, row)) for row in grid.ijk_to_ras)
        said = (*request.oddities, *oddities)
        return protocol.Opened(request.id, grid.shape, matrix, grid.name, query.fingerprint, said)

    def __getitem__(self, volume: str) -> Query:
        """The open volume. Raises NotOpen."""
        query = self._queries.pop(volume, None)
        if query is None:
            raise NotOpen()
        self._queries[volume] = query
        return query

    def close(self, volume: str) -> None:
        """Let go of a volume; harmless when it is not open."""
        self._queries.pop(volume, None)

    def forget_features(self, kept: Query) -> None:
        """Q-Net's features are large: they are kept of one volume at a time."""
        for query in self._queries.values():
            if query is not kept:
                query.forget()

    def keep_patients(self, supports: Sequence[SupportSet]) -> None:
        """Patients of support files stay for the next request, with what was made of them."""
        for support in supports:
            if support.patient is not None and support.patient.image not in self._patients:
                self._patients.append(support.patient.image)

    def _make_room(self) -> None:
        """Let go of what was not used for the longest time."""
        while len(self._queries) > IN_USE and sum(q.nbytes for q in self._queries.values()) > MOST_BYTES:
            del self._queries[next(iter(self._queries))]


def _read(request: protocol.Open, folder: Path) -> Volume:
    from ..volume import Volume, read_volume

    if request.path is not None:
        return read_volume(request.path, request.series)
    assert request.array is not None
    file = folder / request.array
    array = load_array(file)
    file.unlink(missing_ok=True)  # an image of a patient lies nowhere longer than it must
    return Volume.checked(array, np.array(request.ijk_to_ras), request.name)
