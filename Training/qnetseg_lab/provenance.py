"""Where figures and weights come from: the code's revision, the machine, and its memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import qnetseg


def revision(module: str | Path = qnetseg.__file__) -> str:
    """Git revision of the project, "+" if its files were changed since; "unknown" outside a checkout.

    A working tree added with `git worktree` is a checkout, too. module: a file of the project, which tells
    it from a checkout that merely surrounds an installed copy.
    """
    path = Path(module).resolve()
    # Within a hook, git's own variables name the repository and index of the hook.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=path.parent, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "--", path.name)
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def load_average() -> float | None:
    """Mean number of processes that wanted a core in the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def peak_gib() -> float:
    """Largest resident size of this process so far; not a number on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def lineage(provenance: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Recipes of a model and of all that it came from; None stands for one that is not known."""
    return [provenance.get("recipe"), *provenance.get("ancestors", [])]
