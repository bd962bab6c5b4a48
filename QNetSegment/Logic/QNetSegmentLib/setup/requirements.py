"""What a segmentation needs, each with its state: one line of the panel's Setup section.

Nothing here imports torch: it would lock its libraries and keep GPU memory in Slicer's process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from slicer.i18n import tr as _

from qnetseg import models
from qnetseg.errors import QNetSegmentError, WeightsError, why

from .. import compat

EXTENSION = "PyTorch"  # of Slicer, which finds the build that fits the graphics driver
NEEDED = {"torch": "2.1", "torchvision": "0.16"}
"""Packages and the oldest version of each that works; the newest that exists for some Macs is torch 2.2."""

TORCH, PACKAGES, WEIGHTS, QNET_WEIGHTS, DEVICE = "torch", "packages", "weights", "qnetWeights", "device"


class State(Enum):
    """What is known of a requirement."""

    OK = "ok"
    MISSING = "missing"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Requirement:
    """One line of the Setup section."""

    key: str  # one of those above
    title: str
    state: State  # UNKNOWN only for the device, before the worker has been started
    detail: str  # versions, or the exact error, or what is missing
    action: str = ""  # text of the button that helps; empty when there is nothing to do
    note: str = ""  # what the user should know before the action
    model: str = ""  # name of the model that the action downloads


def check(
    model: str | None = None,
    worker_device: str | None = None,
    worker_error: QNetSegmentError | str | None = None,
) -> list[Requirement]:
    """All requirements in the order in which they are met.

    model: name of the catalogue or path, of either kind; None for the default ones.
    worker_device: what the worker computes on, once it has said so.
    worker_error: why the worker could not be started, or could not use its device.
    """
    sentence = "" if worker_error is None else str(worker_error)
    torch = _torch(sentence)
    return [torch, _packages(), *_all_weights(model), _device(worker_device, sentence, torch)]


def missing(requirements: Iterable[Requirement]) -> bool:
    """Whether something has to be done before a segmentation can start."""
    return any(one.state in (State.MISSING, State.FAILED) for one in requirements)


def packages_file() -> Path:
    """The list of Python packages that Slicer does not bring."""
    return Path(__file__).resolve().parents[3] / "Resources" / "requirements.txt"


def megabytes(size: int) -> str:
    """A size as a user reads it."""
    if size < 100_000:
        return _("less than 0.1 MB")
    return _("{size:.1f} MB").format(size=size / 1e6)


def _torch(worker_error: str) -> Requirement:
    title = _("PyTorch")
    versions = {name: installed_version(name) for name in NEEDED}
    absent = [name for name, version in versions.items() if version is None]
    if not absent:
        old = [name for name, oldest in NEEDED.items() if _older(versions[name], oldest)]
        if not old and "torch" not in worker_error.lower():
            detail = _("PyTorch {torch}").format(torch=versions["torch"])
            return Requirement(TORCH, title, State.OK, detail)
        state, detail = State.FAILED, worker_error
        if old:
            detail = _("{name} {version} is too old; {oldest} or later is needed").format(
                name=old[0], version=versions[old[0]], oldest=NEEDED[old[0]]
            )
    else:
        state = State.MISSING
        detail = _("not installed") if "torch" in absent else _("torchvision is not installed")
    if extension_is_there():
        action = _("Install PyTorch")
        note = _(
            "PyTorch is a download of several hundred MB to a few GB. "
            "Slicer does not respond until it is installed, which can take many minutes."
        )
    else:
        action = _("Install PyTorch extension")
        note = _(
            "Slicer's PyTorch extension is a small download. "
            "It installs PyTorch in the next step, after a restart of Slicer."
        )
    return Requirement(TORCH, title, state, detail, action, note)


def _packages() -> Requirement:
    title = _("Python packages")
    try:
        wanted = compat.load_requirements(packages_file())
    except OSError as error:
        detail = _("The list of packages cannot be read ({reason}). Install QNetSegment again.").format(
            reason=why(error)
        )
        return Requirement(PACKAGES, title, State.FAILED, detail)
    absent = [one for one in wanted if not compat.pip_check(one)]
    if absent:
        detail = _("not installed: {packages}").format(packages=", ".join(absent))
        note = _("They are downloaded from the internet into Slicer's Python; some may be tens of MB.")
        return Requirement(PACKAGES, title, State.MISSING, detail, _("Install packages"), note)
    names = [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in wanted]
    detail = ", ".join(f"{name} {installed_version(name)}" for name in names)
    return Requirement(PACKAGES, title, State.OK, detail)


def _all_weights(model: str | None) -> list[Requirement]:
    """A line for each kind of network: the model of choice, and the default one of the other kind."""
    lines = (
        (WEIGHTS, models.PROPAGATION, _("Propagation model")),
        (QNET_WEIGHTS, models.QNET, _("Q-Net model")),
    )
    kind = models.PROPAGATION  # where a model that cannot be read is told of
    if model is not None:
        with suppress(QNetSegmentError):
            entry = _entry(model)
            kind = entry.method if entry is not None else models.kind_of(models.resolve_model(model))
    return [_weights(key, title, each, model if each == kind else None) for key, each, title in lines]


def _weights(key: str, title: str, kind: str, model: str | None) -> Requirement:
    entry = None
    try:
        entry = _entry(models.read_catalogue().defaults.get(kind, "") if model is None else model)
        if entry is not None and models.find(entry) is None:
            detail = _("{name} is not on this machine").format(name=entry.name)
            if not entry.url:
                return Requirement(key, title, State.MISSING, detail, _("Use local weights file"))
            return Requirement(key, title, State.MISSING, detail, _download_text(entry), model=entry.name)
        path = models.resolve_model(model, kind)
    except QNetSegmentError as error:
        failed = Requirement(key, title, State.FAILED, str(error), _("Use local weights file"))
        if entry is not None and entry.url and models.state(entry) == models.DOWNLOADED:
            return replace(failed, action=_download_text(entry), model=entry.name)
        return failed
    places = {models.SHIPPED: _("part of QNetSegment"), models.DOWNLOADED: _("downloaded")}
    where = _("local file") if entry is None else places[models.state(entry)]
    detail = _("{name}, {size}, {where}").format(
        name=path.stem, size=megabytes(path.stat().st_size), where=where
    )
    return Requirement(key, title, State.OK, detail)


def _download_text(entry: models.ModelEntry) -> str:
    return _("Download {size}").format(size=megabytes(entry.size))


def _entry(name: str) -> models.ModelEntry | None:
    """The catalogue's entry of a name; None for a path."""
    try:
        return models.read_catalogue().entry(name)
    except WeightsError:
        return None


