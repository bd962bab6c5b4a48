"""The catalogue of weights: which models there are, and the folders in which their files lie.

Shipped models lie in the extension's `Resources/Models` beside `manifest.json`, downloaded ones in the
user's data folder. Two environment variables override the places: `QNETSEG_RESOURCES`, the folder that
holds `Models/manifest.json`, and `QNETSEG_MODELS`, the folder for downloads.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .parsing import number, parse_json, parsing, read_text, short_text, whole

PROPAGATION, QNET = "propagation", "qnet"
TITLES = {PROPAGATION: "propagation network", QNET: "Q-Net"}
"""What weights are for: as files say it in their entry "method", and as people do."""
KINDS = tuple(TITLES)


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalogue.

    name: what `--model` takes.
    file: bare file name.
    size: bytes.
    sha256: hexadecimal digest of the file.
    licence: of the weights.
    description: one sentence.
    url: where it can be downloaded; empty for a shipped model.
    seconds: measured time of a 36-slice 256 x 256 volume on two cores; None if not measured.
    method: one of KINDS.
    """

    name: str
    file: str
    size: int
    sha256: str
    licence: str
    description: str
    url: str = ""
    seconds: float | None = None
    method: str = QNET


@dataclass(frozen=True)
class Catalogue:
    """Content of `manifest.json`: all entries, and the names of the default models by what they are for."""

    defaults: dict[str, str]
    models: tuple[ModelEntry, ...]

    def entry(self, name: str) -> ModelEntry:
        """The entry of this name. Raises WeightsError."""
        for entry in self.models:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.models) or "none"
        raise WeightsError(f"There is no model '{name}' in the catalogue.", f"Known are: {known}.")


def shipped_folder() -> Path:
    """`Resources/Models` of the extension, from which nothing is ever deleted or downloaded to.

    A wheel holds the same folder as `qnetseg/shipped`.
    """
    if resources := os.environ.get("QNETSEG_RESOURCES"):
        return Path(resources) / "Models"
    package = Path(__file__).resolve().parent
    in_wheel = package / "shipped"
    return in_wheel if in_wheel.is_dir() else package.parents[1] / "Resources" / "Models"


def data_folder() -> Path:
    """The user's folder for downloaded models, which may not exist yet."""
    if folder := os.environ.get("QNETSEG_MODELS"):
        return Path(folder)
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry of the user: the root, as in containers
        home = Path(Path.cwd().anchor)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "QNetSegment" / "Models"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "QNetSegment" / "Models"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "qnetseg" / "models"


def read_catalogue() -> Catalogue:
    """Read the manifest; without one the catalogue is empty. Raises WeightsError for a damaged one."""
    path = shipped_folder() / "manifest.json"
    if not path.is_file():
        return Catalogue({}, ())
    with parsing(
        path.name,
        WeightsError,
        f"The catalogue of weights '{path}' cannot be read: it is damaged.",
        "Install QNetSegment again.",
    ):
        content = parse_json(read_text(path))
        entries = tuple(_entry(entry) for entry in content["models"])
        defaults = {kind: short_text(content["defaults"][kind]) for kind in KINDS}
    return Catalogue(defaults, entries)


def _entry(values: dict[str, Any]) -> ModelEntry:
    """An entry of the manifest. Raises ValueError or TypeError for an impossible one."""
    entry = ModelEntry(**values)
    for each in fields(entry):
        if each.name not in ("size", "seconds"):
            short_text(getattr(entry, each.name))
    whole(entry.size, 0, 1 << 50)
    if entry.seconds is not None:
        number(entry.seconds, 0, 1e6)
    if Path(entry.file).name != entry.file or not entry.file:
        raise WeightsError(f"The catalogue of weights names '{entry.file}', a file name with a folder.")
    return entry
