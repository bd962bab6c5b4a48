"""Safetensors files, checked without torch: header, sizes and checksum.

The engine and Slicer's panel both stand on this, so that a file is whole for both or for none.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import WeightsError
from .parsing import parse_json, parsing, whole

MODEL_FORMAT = "qnetseg-1"  # entry "format" in the metadata of our weights files
HEADER_LIMIT = 8 << 20  # bytes; a ResNet-152 and its checkpoint need a twentieth
MOST_AXES = 8
BLOCK = 1 << 20
_LENGTH = 8  # bytes of the number before the header
_DESCRIBED = ("method", "config", "provenance")  # entries of the metadata that the checksum covers

TYPES = {
    "BOOL": ("torch.bool", 1), "U8": ("torch.uint8", 1), "I8": ("torch.int8", 1), "I16": ("torch.int16", 2),
    "I32": ("torch.int32", 4), "I64": ("torch.int64", 8), "F16": ("torch.float16", 2),
    "BF16": ("torch.bfloat16", 2), "F32": ("torch.float32", 4), "F64": ("torch.float64", 8),
}  # fmt: skip
"""Names in the file, names that torch has for them, bytes of a number."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: type as torch names it, shape, first byte and the one after the last."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says of itself: texts, and where its tensors lie."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]


def parsing_safetensors(path: Path) -> AbstractContextManager[None]:
    """`parsing` of a file that ought to be safetensors."""
    return parsing(
        path.name,
        WeightsError,
        f"The file {path.name} is not a safetensors file or is damaged.",
        "Get it again from its source; pickle files are never opened.",
    )


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of a safetensors file, whose tensors fill the rest of the file without gaps.

    Raises WeightsError for anything else, such as a pickle or a file that was cut off.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"The weights file {path} does not exist.", "Check the path.")
    with parsing_safetensors(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > min(HEADER_LIMIT, size - _LENGTH):
            raise ValueError("no header")
        content = parse_json(file.read(length))
        metadata = content.pop("__metadata__", None) or {}
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise ValueError("metadata that are no texts")
        start = _LENGTH + length
        tensors = {key: _stored(entry, start, size) for key, entry in content.items()}
        _require_no_gaps(tensors.values(), start, size)
    return Header(metadata, tensors)


def _stored(entry: dict[str, Any], start: int, size: int) -> StoredTensor:
    kind, item = TYPES[entry["dtype"]]
    begin, end = (start + whole(place, 0, size) for place in entry["data_offsets"])
    if len(entry["shape"]) > MOST_AXES:
        raise ValueError("a tensor of too many axes")
    shape = tuple(whole(count, 0, size) for count in entry["shape"])
    if end - begin != item * math.prod(shape):
        raise ValueError("a tensor of another size than its shape")
    return StoredTensor(kind, shape, begin, end)


def _require_no_gaps(tensors: Iterable[StoredTensor], start: int, size: int) -> None:
    for begin, end in sorted((tensor.begin, tensor.end) for tensor in tensors):
        if begin != start:
            raise ValueError("tensors that overlap or leave gaps")
        start = end
    if start != size:
        raise ValueError("a file of another length")


def require_checksum(path: str | os.PathLike[str], header: Header, needed: bool = False) -> None:
    """Raise WeightsError where the content of a file does not match the checksum in its metadata.

    needed: also where there is no checksum, which files from before checksums lack.
    """
    path = Path(path)
    if not needed and "sha256" not in header.metadata:
        return
    advice = "Get it again from its source."
    damaged = parsing(path.name, WeightsError, f"The file {path.name} is damaged.", advice)
    with damaged, path.open("rb") as file:
        tensors = ((key, each.kind, each.shape, _blocks(file, each)) for key, each in header.tensors.items())
        found = checksum(header.metadata, tensors)
    if header.metadata.get("sha256") != found:
        raise WeightsError(
            f"The file {path.name} is damaged: its content does not match its checksum.", advice
        )


def checksum(
    metadata: dict[str, str], tensors: Iterable[tuple[str, str, tuple[int, ...], Iterable[Any]]]
) -> str:
    """SHA-256 over what metadata describe and all tensors; safetensors checks only the form of its header.

    tensors: name, type as torch names it, shape, and the values as pieces of bytes.
    """
    digest = hashlib.sha256("".join(metadata.get(entry, "") for entry in _DESCRIBED).encode())
    for key, kind, shape, pieces in sorted(tensors, key=lambda tensor: tensor[0]):
        digest.update(f"{key} {kind} {shape}".encode())
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def _blocks(file: BinaryIO, tensor: StoredTensor) -> Iterator[bytes]:
    file.seek(tensor.begin)
    left = tensor.end - tensor.begin
    while left:
        block = file.read(min(BLOCK, left))
        if not block:
            raise ValueError("the file ends too early")
        left -= len(block)
        yield block
