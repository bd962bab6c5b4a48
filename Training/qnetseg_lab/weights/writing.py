"""Weights files as the engine reads them, see `qnetseg.model.storage`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from qnetseg.atomic import replacing
from qnetseg.errors import WeightsError
from qnetseg.model import Network
from qnetseg.model.storage import SCALE
from qnetseg.tensor_file import MODEL_FORMAT, checksum

STORAGES = ("fp32", "bf16", "int8")


def save_model(path: str | Path, network: Network, provenance: dict[str, Any], storage: str = "bf16") -> None:
    """Write a weights file; the old one stays if that fails.

    path: file ending in .safetensors.
    network: model to write.
    provenance: JSON-able: data, recipe, revision, licence, scores.
    storage: "fp32"; "bf16" for matrices and kernels; or "int8" for these with a scale for each output
        channel, a quarter of fp32's size. Biases and thresholds stay fp32.
    Raises OutputError for a file that cannot be written, WeightsError for an unknown storage.
    """
    path = Path(path)
    if storage not in STORAGES:
        raise WeightsError(f"There is no storage {storage!r}.", f"Use one of {', '.join(STORAGES)}.")
    metadata = {
        "format": MODEL_FORMAT,
        "method": network.name,
        "config": json.dumps(network.config.to_dict(), sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True),
    }
    tensors: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            tensors.update(_pack(key, value.detach().cpu(), storage))
    metadata["sha256"] = checksum_of(tensors, metadata)
    with replacing(path) as part:
        part.write_bytes(save(tensors, metadata))


def checksum_of(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> str:
    """Checksum that a file of these contiguous tensors on the CPU gets, see `qnetseg.tensor_file`."""
    return checksum(
        metadata,
        (
            (key, str(value.dtype), tuple(value.shape), [value.reshape(-1).view(torch.uint8).numpy().data])
            for key, value in tensors.items()
        ),
    )


def _pack(key: str, value: Tensor, storage: str) -> dict[str, Tensor]:
    if storage == "fp32" or value.dim() < 2:  # small, and a threshold of 10 would be rounded to sixteenths
        return {key: value.float().contiguous()}
    if storage == "int8":
        scale = value.float().flatten(1).abs().amax(dim=1).clamp(min=1e-12) / 127
        levels = (value.float() / scale.reshape(-1, *[1] * (value.dim() - 1))).round()
        return {key: levels.to(torch.int8).contiguous(), key + SCALE: scale}
    return {key: value.to(torch.bfloat16).contiguous()}
