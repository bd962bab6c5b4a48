"""Which Python runs the worker, and with which variables."""

from __future__ import annotations

import os
import shutil
import sys

from qnetseg.models import shipped_folder
from qnetseg.worker.process import python_paths, running


def worker_command(module: str = "qnetseg.worker") -> list[str]:
    """Program and arguments of the worker, or of another module.

    Slicer's `python-real` comes first: `PythonSlicer`, which is `sys.executable` in the application, is a
    launcher whose child survives when the launcher is killed.
    """
    program = shutil.which("python-real") or shutil.which("PythonSlicer") or sys.executable
    return [program, *running(module)]


def worker_environment() -> dict[str, str]:
    """Variables to add to this process's: where the worker finds this very engine and its models."""
    paths = python_paths(os.environ.get("PYTHONPATH"))
    return {**paths, "QNETSEG_RESOURCES": str(shipped_folder().resolve().parent)}
