"""Where a NIfTI file says that it lies, when it says so twice or not at all.

The header holds two matrices, the qform and the sform, each with a code that is 0 where it is unused. After a
registration they differ, and programs choose differently: ITK, and so Slicer, mostly take the qform, nibabel,
FSL and nnU-Net the sform. Without codes ITK starts at 0, nibabel in the middle. Source: nifti1.h.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import tell_oddity

CHUNK = 1 << 16  # compressed, it may inflate to a thousand times its size
GZIP = b"\x1f\x8b"
ENDINGS = (".nii", ".nii.gz")

_FIELDS = {
    "sizeof_hdr": ("i4", 0), "dim": ("8i2", 40), "datatype": ("i2", 70), "bitpix": ("i2", 72),
    "pixdim": ("4f4", 76), "vox_offset": ("f4", 108), "xyzt_units": ("u1", 123), "qform_code": ("i2", 252),
    "sform_code": ("i2", 254), "quatern": ("3f4", 256), "qoffset": ("3f4", 268), "srow": ("(3,4)f4", 280),
    "magic": ("S3", 344),
}  # fmt: skip
"""Type and offset of what is used of a NIfTI-1 header."""

_KINDS, _OFFSETS = zip(*_FIELDS.values(), strict=True)
HEADER = np.dtype({"names": list(_FIELDS), "formats": _KINDS, "offsets": _OFFSETS, "itemsize": 348})
PLACING = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern", "qoffset", "srow")
"""Fields that say where a file lies."""

UNIT_OF_LENGTH = 0b111  # bits of the units
OTHER_UNITS = (1, 3)  # metres and micrometres; ITK heeds them, others may not

APART = 0.02  # voxels by which corners may differ between equal matrices; headers store float32


@dataclass(frozen=True, eq=False)
class Placement:
    """The position of a NIfTI file that programs read in several ways.

    ijk_to_ras: (4, 4), the way of ITK and Slicer; others: further (4, 4) that programs take.
    states: what is odd, in words. header: of the file.
    """

    ijk_to_ras: np.ndarray
    others: tuple[np.ndarray, ...]
    states: str
    header: np.void


def inflated(path: Path) -> Iterator[bytes]:
    """The content of a NIfTI file in chunks, inflated; many a .nii.gz is not compressed at all.

    Like ITK it ends where the compressed data do, with a warning if anything follows. Raises EOFError and
    zlib.error for damaged data.
    """
    with path.open("rb") as file:
        chunk = file.read(CHUNK)
        if not chunk.startswith(GZIP):
            while chunk:
                yield chunk
                chunk = file.read(CHUNK)
            return
        while chunk.startswith(GZIP):
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
            while not inflater.eof:
                if not chunk:
                    raise EOFError("the compressed data end early")
                yield inflater.decompress(chunk)
                chunk = inflater.unused_data or file.read(CHUNK)
        if chunk.strip(b"\0"):
            tell_oddity(f"'{path.name}' has something behind its compressed data, which was left out.")


def read_header(path: Path) -> np.void:
    """The fields of a NIfTI-1 header, in the file's byte order. Raises ValueError for any other file."""
    start = b""
    for chunk in inflated(path):
        start += chunk
        if len(start) >= HEADER.itemsize:
            break
    return np.frombuffer(start, _header_type(start), 1)[0]


def _header_type(start: bytes | bytearray) -> np.dtype:
    for kind in (HEADER.newbyteorder("<"), HEADER.newbyteorder(">")):
        if len(start) >= kind.itemsize and np.frombuffer(start, kind, 1)["sizeof_hdr"] == kind.itemsize:
            return kind
    raise ValueError("no NIfTI-1 header")


def read_placement(path: Path, ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> Placement | None:
    """The file's placement if it can be read in several ways; ijk_to_ras: ITK's; shape: (K, J, I)."""
    header = read_header(path)
    candidates = [_quaternion_matrix(header)] if header["qform_code"] > 0 else []
    if header["sform_code"] > 0:
        candidates.append(np.vstack([header["srow"].astype(float), (0.0, 0.0, 0.0, 1.0)]))
    if not candidates:
        candidates.append(_centred_matrix(header, shape))
    others = tuple(
        matrix
        for matrix in candidates
        if np.isfinite(matrix).all() and not same_place(matrix, ijk_to_ras, shape)
    )
    if not others:
        return None
    states = "two positions in space"
    if not header["qform_code"] and not header["sform_code"]:
        states = "no position in space"
    if int(header["xyzt_units"]) & UNIT_OF_LENGTH in OTHER_UNITS:
        states = "its position in another unit than mm"
    return Placement(ijk_to_ras, others, states, header)


def same_place(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether two voxel-to-world matrices put the corners of (K, J, I) voxels at the same points."""
    return corner_shift(one, other, shape) <= APART


def corner_shift(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance of corners in voxels of `other`; infinite for a matrix that is singular."""
    k, j, i = (count - 1 for count in shape)
    corners = np.array([(x, y, z, 1.0) for x in (0, i) for y in (0, j) for z in (0, k)]).T
    try:
        return float(np.abs(np.linalg.solve(other, one @ corners) - corners).max())
    except np.linalg.LinAlgError:
        return float("inf")


def restore_placement(path: Path, placement: Placement) -> None:
    """Write a placement's fields into the header of a whole NIfTI file."""
    content = bytearray().join(inflated(path))
    header = np.frombuffer(content, _header_type(content), 1)
    for field in PLACING:
        header[field] = placement.header[field]
    compressed = path.name.lower().endswith(".gz")
    path.write_bytes(gzip.compress(content, 6, mtime=0) if compressed else content)


def _quaternion_matrix(header: np.void) -> np.ndarray:
    """Matrix of the qform, by the rules of nifti1.h."""
    from scipy.spatial.transform import Rotation  # slow, and few files need it

    b, c, d = header["quatern"].astype(float)
    a = max(0.0, 1.0 - b * b - c * c - d * d) ** 0.5
    qfac, *sizes = header["pixdim"].astype(float)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([b, c, d, a]).as_matrix() * sizes
    matrix[:3, 2] *= -1.0 if qfac < 0 else 1.0
    matrix[:3, 3] = header["qoffset"]
    return matrix


def _centred_matrix(header: np.void, shape: tuple[int, ...]) -> np.ndarray:
    """What nibabel takes without codes: x runs to the left, the middle of the volume is at 0."""
    sizes = np.abs(header["pixdim"][1:].astype(float))
    step = np.where(sizes == 0, 1.0, sizes) * (-1.0, 1.0, 1.0)
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = -step * (np.array(shape[::-1]) - 1) / 2
    return matrix
