"""Damage that ITK overlooks.

It reads a truncated NIfTI as zeros, NaN in a NIfTI as 0, and corrupt compressed NRRD or MetaImage data as
noise. Sources: the NIfTI-1 header (nifti1.h), the text headers of NRRD and MetaImage.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np

CHUNK = 1 << 20
COMPRESSED_CHUNK = 1 << 16  # may inflate to a thousand times its size
NIFTI_HEADER = 348
NIFTI_FLOATS = {16: "f4", 64: "f8", 32: "f4", 1792: "f8"}
"""Real and complex datatype codes and what they are made of."""

METAIMAGE_TYPES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4,
    "LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
"""Bytes of MET_<name>."""


class DamagedError(Exception):
    """The file is not complete or does not follow its format; the message names the reason."""


class NotFiniteError(Exception):
    """The file holds NaN or infinite values."""


def require_whole(path: Path) -> None:
    """Raise DamagedError for a NIfTI, NRRD or MetaImage file whose voxels are not all there and intact.

    NaN and infinite values in a NIfTI raise NotFiniteError. Other formats pass.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
                _require_whole_nifti(file)
        elif name.endswith(".nrrd"):
            _require_whole_nrrd(path)
        elif name.endswith((".mha", ".mhd")):
            _require_whole_metaimage(path)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise DamagedError(str(error)) from error


def _require_whole_nifti(file: BufferedIOBase) -> None:
    header = file.read(NIFTI_HEADER)
    order = next((o for o in "<>" if struct.unpack_from(o + "i", header)[0] == NIFTI_HEADER), None)
    if order is None:
        raise DamagedError("no NIfTI-1 header")
    dims = struct.unpack_from(order + "8h", header, 40)
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise DamagedError("the header's dimensions are impossible")
    has_quaternion, has_matrix = struct.unpack_from(order + "2h", header, 252)
    placement = struct.unpack_from(order + "18f", header, 256)  # quaternion and offset, then the matrix
    used = (placement[:6] if has_quaternion > 0 else ()) + (placement[6:] if has_matrix > 0 else ())
    if not all(map(math.isfinite, used)):
        raise DamagedError("the header's matrix is not finite")

    code, bits = struct.unpack_from(order + "2h", header, 70)
    (offset,) = struct.unpack_from(order + "f", header, 108)
    dtype = np.dtype(order + NIFTI_FLOATS[code]) if code in NIFTI_FLOATS else None
    missing = math.prod(dims[1 : dims[0] + 1]) * bits // 8
    file.seek(int(offset))
    while chunk := file.read(CHUNK):  # to the end: gzip's checksum comes last
        if dtype and missing > 0:
            count = min(len(chunk), missing) // dtype.itemsize
            if not np.isfinite(np.frombuffer(chunk, dtype, count)).all():
                raise NotFiniteError
        missing -= len(chunk)
    if missing > 0:
        raise DamagedError(f"{missing} bytes are missing")


def _require_whole_nrrd(path: Path) -> None:
    """Compressed data behind the header are intact; of other data teem checks the size."""
    with path.open("rb") as file:
        compressed = False
        while line := file.readline(CHUNK).strip().lower():
            if line.startswith((b"data file:", b"datafile:")):
                return
            compressed = compressed or line in (b"encoding: gzip", b"encoding: gz")
        if compressed:
            _inflated_size(file)


def _require_whole_metaimage(path: Path) -> None:
    with path.open("rb") as file:
        header = _metaimage_header(file)
        data = header["elementdatafile"]
        shape = [int(count) for count in header["dimsize"].split()]
        if "%" in data or data.upper().startswith("LIST"):
            return  # one file per slice, which ITK checks
        if data.upper() != "LOCAL":
            with (path.parent / data).open("rb") as other:
                _require_elements(other, header, shape)
        else:
            _require_elements(file, header, shape)


def _metaimage_header(file: IO[bytes]) -> dict[str, str]:
    """Keys (in lower case) and values up to ElementDataFile, after which the data may begin."""
    header: dict[str, str] = {}
    while "elementdatafile" not in header:
        line = file.readline(1 << 16)
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            raise DamagedError("the header is not complete")
        header[key.strip().lower()] = value.strip()
    for key in ("dimsize", "elementtype"):
        if key not in header:
            raise DamagedError(f"the header has no {key}")
    return header


def _require_elements(file: IO[bytes], header: dict[str, str], shape: list[int]) -> None:
    """The rest of `file` holds all elements."""
    kind = header["elementtype"].upper().removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in METAIMAGE_TYPES or min(shape) < 1:
        raise DamagedError("the header's type or dimensions are impossible")
    channels = int(header.get("elementnumberofchannels", "1"))
    expected = math.prod(shape) * channels * METAIMAGE_TYPES[kind]
    held = _inflated_size(file) if header.get("compresseddata", "").lower() == "true" else _rest(file)
    if held < expected:
        raise DamagedError(f"{expected} bytes expected, {held} found")


def _inflated_size(file: IO[bytes]) -> int:
    inflater, held = zlib.decompressobj(zlib.MAX_WBITS | 32), 0
    while not inflater.eof:
        chunk = file.read(COMPRESSED_CHUNK)
        if not chunk:
            raise DamagedError("the compressed data end early")
        held += len(inflater.decompress(chunk))
    return held


def _rest(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size - file.tell()
