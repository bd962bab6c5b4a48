"""Result files: one JSON a run, with everything needed to repeat and to compare it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from qnetseg.atomic import replacing
from qnetseg.errors import OutputError, why
from qnetseg.model import Model
from qnetseg.models import sha256
from qnetseg.parsing import parse_json

from ..data import CATALOGUE, dataset
from ..provenance import lineage, processor, revision

Entry = TypeVar("Entry")  # a row, JSON-able


def describe_run(weights: Path | None, device: str, seed: int = 0) -> dict[str, Any]:
    """What every result file says about where its figures come from."""
    return {
        "weights_sha256": sha256(weights) if weights else None,
        "revision": revision(),
        "device": device,
        "seed": seed,
        "torch": torch.__version__,
        "machine": describe_machine(),
    }


def describe_machine() -> dict[str, Any]:
    """Processor, cores and GPU, without anything that names the host."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def training_sources(name: str, model: Model[Any]) -> list[dict[str, Any]]:
    """What the weights say of their training on a data set, and that of their starts; empty if nothing."""
    recipes = [recipe for recipe in lineage(model.provenance) if recipe]
    sources = [source for recipe in recipes for source in recipe.get("data", [])]
    sources += [{"name": volumes} for recipe in recipes for volumes in recipe.get("volumes", [])]
    return [source for source in sources if _same(source["name"], name)]


def _same(one: str, other: str) -> bool:
    """Whether two names are one data set: the catalogue's by name, prepared folders by where they are."""
    return one == other or (
        not {one, other} & set(CATALOGUE) and Path(one).resolve() == Path(other).resolve()
    )


def has_seen(name: str, cases: Collection[str], model: Model[Any]) -> bool | None:
    """Whether one of a data set's cases was a training case; None if the weights do not say what was."""
    for source in training_sources(name, model):
        held_out = source.get("fold", -1)
        scheme = source.get("scheme", "released")
        left_out = dataset(name).fold(held_out, scheme) if held_out >= 0 else []
        if not set(cases) <= set(left_out):
            return True
    return None if None in lineage(model.provenance) else False


def recorded_recipe(model: Model[Any]) -> dict[str, Any] | None:
    """The recipe in the weights, files and folders named without where they lie; None if there is none."""
    recipe = model.provenance.get("recipe")
    return without_folders(recipe) if recipe else None


def without_folders(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose files and folders are named without where they lie."""
    start = recipe.get("start", "")
    if not start.startswith("torchvision:") and Path(start).suffix:
        start = run_name(Path(start))
    data = [{**source, "name": Path(source["name"]).name} for source in recipe.get("data", [])]
    return {**recipe, "start": start, "data": data}


def run_name(weights: Path) -> str:
    """Name of a model in result files: its run's folder where training named the file, else the file's."""
    return weights.resolve().parent.name if weights.stem == "model" else weights.stem


def write_json(path: str | Path, content: dict[str, Any]) -> Path:
    """Write a result file whole or not at all. Raises `OutputError`."""
    return write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole or not at all. Raises `OutputError`."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The result file {path} cannot be written ({why(error)}).",
            "Choose another folder or free some space.",
        ) from error
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


class RowLog(Generic[Entry]):
    """Finished rows of a run, one JSON a line in a file beside its output, so that a killed run goes on.

    The first line says what the run is; rows of another run are dropped, and so is a line cut off.

    Attributes:
        path: the file; None where none is kept.
    """

    def __init__(self, output: str | Path | None, identity: dict[str, Any]) -> None:
        """identity: JSON-able; what must be the same for rows to be taken over. output None keeps no file."""
        self.path = None if output is None else Path(output).with_suffix(".part.jsonl")
        self._rows: dict[str, Entry] = {}
        first = json.dumps(identity, sort_keys=True)
        if self.path is not None:
            lines = self._lines(self.path)
            if lines and lines[0] == first:
                for line in lines[1:]:
                    try:
                        entry = parse_json(line)
                        self._rows[entry["key"]] = entry["row"]
                    except (ValueError, KeyError, TypeError):
                        continue  # damaged by a crash of the machine: scored again
            # Written anew without what was cut off.
            kept = [json.dumps({"key": key, "row": row}) for key, row in self._rows.items()]
            write_text(self.path, "".join(line + "\n" for line in (first, *kept)))

    @staticmethod
    def _lines(path: Path) -> list[str]:
        try:
            text = path.read_bytes().decode("utf-8", errors="replace")
        except OSError:
            return []
        return [line for line in text.split("\n")[:-1] if line]  # what follows the last newline was cut off

    def get(self, key: Mapping[str, object]) -> Entry | None:
        """The row of this key, or None."""
        return self._rows.get(json.dumps(key, sort_keys=True))

    def add(self, key: Mapping[str, object], row: Entry) -> None:
        """Keep a row. Raises `OutputError`."""
        name = json.dumps(key, sort_keys=True)
        self._rows[name] = row
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": name, "row": row}) + "\n")
        except OSError as error:
            raise OutputError(
                f"The rows of an unfinished run cannot be kept in {self.path} ({why(error)}).",
                "Choose another folder or free some space.",
            ) from error

    def remove(self) -> None:
        """The run is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
