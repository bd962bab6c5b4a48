"""Weights files: `safetensors` with configuration and provenance in the metadata, never pickle.

The laboratory writes them, see `qnetseg_lab.weights.writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError
from ..parsing import parse_json, parsing
from ..tensor_file import MODEL_FORMAT, parsing_safetensors, read_header, require_checksum
from .base import Network
from .propagation import PropagationNet
from .qnet import QNet

SCALE = ".int8_scale"  # suffix of the companion tensor of a weight stored as int8

Kind = TypeVar("Kind", bound=Network)


@dataclass(frozen=True)
class Model(Generic[Kind]):
    """A network ready for use and what is known of it.

    network: in evaluation mode, on the CPU, float32.
    name: file name without its ending.
    provenance: recipe, steps and licence; from training also data and revision.
    """

    network: Kind
    name: str
    provenance: dict[str, Any]


def _unpack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for key, value in tensors.items():
        if key.endswith(SCALE):
            continue
        state[key] = value.float()
        if key + SCALE in tensors:
            state[key] *= tensors[key + SCALE].reshape(-1, *[1] * (value.dim() - 1))
    return state


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises `WeightsError` if it is missing or damaged."""
    metadata = read_header(path).metadata
    with parsing_safetensors(path):
        return load_file(path), metadata


def load_model(path: str | Path) -> Model[QNet]:
    """Read a weights file of Q-Net; `load_network` reads either network's.

    Raises WeightsError: missing, damaged, of another format or method, its tensors are not finite or do not
    fit its configuration.
    """
    return read_model(path, {QNet.name: QNet})


def load_propagation(path: str | Path) -> Model[PropagationNet]:
    """Read a weights file of the propagation network. Raises as `load_model`."""
    return read_model(path, {PropagationNet.name: PropagationNet})


def load_network(path: str | Path) -> Model[Network]:
    """Read a weights file of either network of the engine. Raises as `load_model`."""
    return read_model(path, {QNet.name: QNet, PropagationNet.name: PropagationNet})


def read_model(path: str | Path, methods: Mapping[str, type[Kind]]) -> Model[Kind]:
    """Read a weights file of one of the given methods, which are named as in `Network.name`.

    A file without an entry "method" is from before there were others, and Q-Net's. Raises as `load_model`.
    """
    path = Path(path)
    header = read_header(path)
    metadata = header.metadata
    if metadata.get("format") != MODEL_FORMAT:
        raise WeightsError(
            f"The file {path.name} is not a QNetSegment model.",
            "Convert other checkpoints with: qnetseg weights convert.",
        )
    require_checksum(path, header)
    method = metadata.get("method", QNet.name)
    if method not in methods:
        raise WeightsError(
            f"The file {path.name} holds weights of the method {method!r}, which cannot be used here.",
            f"Choose weights of {', '.join(known.title for known in methods.values())}.",
        )
    with parsing(
        path.name,
        WeightsError,
        f"The file {path.name} has no readable configuration.",
        "Get it again from its source.",
    ):
        config = methods[method].config_type.from_dict(parse_json(metadata["config"]))
        provenance = parse_json(metadata["provenance"])
        if not isinstance(provenance, dict):
            raise ValueError("a provenance without entries")
    shapes = {key: each.shape for key, each in header.tensors.items() if not key.endswith(SCALE)}
    with torch.device("meta"):  # without memory: a file may ask for a network of any size
        _require_fit(methods[method](config), shapes, path.name)
    network, tensors = methods[method](config), read_safetensors(path)[0]
    with parsing(
        path.name,
        WeightsError,
        f"The file {path.name} holds tensors that do not belong together.",
        "Get it again from its source.",
    ):
        state = _unpack(tensors)
        fill(network, state, path.name)
    wrong = sorted(key for key, value in state.items() if not bool(torch.isfinite(value).all()))
    if wrong:
        raise WeightsError(
            f"The file {path.name} holds numbers that are not finite, the first in {wrong[0]}.",
            "Its training went astray; use other weights.",
        )
    return Model(network.eval(), path.stem, provenance)


def fill(
    network: Network, state: dict[str, Tensor], source: str, name_in: Callable[[str], str] = str
) -> None:
    """Copy a state dict into the network; every tensor must be there, fit, and be wanted.

    network: changed in place.
    state: tensors by name.
    source: what messages call the state dict.
    name_in: name in `state` of a tensor of the network; the same by default.
    Raises WeightsError, which names the tensors that are missing, unexpected or of another shape.
    """
    own = _require_fit(network, {key: value.shape for key, value in state.items()}, source, name_in)
    network.load_state_dict({key: state[name] for key, name in own.items()}, strict=False)


def _require_fit(
    network: Network,
    shapes: Mapping[str, tuple[int, ...]],
    source: str,
    name_in: Callable[[str], str] = str,
) -> dict[str, str]:
    """Names of the network's tensors and of those in a state dict of these shapes; see `fill`."""
    own = {key: name_in(key) for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    wanted = {own[key]: tuple(value.shape) for key, value in network.state_dict().items() if key in own}
    wrong = {
        "missing": sorted(set(wanted) - set(shapes)),
        "unexpected": sorted(set(shapes) - set(wanted)),
        "of another shape": sorted(
            key for key in set(wanted) & set(shapes) if wanted[key] != tuple(shapes[key])
        ),
    }
    if any(wrong.values()):
        listed = "; ".join(
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in wrong.items()
            if keys
        )
        raise WeightsError(
            f"The tensors of {source} do not fit a {network.described}: {listed}.",
            "Use the configuration that it was trained with.",
        )
    return own
