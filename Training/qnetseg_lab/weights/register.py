"""Shipped models in the manifest of the extension."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from qnetseg.atomic import replacing
from qnetseg.catalogue import KINDS, ModelEntry, read_catalogue, shipped_folder
from qnetseg.errors import WeightsError
from qnetseg.models import kind_of, sha256
from qnetseg.parsing import parse_json
from qnetseg.tensor_file import read_header


def register(path: str | os.PathLike[str]) -> ModelEntry:
    """Write size and SHA-256 of a file in `Resources/Models` into the manifest.

    An entry of that file keeps its other fields; a new one takes name and licence from the file, and the
    first of its kind becomes the default. Raises WeightsError and OutputError.
    """
    path = Path(path)
    if not path.is_file() or path.resolve().parent != shipped_folder().resolve():
        raise WeightsError(
            f"The file '{path}' is not one of the shipped models.", f"Put it into {shipped_folder()}."
        )
    catalogue = read_catalogue()
    known = {entry.file: entry for entry in catalogue.models}
    fresh = ModelEntry(path.stem, path.name, 0, "", _licence(path), "")
    entry = replace(
        known.get(path.name, fresh), size=path.stat().st_size, sha256=sha256(path), method=kind_of(path)
    )
    known[path.name] = entry
    first = {kind: entry.name if kind == entry.method else "" for kind in KINDS}
    content = {
        "defaults": {kind: catalogue.defaults.get(kind) or first[kind] for kind in KINDS},
        "models": [asdict(entry) for entry in known.values()],
    }
    with replacing(shipped_folder() / "manifest.json") as manifest:
        manifest.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return entry


def _licence(path: Path) -> str:
    """The licence of weights, as their file states it."""
    try:
        provenance = parse_json(read_header(path).metadata["provenance"])
        return str(provenance["licence"] or "unknown")
    except (KeyError, TypeError, ValueError):
        return "unknown"
