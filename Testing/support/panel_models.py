"""Weights files that are whole but hold no network, and a catalogue of them: for the panel alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

KINDS = ("propagation", "qnet")


def write_weights(path: Path, kind: str = "propagation") -> Path:
    """A safetensors file of the right form for a kind of network."""
    metadata = {
        "format": "qnetseg-1",
        "method": kind,
        "config": json.dumps({}),
        "provenance": json.dumps({"licence": "test licence"}),
    }
    save_file({"weights": np.arange(64, dtype=np.float32)}, path, metadata)
    return path


def entry_of(path: Path, kind: str = "propagation", **changes: Any) -> dict[str, Any]:
    """The catalogue's entry of a file."""
    entry = {
        "name": path.stem,
        "file": path.name,
        "size": path.stat().st_size,
        "licence": "test licence",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "description": "A test model.",
        "method": kind,
    }
    return {**entry, **changes}


def write_catalogue(resources: Path, entries: list[dict[str, Any]]) -> None:
    """`Models/manifest.json` below `resources`; `tiny` and `tiny-qnet` are the default models."""
    content = {"defaults": {"propagation": "tiny", "qnet": "tiny-qnet"}, "models": entries}
    (resources / "Models").mkdir(parents=True, exist_ok=True)
    (resources / "Models" / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


def two_models(resources: Path) -> Path:
    """A catalogue with both default models, shipped; the folder that they lie in."""
    folder = resources / "Models"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"propagation": folder / "tiny.safetensors", "qnet": folder / "tiny-qnet.safetensors"}
    write_catalogue(resources, [entry_of(write_weights(path, kind), kind) for kind, path in files.items()])
    return folder
