"""Result files: one JSON a run, with everything needed to repeat and to compare it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ..errors import OutputError
from ..models import sha256


def describe_run(weights: Path | None, device: str, seed: int = 0) -> dict[str, Any]:
    """What every result file says about where its figures come from."""
    return {
        "weights_sha256": sha256(weights) if weights else None,
        "revision": _revision(),
        "device": device,
        "seed": seed,
        "torch": torch.__version__,
        "machine": describe_machine(),
    }


def describe_machine() -> dict[str, Any]:
    """Processor, cores and GPU, without anything that names the host."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> str:
    """Git revision of the project, "+" if its files were changed since; "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def write_json(path: str | Path, content: dict[str, Any]) -> Path:
    """Write a result file whole or not at all. Raises `OutputError`."""
    return write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole or not at all. Raises `OutputError`."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"The result file {path} cannot be written ({error.strerror}).",
            "Choose another folder or free some space.",
        ) from error
    return path
