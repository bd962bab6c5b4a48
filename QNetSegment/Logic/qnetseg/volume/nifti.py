"""Where a NIfTI file says that it lies, when it says so twice or not at all.

The header holds two matrices, the qform and the sform, each with a code that is 0 where it is unused. After a
registration they differ, and programs choose differently: ITK, and so Slicer, mostly take the qform, nibabel,
FSL and nnU-Net the sform. Without codes ITK starts at 0, nibabel in the middle. Source: nifti1.h.
"""

from __future__ import annotations

import gzip
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FileWarning

HEADER_BYTES = 348
CHUNK = 1 << 16  # compressed, it may inflate to a thousand times its size
GZIP = b"\x1f\x8b"
ENDINGS = (".nii", ".nii.gz")

# Offsets and formats: qfac and voxel sizes; units; codes of qform and sform; quaternion, offset and matrix.
SIZES, UNITS, CODES, FORMS = (76, "4f"), (123, "B"), (252, "2h"), (256, "18f")
FIELDS = (SIZES, UNITS, CODES, FORMS)

UNIT_OF_LENGTH = 0b111  # bits of the units
OTHER_UNITS = {1: 1000.0, 3: 0.001}  # metres and micrometres in mm; ITK heeds them, others may not

APART = 0.02  # voxels by which corners may differ between equal matrices; headers store float32


@dataclass(frozen=True, eq=False)
class Placement:
    """The position of a NIfTI file that programs read in several ways.

    ijk_to_ras: (4, 4), the way of ITK and Slicer; others: further (4, 4) that programs take.
    states: what is odd, in words. fields: the header's values of `FIELDS`.
    """

    ijk_to_ras: np.ndarray
    others: tuple[np.ndarray, ...]
    states: str
    fields: tuple[tuple[float, ...], ...]


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
            warnings.warn(
                f"'{path.name}' has something behind its compressed data, which was left out.",
                FileWarning,
                stacklevel=2,
            )


def read_header(path: Path) -> bytes:
    """The first bytes of a NIfTI file; fewer than `HEADER_BYTES` of a file that is cut."""
    header = b""
    for chunk in inflated(path):
        header += chunk
        if len(header) >= HEADER_BYTES:
            break
    return header[:HEADER_BYTES]


def byte_order(header: bytes) -> str | None:
    """Byte order of a NIfTI-1 header, "<" or ">"; None for anything else."""
    return next((o for o in "<>" if struct.unpack_from(o + "i", header)[0] == HEADER_BYTES), None)


def read_placement(path: Path, ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> Placement | None:
    """The file's placement if it can be read in several ways; ijk_to_ras: ITK's; shape: (K, J, I)."""
    header = read_header(path)
    order = byte_order(header)
    if order is None:
        return None
    fields = tuple(struct.unpack_from(order + layout, header, offset) for offset, layout in FIELDS)
    sizes, (units,), codes, forms = fields
    candidates = [_quaternion_matrix(sizes, forms)] if codes[0] > 0 else []
    if codes[1] > 0:
        candidates.append(np.vstack([np.reshape(forms[6:], (3, 4)), (0.0, 0.0, 0.0, 1.0)]))
    if not candidates:
        candidates.append(_centred_matrix(sizes, shape))
    others = tuple(
        matrix
        for matrix in candidates
        if np.isfinite(matrix).all() and not same_place(matrix, ijk_to_ras, shape)
    )
    if not others:
        return None
    states = "two positions in space" if any(codes) else "no position in space"
    if units & UNIT_OF_LENGTH in OTHER_UNITS:
        states = "its position in another unit than mm"
    return Placement(ijk_to_ras, others, states, fields)


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
    whole = b"".join(inflated(path))
    order, content = byte_order(whole), bytearray(whole)
    for (offset, layout), values in zip(FIELDS, placement.fields, strict=True):
        struct.pack_into(f"{order}{layout}", content, offset, *values)
    compressed = path.name.lower().endswith(".gz")
    path.write_bytes(gzip.compress(content, 6, mtime=0) if compressed else content)


def _quaternion_matrix(sizes: tuple[float, ...], forms: tuple[float, ...]) -> np.ndarray:
    """Matrix of the qform, by the rules of nifti1.h."""
    b, c, d = forms[:3]
    a = max(0.0, 1.0 - b * b - c * c - d * d) ** 0.5
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * (sizes[1], sizes[2], sizes[3] * (-1.0 if sizes[0] < 0 else 1.0))
    matrix[:3, 3] = forms[3:6]
    return matrix


def _centred_matrix(sizes: tuple[float, ...], shape: tuple[int, ...]) -> np.ndarray:
    """What nibabel takes without codes: x runs to the left, the middle of the volume is at 0."""
    step = np.array([-1.0, 1.0, 1.0]) * [abs(mm) or 1.0 for mm in sizes[1:]]
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = -step * (np.array(shape[::-1]) - 1) / 2
    return matrix
