"""Damage that ITK overlooks.

It reads a truncated NIfTI as zeros, NaN in a NIfTI as 0, corrupt compressed NRRD or MetaImage data as noise,
and missing pixels of DICOM or MetaImage as what the memory held. Sources: the NIfTI-1 header (nifti1.h), the
text headers of NRRD and MetaImage.
"""

from __future__ import annotations

import math
import os
import re
import warnings
import zlib
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from .nifti import CHUNK, inflated, read_header

NIFTI_FLOATS = {16: "f4", 64: "f8", 32: "f4", 1792: "f8"}
"""Real and complex datatype codes and what they are made of."""

NIFTI_BITS = {
    2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64,
    1792: 128,
}  # fmt: skip
"""Bits of a voxel by datatype code; the header's own number is not always right, and ITK does not use it."""

DICOM_SIZE = ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
PIXELS = "PixelData"

METAIMAGE_TYPES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4,
    "LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
"""Bytes of MET_<name>."""

TRUE = ("T", "t", "1")
"""First letters of what MetaIO takes for true."""

METAIMAGE_DIMENSIONS = 10
METAIMAGE_PATTERN = re.compile(
    r"(?P<name>[^%\s]*%0?\d{0,2}d[^%\s]*)"
    r"(\s+(?P<first>\d{1,9})(\s+(?P<last>\d{1,9})(\s+(?P<step>\d{1,9}))?)?)?"
)
"""One number in the name, then first, last and step: slice%03d.raw 0 19 1."""

NRRD_PATTERN = re.compile(rb"[^%]*%0?\d{0,2}[du][^%]*")
"""The same; teem itself reads what follows the name."""


class DamagedError(Exception):
    """The file is not complete or does not follow its format; the message names the reason."""


class RefusedError(Exception):
    """A file that is whole, and must not be read: what it does, and what to do about it."""


def require_whole(path: Path, reader: str) -> None:
    """Raise DamagedError for a file whose voxels are not all there and intact; reader: ITK's for its format.

    NaN and infinite values in a NIfTI, and a data file's name that would crash the library, raise
    RefusedError. What is odd but can be read passes.
    """
    try:
        _CHECKS[reader](path)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise DamagedError(str(error)) from error


def require_whole_dicom(path: Path) -> None:
    """Raise DamagedError for a DICOM file with fewer pixels than its header says.

    Compressed and colour images pass, and headers that only GDCM can read.
    """
    try:
        import pydicom

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values that do not matter here
            header = pydicom.dcmread(path, force=True, defer_size=CHUNK, specific_tags=[*DICOM_SIZE, PIXELS])
            pixels: Any = header.get_item(PIXELS)
            if header.file_meta.TransferSyntaxUID.is_compressed or header.SamplesPerPixel != 1:
                return
            bits = math.prod(int(header.get(name) or 1) for name in DICOM_SIZE)
            held = pixels.length if pixels.value is None else len(pixels.value)
    except Exception:  # GDCM decides what can be read
        return
    if held < bits // 8:
        raise DamagedError(f"{bits // 8} bytes of pixels expected, {held} found")


def _require_whole_nifti(path: Path) -> None:
    header = read_header(path)
    dimensions, *dims = header["dim"].tolist()
    if not 1 <= dimensions <= 7 or min(dims[:3]) < 1:
        raise DamagedError("the header's dimensions are impossible")
    used = [np.append(header["quatern"], header["qoffset"])] if header["qform_code"] > 0 else []
    used += [header["srow"]] if header["sform_code"] > 0 else []
    if used and not any(np.isfinite(form).all() for form in used):
        raise DamagedError("the header's matrix is not finite")

    code, offset = int(header["datatype"]), float(header["vox_offset"])
    if header["magic"] == b"n+1" and not offset >= header.nbytes:
        raise DamagedError("the header's offset is impossible")  # ITK would take the header for voxels
    order = header.dtype["vox_offset"].byteorder
    dtype = np.dtype(order + NIFTI_FLOATS[code]) if code in NIFTI_FLOATS else None
    shape = [max(count, 1) for count in dims[:dimensions]]  # ITK reads 0 time points as one
    missing = math.prod(shape) * NIFTI_BITS.get(code, int(header["bitpix"])) // 8
    rest, skip = b"", int(offset)
    for chunk in inflated(path):  # to the end: the checksum comes last
        rest, skip = rest + chunk[skip:], max(skip - len(chunk), 0)
        if dtype and missing > 0:
            count = min(len(rest), missing) // dtype.itemsize
            if not np.isfinite(np.frombuffer(rest, dtype, count)).all():
                raise RefusedError(
                    "contains values that are not finite numbers (NaN or infinite)",
                    "Replace them, for example by 0, and try again.",
                )
            missing, rest = missing - count * dtype.itemsize, rest[count * dtype.itemsize :]
        else:
            missing, rest = missing - len(rest), b""
    if missing > 0:
        raise DamagedError(f"{missing} bytes are missing")


def _require_whole_nrrd(path: Path) -> None:
    """Compressed data behind the header are intact; of other data teem checks the size."""
    with path.open("rb") as file:
        compressed = False
        while line := file.readline(CHUNK).strip():
            if line.lower().startswith((b"data file:", b"datafile:")):
                data = line.partition(b":")[2].strip()
                if re.search(rb"%\d*[du]", data) and not NRRD_PATTERN.fullmatch(data):
                    raise _refused_name(data.decode("utf-8", "replace"))
                return _require_file(path.parent / os.fsdecode(data))
            compressed = compressed or line.lower() in (b"encoding: gzip", b"encoding: gz")
        if compressed:
            _inflated_size(file)


