"""Checkpoints of a training run: the newest and the one before it, with checksums and without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from qnetseg.errors import OutputError, WeightsError
from qnetseg.model.storage import read_safetensors
from qnetseg.parsing import parse_json, parsing
from qnetseg.tensor_file import read_header, require_checksum

from ..weights.writing import checksum_of

NEWEST, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
_FORMAT = "qnetseg-checkpoint-1"
_OLDER = "checkpoint.pt"  # a pickle, as versions before 0.2 wrote them


class Checkpoints:
    """The checkpoints in the folder of a run.

    A state is a dictionary of dictionaries, lists, tuples, numbers, texts and tensors; it comes back the same
    to the bit, and tensors lie in memory as before, which decides the order of sums.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.newest, self.previous = folder / NEWEST, folder / PREVIOUS
        self._newest_is_whole = True

    def read(self, report: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest state; where it is missing or damaged the one before it, and a line to `report`.

        None where there is none. Raises `WeightsError` where none is whole.
        """
        if not self.newest.is_file() and not self.previous.is_file():
            if (self.folder / _OLDER).is_file():
                raise WeightsError(
                    f"The checkpoint {self.folder / _OLDER} is a pickle of an older version and is not read.",
                    "Finish that run with the older version, or choose another output folder.",
                )
            return None
        try:
            return load(self.newest)
        except WeightsError as error:
            self._newest_is_whole = False
            if not self.previous.is_file():
                raise
            state = load(self.previous)
            report(f"{error.message} The checkpoint before it is used.")
            return state

    def remove(self) -> None:
        """Remove both."""
        for path in (self.newest, self.previous):
            path.unlink(missing_ok=True)

    def write(self, state: dict[str, Any]) -> None:
        """Make this the newest state. Raises `OutputError`; the newest one before is still there then.

        The name of the unfinished file is fixed, so that a run that is killed often leaves one at most.
        """
        part = self.folder / (NEWEST + ".part")
        try:
            save(state, part)
            if self._newest_is_whole and self.newest.is_file():
                os.replace(self.newest, self.previous)
            os.replace(part, self.newest)
            self._newest_is_whole = True
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"The checkpoint {self.newest} cannot be written.",
                "Free some space and start again; it goes on from the last one.",
            ) from error
        finally:
            part.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint. Raises `WeightsError` for a file that is missing, damaged or another one."""
    with parsing(path.name, WeightsError, f"The checkpoint {path} is damaged.", "Delete it to start again."):
        header = read_header(path)
        if header.metadata.get("format") != _FORMAT:
            raise WeightsError(f"The file {path} is not a checkpoint.", "Choose another output folder.")
        require_checksum(path, header, needed=True)
        return dict(_unpacked(parse_json(header.metadata["config"]), read_safetensors(path)[0]))


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state to a file. Raises OSError and SafetensorError."""
    tensors: dict[str, Tensor] = {}
    metadata = {"format": _FORMAT, "config": json.dumps(_packed(state, "", tensors))}
    metadata["sha256"] = checksum_of(tensors, metadata)
    save_file(tensors, path, metadata)


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of a state, whose tensors are put aside; JSON itself knows no tuples and no keys but text."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name, "stride": list(value.stride())}
    if isinstance(value, dict):
        pairs = [[key, _packed(part, f"{name}.{key}".lstrip("."), tensors)] for key, part in value.items()]
        return {"dict": pairs}
    if isinstance(value, list | tuple):
        parts = [_packed(part, f"{name}.{number}", tensors) for number, part in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": parts}
    return value


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Inverse of `_packed`. Raises what Python raises for content of another kind."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return _laid_out(tensors[value["tensor"]], value["stride"])
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: _unpacked(part, tensors) for key, part in content}
    parts = [_unpacked(part, tensors) for part in content]
    return {"list": list, "tuple": tuple}[kind](parts)


def _laid_out(stored: Tensor, stride: list[int]) -> Tensor:
    """A copy with this order in memory, such as that of channels last; the file itself is only mapped."""
    last = sum((count - 1) * step for count, step in zip(stored.shape, stride, strict=True))
    if min(stride, default=0) < 0 or (stored.numel() and last != stored.numel() - 1):
        raise ValueError("values that overlap or leave gaps")
    return torch.empty_strided(stored.shape, stride, dtype=stored.dtype).copy_(stored)
