"""Archives of arrays (.npz) that may come from anywhere: their sizes are checked before anything is inflated.

NumPy's own reader believes what an archive says of itself: it allocates any shape and evaluates headers as
Python literals, which fails in many ways. What `numpy.savez` writes of plain arrays is read here without it.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import InputError

MOST_ARRAY = 64 << 20  # bytes of one array: a slice of 4096 x 4096 float32
MOST_HEADER = 1 << 16  # bytes before an array's values
MOST_TOGETHER = 256 << 20  # bytes of all arrays of a small file, and of a larger one
MOST_INFLATED = 40  # times its own size; images with their noise inflate to a few times
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?[a-zA-Z][0-9]{1,9})', 'fortran_order': (True|False),"
    r" 'shape': \((|[0-9]{1,18},|[0-9]{1,18}(?:, [0-9]{1,18})+)\), \} *\n"
)
_PREAMBLE = 10  # bytes before the header: magic number, version 1.0, the header's length


class Archive:
    """The arrays of an open .npz file by name; a context manager.

    Opening and reading raise what `zipfile` and `zlib` raise, InputError for an archive that unpacks to too
    much, and ValueError for arrays of another kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._zip, self._name = zipfile.ZipFile(path), Path(path).name
        try:
            self._require_sizes(max(MOST_TOGETHER, MOST_INFLATED * Path(path).stat().st_size))
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _require_sizes(self, most: int) -> None:
        entries = self._zip.infolist()
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise ValueError("packed in another way")
        sizes = [entry.file_size for entry in entries]
        if max(sizes, default=0) > MOST_ARRAY + MOST_HEADER or sum(sizes) > most:
            raise InputError(
                f"'{self._name}' unpacks to more than a support file may hold.",
                "Choose a file that was saved as a support.",
            )

    def array(self, name: str) -> np.ndarray:
        """The array of this name: numbers or text of any shape, no objects."""
        with self._zip.open(f"{name}.npy") as file:
            dtype, shape, by_columns = _read_header(file)
            if dtype.hasobject or dtype.itemsize * math.prod(shape) > MOST_ARRAY:
                raise ValueError("an array that is not allowed")
            array = np.empty(shape, dtype, order="F" if by_columns else "C")
            content = file.read(array.nbytes + 1)  # to the end, where the check sum is compared
        if len(content) != array.nbytes:
            raise ValueError("an array of another size than its header says")
        array.reshape(-1, order="A").view(np.uint8)[:] = np.frombuffer(content, np.uint8)
        return array


def _read_header(file: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Type, shape, and whether columns are contiguous, of an .npy file of version 1.0."""
    preamble = file.read(_PREAMBLE)
    if len(preamble) < _PREAMBLE or preamble[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("no .npy file of version 1.0")
    found = _HEADER.fullmatch(file.read(int.from_bytes(preamble[8:], "little")).decode("latin-1"))
    if found is None:
        raise ValueError("no header of a plain array")
    dtype, order, shape = found.groups()
    return np.dtype(dtype), tuple(int(count) for count in shape.replace(",", " ").split()), order == "True"
