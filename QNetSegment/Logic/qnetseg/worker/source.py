"""Where the worker gets a volume from. Copies no voxel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..volume import Volume


@dataclass(frozen=True, eq=False)
class Source:
    """A volume that a worker can open: a file or a DICOM folder, or voxels of this process.

    array: (k, j, i) of any real dtype, perhaps a view of memory that belongs to another program.
    """

    key: tuple[Any, ...]  # sources of one key are one volume, which is opened once
    name: str = ""  # what the user calls it; empty where the file says it
    path: str | None = None  # absolute
    array: np.ndarray | None = None
    ijk_to_ras: np.ndarray | None = None  # (4, 4), of the array
    series: str | None = None  # one of the folder's, by description, number or UID; None for the only one

    @property
    def grid(self) -> Volume:
        """Where its voxels lie; only of an array."""
        from ..volume import Volume

        assert self.array is not None and self.ijk_to_ras is not None
        k, j, i = self.array.shape
        return Volume.blank((k, j, i), self.ijk_to_ras, self.name)

    def read(self) -> Source:
        """The voxels of its file. Raises what `read_volume` raises."""
        from ..volume import read_volume

        assert self.path is not None
        volume = read_volume(self.path, self.series)
        return Source(self.key, self.name or volume.name, None, volume.array, volume.ijk_to_ras)

    @classmethod
    def of(cls, volume: Any, series: str | None = None) -> Source:
        """Of a path; or of a `Volume`, each time as another one, because ids of objects come again."""
        if isinstance(volume, (str, os.PathLike)):
            path = os.path.abspath(volume)
            return cls(("file", path, series), path=path, series=series)
        return cls((object(),), volume.name, None, volume.array, volume.ijk_to_ras)