def _require_whole_metaimage(path: Path) -> None:
    with path.open("rb") as file:
        header = _metaimage_header(file)
        shape = _metaimage_shape(header)
        data = header["elementdatafile"]
        if data.upper() == "LOCAL":
            _require_elements(file, header, shape)
            return
        if data.startswith("LIST"):
            names, inner = _listed(file, data, shape)
        elif "%" in data:
            names, inner = _numbered(data, shape[-1]), shape[:-1]
        else:
            names, inner = [data], shape
    for name in names:
        other = path.parent / name
        _require_file(other)
        with other.open("rb") as file:
            _require_elements(file, header, inner)


def _require_file(path: Path) -> None:
    """Data do not lie in a pipe or a device, which could be read for ever."""
    if path.exists() and not path.is_file():
        raise DamagedError("the data are not in a file")


def _numbered(data: str, count: int) -> list[str]:
    """Names of the files, one for each of `count` slices, that a name with a % stands for.

    MetaIO puts numbers into it as C's printf does, and divides by a step that may be 0: RefusedError for
    names with which that would end the process or give wrong slices.
    """
    found = METAIMAGE_PATTERN.fullmatch(data)
    if found is None:
        raise _refused_name(data)
    first = int(found["first"] or 1)
    last = int(found["last"] or first + count - 1)
    step = int(found["step"] or (last - first) // count if found["last"] else 1)
    if step == 0:
        raise _refused_name(data)
    numbers = range(first, last + 1, step)
    if len(numbers) < count:
        raise DamagedError(f"{len(numbers)} files for {count} slices")
    return [found["name"] % number for number in numbers[:count]]


def _refused_name(data: str) -> RefusedError:
    return RefusedError(
        f"names its data file '{data}', whose % is read as a number's place",
        "Rename the data file without %, also in the header.",
    )


def _listed(file: IO[bytes], data: str, shape: list[int]) -> tuple[list[str], list[int]]:
    """Names of the files behind "LIST" or "LIST <dimensions of a file>", and the shape of each.

    MetaIO takes fewer files without a word and leaves the other slices as the memory was.
    """
    dimensions = re.match(r"LIST\S*\s+(-?\d+)", data)
    inner = int(dimensions[1]) if dimensions else 0
    if inner < 0:
        raise DamagedError("the header's dimensions are impossible")
    if not 0 < inner <= len(shape):
        inner = len(shape) - 1
    count = math.prod(shape[inner:])
    names = [os.fsdecode(line.strip()) for line in islice(file, count)]
    if len(names) < count:
        raise DamagedError(f"{len(names)} files for {count} slices")
    return names, shape[:inner]


def _metaimage_header(file: IO[bytes]) -> dict[str, str]:
    """Keys (in lower case) and values up to ElementDataFile, after which the data may begin."""
    header: dict[str, str] = {}
    while "elementdatafile" not in header:
        line = file.readline(1 << 16)
        if not line:
            raise DamagedError("the header is not complete")
        key, separator, value = line.decode("utf-8", "surrogateescape").replace(":", "=", 1).partition("=")
        if separator:
            header[key.strip().lower()] = value.strip()
    for key in ("ndims", "dimsize", "elementtype"):
        if key not in header:
            raise DamagedError(f"the header has no {key}")
    return header


def _metaimage_shape(header: dict[str, str]) -> list[int]:
    """Elements along i, j, k, ...; MetaIO writes beyond its arrays where there are more than ten."""
    dimensions = int(header["ndims"])
    shape = [int(count) for count in header["dimsize"].split()][:dimensions]
    if not 1 <= dimensions <= METAIMAGE_DIMENSIONS or len(shape) < dimensions or min(shape) < 1:
        raise DamagedError("the header's dimensions are impossible")
    return shape


def _require_elements(file: IO[bytes], header: dict[str, str], shape: list[int]) -> None:
    """The rest of `file` holds all elements of this shape."""
    kind = header["elementtype"].upper().removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in METAIMAGE_TYPES:
        raise DamagedError("the header's type is impossible")
    if header.get("binarydata", "true")[:1] not in TRUE:
        return  # numbers as text
    start = int(header.get("headersize", "0"))
    if start > 0:
        if start < file.tell():
            raise DamagedError("the header would be taken for elements")
        file.seek(start)
    channels = int(header.get("elementnumberofchannels", "1"))
    expected = math.prod(shape) * channels * METAIMAGE_TYPES[kind]
    if header.get("compresseddata", "")[:1] in TRUE:
        size = int(header.get("compresseddatasize", "0"))
        if size <= 0 and file.tell():
            raise DamagedError(
                "the header has no size of the compressed data"
            )  # MetaIO would inflate it, too
        held = _inflated_size(file, size if size > 0 else None)
    else:
        held = os.fstat(file.fileno()).st_size - file.tell()
    if held < expected:
        raise DamagedError(f"{expected} bytes expected, {held} found")


def _inflated_size(file: IO[bytes], size: int | None = None) -> int:
    """Bytes that the next `size` ones, or all that follow, inflate to."""
    inflater, held, left = zlib.decompressobj(zlib.MAX_WBITS | 32), 0, size
    while not inflater.eof:
        chunk = file.read(CHUNK if left is None else min(CHUNK, left))
        if not chunk:
            raise DamagedError("the compressed data end early")
        left = None if left is None else left - len(chunk)
        held += len(inflater.decompress(chunk))
    return held


_CHECKS = {
    "NiftiImageIO": _require_whole_nifti,
    "NrrdImageIO": _require_whole_nrrd,
    "MetaImageIO": _require_whole_metaimage,
    "GDCMImageIO": require_whole_dicom,
}
