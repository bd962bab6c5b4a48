"""The files of weights: found by name, compared with the catalogue, loaded, downloaded, removed.

Files that are on the machine need no internet, and any weights file can be named by its path instead.
Imports no torch.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .atomic import replacing
from .catalogue import (
    KINDS,
    PROPAGATION,
    QNET,
    TITLES,
    ModelEntry,
    data_folder,
    read_catalogue,
    shipped_folder,
)
from .errors import InputError, OutputError, WeightsError, why
from .tensor_file import read_header

if TYPE_CHECKING:
    from .model import Networks

BLOCK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte until a download is given up

SHIPPED, DOWNLOADED, AVAILABLE, MISSING = "shipped", "downloaded", "available", "missing"

_verified: set[tuple[Path, int, int, str]] = set()  # path, mtime, size and hash of files that were whole


def find(entry: ModelEntry) -> Path | None:
    """The file of an entry, shipped or downloaded; None if it is not on this machine."""
    for folder in (shipped_folder(), data_folder()):
        if (folder / entry.file).is_file():
            return folder / entry.file
    return None


def state(entry: ModelEntry) -> str:
    """ "shipped", "downloaded", "available" for download, or "missing"."""
    path = find(entry)
    if path is not None:
        return SHIPPED if path.parent == shipped_folder() else DOWNLOADED
    return AVAILABLE if entry.url else MISSING


def resolve_model(name_or_file: str | os.PathLike[str] | None = None, kind: str = PROPAGATION) -> Path:
    """The weights file of a catalogue name, of a path, or (None) of the default model of a kind.

    Files of the catalogue are compared with its SHA-256, once as long as they do not change; of any other
    file only the form is checked here, its content when the model is loaded.
    Raises WeightsError: no such model, not downloaded, damaged, or not a safetensors file.
    """
    catalogue = read_catalogue()
    wanted = catalogue.defaults.get(kind, "") if name_or_file is None else os.fspath(name_or_file)
    if not wanted:
        raise WeightsError(
            "There is no default model, because QNetSegment's resources were not found.",
            "Set QNETSEG_RESOURCES to their folder, or name a weights file.",
        )
    for entry in catalogue.models:
        path = find(entry)
        if entry.name == wanted:
            if path is None:
                advice = f"Download it with: qnetseg weights download {wanted}." if entry.url else ""
                raise WeightsError(
                    f"The model '{wanted}' is not on this machine.", advice or "Name a weights file instead."
                )
            return verify(path, entry)
        if path is not None and Path(wanted).is_file() and path.samefile(wanted):
            return verify(path, entry)
    if not Path(wanted).is_file():
        raise WeightsError(
            f"There is no model '{wanted}': it is neither a file nor a name of the catalogue.",
            "List the names with: qnetseg weights list.",
        )
    read_header(wanted)
    return Path(wanted)


def load_networks(name_or_file: str | os.PathLike[str] | None = None) -> Networks:
    """The engine's networks: a model of choice and the default one of the other kind; None for defaults.

    Files are read when a network is first needed. Raises WeightsError as `resolve_model` does, for the model
    of choice at once.
    """
    from .model import Networks

    chosen = _of_choice(name_or_file)
    return Networks(**{kind: chosen.get(kind) or partial(resolve_model, kind=kind) for kind in KINDS})


def weights_for(kinds: Sequence[str], name_or_file: str | os.PathLike[str] | None = None) -> list[Path]:
    """Files of the kinds of networks that are asked for: the default ones, but for a model of choice.

    Raises WeightsError as `resolve_model` does, and InputError for a model of another kind than those.
    """
    found = _of_choice(name_or_file)
    if other := set(found) - set(kinds):
        raise InputError(
            f"The model '{name_or_file}' is a {TITLES[other.pop()]}, and none is asked for here.",
            f"Choose a {' or a '.join(TITLES[kind] for kind in kinds)}.",
        )
    return [found.get(kind) or resolve_model(None, kind) for kind in kinds]


def _of_choice(name_or_file: str | os.PathLike[str] | None) -> dict[str, Path]:
    """The file of a model of choice by its kind; empty where none is chosen."""
    if name_or_file is None:
        return {}
    path = resolve_model(name_or_file)
    return {kind_of(path): path}


def kind_of(path: str | os.PathLike[str]) -> str:
    """What a weights file is for, one of KINDS. Raises WeightsError for weights of a baseline."""
    kind = read_header(path).metadata.get("method", QNET)
    if kind not in KINDS:
        raise WeightsError(
            f"The file '{Path(path).name}' holds weights of the method {kind!r}, which segments no volumes.",
            f"Choose a {' or a '.join(TITLES.values())}.",
        )
    return kind


def verify(path: Path, entry: ModelEntry) -> Path:
    """The path, if the file is the entry's; hashed again only when it has changed. Raises WeightsError."""
    try:
        stat = path.stat()
        key = (path.resolve(), stat.st_mtime_ns, stat.st_size, entry.sha256)
        if key in _verified:
            return path
        digest = sha256(path) if stat.st_size == entry.size else ""
    except OSError as error:
        raise WeightsError(f"The weights file '{path}' cannot be read: {why(error)}.") from error
    if digest != entry.sha256:
        found = f"it has {stat.st_size} bytes, not {entry.size}"
        if digest:
            found = f"its SHA-256 is {digest[:12]}..., not {entry.sha256[:12]}..."
        raise WeightsError(
            f"The weights file '{path}' is damaged or was replaced: {found}.", "Get it again from its source."
        )
    _verified.add(key)
    return path


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digests(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of weights files by their names. Raises WeightsError."""
    try:
        return {path.stem: sha256(path) for path in files}
    except OSError as error:
        raise WeightsError(f"The weights file cannot be read: {why(error)}.") from error


def download(entry: ModelEntry, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a model into the user's data folder, unless it is on this machine already.

    progress: called as progress(done, total) in bytes. The file appears under its name only when its size
    and hash are right. Raises WeightsError, and OutputError when it cannot be written.
    """
    if (present := find(entry)) is not None:
        return verify(present, entry)
    if not entry.url:
        raise WeightsError(f"The model '{entry.name}' cannot be downloaded: the catalogue names no address.")
    target = data_folder() / entry.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The model '{entry.name}' could not be saved in '{target.parent}': {why(error)}.",
            "Set QNETSEG_MODELS to another folder.",
        ) from error
    digest, done = hashlib.sha256(), 0
    with replacing(target) as part, part.open("wb") as file:
        for block in _blocks(entry):
            done += len(block)
            if done > entry.size:
                break
            digest.update(block)
            file.write(block)
            if progress is not None:
                progress(done, entry.size)
        found = f"brought {'fewer' if done < entry.size else 'more'} than the {entry.size} bytes expected"
        if done == entry.size:
            found = "is not the file of the catalogue (wrong SHA-256)"
        if done != entry.size or digest.hexdigest() != entry.sha256:
            raise WeightsError(f"The download of '{entry.name}' {found}.", "Try again later.")
    return target


def _blocks(entry: ModelEntry) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(entry.url, timeout=TIMEOUT) as answer:
            while block := answer.read(BLOCK):
                yield block
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"The model '{entry.name}' could not be downloaded ({reason}).",
            "Download its file on another machine and name it with --model.",
        ) from error


def remove(name: str) -> Path:
    """Delete a downloaded model; the path that it had. Raises WeightsError; shipped files are kept."""
    entry = read_catalogue().entry(name)
    path = data_folder() / entry.file
    if not path.is_file():
        reason = "it ships with QNetSegment" if state(entry) == SHIPPED else "it is not on this machine"
        raise WeightsError(
            f"The model '{name}' was not removed: {reason}.", "Only downloaded models can be removed."
        )
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"The model '{name}' could not be removed: {why(error)}.") from error
    return path
