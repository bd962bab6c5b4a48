"""Which command runs the worker, and with which variables."""

from __future__ import annotations

import os
import shutil
import sys

import slicer

from qnetseg.models import shipped_folder
from qnetseg.worker.process import python_paths, running, split_command

SETTING = "QNetSegment/WorkerCommand"
"""The user's own, not the scene's: a scene comes from others, and this is a program that is run."""


def chosen_command() -> str:
    """The command that the user has set to run the worker, as on another machine; empty for this one."""
    return str(slicer.app.userSettings().value(SETTING, "") or "").strip()


def choose_command(text: str) -> None:
    """Keep a command for this and later sessions; empty for this machine. Raises InputError."""
    if text := text.strip():
        split_command(text)
    slicer.app.userSettings().setValue(SETTING, text)


def worker_command(module: str = "qnetseg.worker") -> list[str]:
    """Program and arguments of this machine's worker, or of another module.

    Slicer's `python-real` comes first: `PythonSlicer`, which is `sys.executable` in the application, is a
    launcher whose child survives when the launcher is killed.
    """
    program = shutil.which("python-real") or shutil.which("PythonSlicer") or sys.executable
    return [program, *running(module)]


def worker_environment() -> dict[str, str]:
    """Variables to add to this process's: where the worker finds this very engine and its models."""
    paths = python_paths(os.environ.get("PYTHONPATH"))
    return {**paths, "QNETSEG_RESOURCES": str(shipped_folder().resolve().parent)}
