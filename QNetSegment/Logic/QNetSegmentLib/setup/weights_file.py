"""Whether a weights file is whole, found out without torch, so that a wrong file is refused at once."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

from qnetseg.errors import WeightsError, why

FORMAT = "qnetseg-1"
BLOCK = 1 << 20
TORCH_TYPES = {  # what a model can be stored in, as safetensors and as torch call it
    "BF16": ("torch.bfloat16", 2),
    "F32": ("torch.float32", 4),
    "I8": ("torch.int8", 1),
}


def check_weights_file(path: str | os.PathLike[str]) -> Path:
    """The path, if the file is a QNetSegment model and its content matches its own checksum.

    A file of the catalogue, wherever it lies, must also have the catalogue's checksum. Raises WeightsError.
    """
    from qnetseg.models import kind_of, read_catalogue, read_metadata, resolve_model, verify

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file '{path}'.", "Choose another file.")
    if read_metadata(path).get("format") != FORMAT:
        raise WeightsError(
            f"The file '{path.name}' is not a QNetSegment model.", "Choose a model that QNetSegment wrote."
        )
    for entry in read_catalogue().models:
        if entry.file == path.name:
            verify(path, entry)
    _require_own_checksum(path)
    kind_of(path)  # refuses weights of a baseline
    return resolve_model(path)


def _require_own_checksum(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            metadata = header.pop("__metadata__")
            whole = "sha256" not in metadata or metadata["sha256"] == _digest(file, header, metadata)
    except OSError as error:
        raise WeightsError(f"The weights file '{path}' cannot be read: {why(error)}.") from error
    except (ValueError, TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise WeightsError(
            f"The weights file '{path.name}' is damaged: its content does not match its checksum.",
            "Get it again from its source.",
        )


def _digest(file: BinaryIO, tensors: dict[str, Any], metadata: dict[str, str]) -> str:
    """The checksum that `qnetseg.model` writes: method, configuration, provenance and tensors."""
    start = file.tell()
    described = metadata.get("method", "") + metadata["config"] + metadata["provenance"]
    digest = hashlib.sha256(described.encode())
    for key, tensor in sorted(tensors.items()):
        kind, item = TORCH_TYPES[tensor["dtype"]]
        shape = tuple(tensor["shape"])
        begin, end = tensor["data_offsets"]
        if end - begin != item * math.prod(shape):
            raise ValueError("a tensor of another size than its shape")
        digest.update(f"{key} {kind} {shape}".encode())
        file.seek(start + begin)
        _add(digest, file, end - begin)
    return digest.hexdigest()


def _add(digest: Any, file: BinaryIO, count: int) -> None:
    while count:
        block = file.read(min(BLOCK, count))
        if not block:
            raise ValueError("the file ends too early")
        digest.update(block)
        count -= len(block)