def _device(device: str | None, worker_error: str, torch: Requirement) -> Requirement:
    title = _("Computing device")
    if torch.state is not State.OK:
        return Requirement(DEVICE, title, State.UNKNOWN, _("known when PyTorch works"))
    if worker_error:
        return Requirement(DEVICE, title, State.FAILED, worker_error, _("Try again"))
    if device is None:
        return Requirement(DEVICE, title, State.UNKNOWN, _("known after the first start"))
    return Requirement(DEVICE, title, State.OK, device_text(device))


def device_text(device: str) -> str:
    """A device of the engine, such as "cuda", in the user's words."""
    names = {"cpu": _("CPU"), "mps": _("Apple GPU (mps)")}
    return names.get(device, _("GPU ({device})").format(device=device))


def extension_is_there() -> bool:
    """Whether Slicer's PyTorch extension is loaded; nothing is imported."""
    return "PyTorchUtils" in sys.modules or importlib.util.find_spec("PyTorchUtils") is not None


def installed_version(name: str) -> str | None:
    """Version of an installed package, None without one; the package is not imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _older(version: str | None, oldest: str) -> bool:
    """Compares "2.9.0+cu128" with "2.1"; what is no number counts as new enough."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return found is not None and tuple(map(int, found.groups())) < tuple(map(int, oldest.split(".")))
