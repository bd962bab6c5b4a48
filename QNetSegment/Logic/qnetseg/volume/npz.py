"""Archives of arrays (.npz) that may come from anywhere: their sizes are checked before anything is inflated.

`numpy.load` allocates whatever an archive says of itself.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..errors import InputError

MOST_ARRAY = 64 << 20  # bytes of one array: a slice of 4096 x 4096 float32
HEADER = 128  # bytes that NumPy writes before the values of a plain array
MOST_TOGETHER = 256 << 20  # bytes of all arrays of a small file, and of a larger one
MOST_INFLATED = 40  # times its own size; images with their noise inflate to a few times


def are_too_large(sizes: Sequence[int], packed: int) -> bool:
    """Whether arrays of these sizes in bytes are refused in a file of `packed` bytes."""
    most = max(MOST_TOGETHER, MOST_INFLATED * packed)
    return max(sizes, default=0) > MOST_ARRAY or sum(sizes) > most


class Archive(zipfile.ZipFile):
    """The arrays of an .npz file by name.

    Opening and reading raise what `zipfile`, `zlib` and NumPy raise, InputError for an archive that unpacks
    to too much, and ValueError for arrays of another kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        try:
            self._require_sizes(Path(path))
        except BaseException:
            self.close()
            raise

    def _require_sizes(self, path: Path) -> None:
        entries = self.infolist()
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise ValueError("packed in another way")
        sizes = [max(0, entry.file_size - HEADER) for entry in entries]
        if are_too_large(sizes, path.stat().st_size):
            raise InputError(
                f"'{path.name}' unpacks to more than a saved example may hold.",
                "Choose a file that was saved as an example.",
            )

    def array(self, name: str) -> np.ndarray:
        """The array of this name: numbers or text of any shape, no objects."""
        with self.open(f"{name}.npy") as file:
            if npy.read_magic(file) != (1, 0):
                raise ValueError("no .npy file of version 1.0")
            shape, by_columns, dtype = npy.read_array_header_1_0(file)
            size = dtype.itemsize * math.prod(shape)
            if dtype.hasobject or not 0 <= size <= MOST_ARRAY:
                raise ValueError("an array that is not allowed")
            content = file.read(size + 1)  # to the end, where the check sum is compared
        if len(content) != size:
            raise ValueError("an array of another size than its header says")
        return np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C").copy()
