"""`qnetseg doctor`: what is installed, what is missing, and how to fix it."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from .. import __version__, models
from ..errors import QNetSegmentError, why
from ..worker.exchange import temporary_folder
from .common import add_command, add_json, print_json, print_text

NEEDED = (
    "numpy",
    "scipy",
    "scikit-image",
    "SimpleITK",
    "pydicom",
    "safetensors",
    "torch",
    "torchvision",
    "tqdm",
)
OPTIONAL = {"highdicom": "dicom", "matplotlib": "demo", "nilearn": "demo"}
LITTLE_SPACE = 1 << 30  # bytes; a large volume with its confidence passes through the temporary folder


@dataclass(frozen=True)
class Check:
    """One finding. `needed`: without it nothing can be segmented; `remedy`: what to do if it is not ok."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "doctor",
        "say what is installed, what is missing and how to fix it",
        "qnetseg doctor",
        "\nExit code 0 if volumes can be segmented, else 2.",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all findings."""
    checks = examine()
    works = all(check.ok for check in checks if check.needed)
    if arguments.json:
        print_json({"works": works, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            sign = "ok" if check.ok else ("!!" if check.needed else "--")
            print_text(
                f"{sign}  {check.name:19s} {check.found}"
                + ("" if check.ok or not check.remedy else f"\n    {check.remedy}")
            )
        print_text(
            "Volumes can be segmented."
            if works
            else "Volumes cannot be segmented yet: fix what is marked !!."
        )
    return 0 if works else 2


def examine() -> list[Check]:
    """All findings, those that everything depends on first."""
    checks = [
        Check("qnetseg", True, __version__),
        Check(
            "Python",
            (3, 10) <= sys.version_info < (3, 13),
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            "Use Python 3.10 to 3.12.",
            needed=False,
        ),
    ]
    checks += [_package(name, "") for name in NEEDED]
    checks += [_package(name, extra) for name, extra in OPTIONAL.items()]
    checks += _engine() if all(check.ok for check in checks if check.needed) else []
    return [*checks, *_models(), _space()]


def _package(name: str, extra: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name), needed=not extra)
    except importlib.metadata.PackageNotFoundError:
        target = f'"qnetseg[{extra}]"' if extra else name
        return Check(
            name,
            False,
            f"not installed{f' (only for {extra})' if extra else ''}",
            f"Install it with: {sys.executable} -m pip install {target}",
            needed=not extra,
        )


def _engine() -> list[Check]:
    """Whether torch computes, and where."""
    from ..worker.backend import check_engine

    try:
        version = check_engine()
    except QNetSegmentError as error:
        return [Check("engine", False, error.message, error.advice)]
    from ..segment.device import choose_device, computes_bf16

    device, warning = choose_device()
    precision = "bf16" if computes_bf16(device) else "fp32"
    return [
        Check("engine", True, f"torch {version} works"),
        Check(
            "device",
            not warning,
            f"{device.type}, computes in {precision}" + (f" ({warning})" if warning else ""),
            "Install a torch that knows this GPU (https://pytorch.org), or go on with the CPU.",
            needed=False,
        ),
    ]


def _models() -> list[Check]:
    """The default models and all others that are here, verified; Q-Net only finds structures in other
    patients."""
    folder = Check(
        "downloads",
        True,
        f"{models.data_folder()}" + ("" if models.data_folder().is_dir() else " (nothing downloaded yet)"),
        needed=False,
    )
    checks = []
    for kind, title in models.TITLES.items():
        try:
            found = f"{models.resolve_model(None, kind).name}, verified"
            checks.append(Check(title, True, found, needed=kind == models.PROPAGATION))
        except QNetSegmentError as error:
            checks.append(Check(title, False, error.message, error.advice, kind == models.PROPAGATION))
    try:
        catalogue = models.read_catalogue()
    except QNetSegmentError:  # told above
        return [*checks, folder]
    for entry in catalogue.models:
        if entry.name not in catalogue.defaults.values() and models.find(entry) is not None:
            checks.append(_other_model(entry))
    return [*checks, folder]


def _other_model(entry: models.ModelEntry) -> Check:
    try:
        return Check(entry.name, True, f"{models.resolve_model(entry.name).name}, verified", needed=False)
    except QNetSegmentError as error:
        return Check(entry.name, False, error.message, error.advice, needed=False)


def _space() -> Check:
    remedy = "Free some space, or set TMPDIR to another folder."
    try:
        folder = temporary_folder()
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:  # no folder can be written to
        return Check("temporary folder", False, why(error), remedy)
    return Check(
        "temporary folder",
        free >= LITTLE_SPACE,
        f"{folder}, {free / 1e9:.1f} GB free",
        remedy,
        needed=False,
    )
