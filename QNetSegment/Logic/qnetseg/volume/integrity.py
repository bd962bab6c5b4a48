"""Damage that ITK overlooks: it reads a truncated NIfTI as zeros and a corrupt MetaImage as noise.

Sources: the NIfTI-1 header (nifti1.h), MetaImage's `key = value` header.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO

CHUNK = 1 << 20
NIFTI_HEADER = 348

METAIMAGE_TYPES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4,
    "LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
"""Bytes of MET_<name>."""


class DamagedError(Exception):
    """The file is not complete or does not follow its format; the message names the reason."""


def require_whole(path: Path) -> None:
    """Raise DamagedError for a NIfTI or MetaImage file whose voxels are not all there and intact.

    Other formats, which ITK checks by itself, pass.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            _require_whole_nifti(path, compressed=name.endswith(".gz"))
        elif name.endswith((".mha", ".mhd")):
            _require_whole_metaimage(path)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise DamagedError(str(error)) from error


def _require_whole_nifti(path: Path, compressed: bool) -> None:
    with gzip.open(path) if compressed else path.open("rb") as file:
        header = file.read(NIFTI_HEADER)
        expected = _nifti_size(header)
        if compressed:
            held = len(header)
            while chunk := file.read(CHUNK):  # to the end: gzip's checksum comes last
                held += len(chunk)
        else:
            held = path.stat().st_size
    if held < expected:
        raise DamagedError(f"{expected} bytes expected, {held} found")


def _nifti_size(header: bytes) -> int:
    """Bytes of the whole uncompressed file, from its header."""
    order = next((o for o in "<>" if struct.unpack_from(o + "i", header)[0] == NIFTI_HEADER), None)
    if order is None:
        raise DamagedError("no NIfTI-1 header")
    dims = struct.unpack_from(order + "8h", header, 40)
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise DamagedError("the header's dimensions are impossible")
    (bits,) = struct.unpack_from(order + "h", header, 72)
    (offset,) = struct.unpack_from(order + "f", header, 108)
    has_quaternion, has_matrix = struct.unpack_from(order + "2h", header, 252)
    placement = struct.unpack_from(order + "18f", header, 256)  # quaternion and offset, then the matrix
    used = (placement[:6] if has_quaternion > 0 else ()) + (placement[6:] if has_matrix > 0 else ())
    if not all(map(math.isfinite, used)):
        raise DamagedError("the header's matrix is not finite")
    return int(offset) + math.prod(dims[1 : dims[0] + 1]) * bits // 8


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
        chunk = file.read(CHUNK)
        if not chunk:
            raise DamagedError("the compressed data end early")
        held += len(inflater.decompress(chunk))
    return held


def _rest(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size - file.tell()
