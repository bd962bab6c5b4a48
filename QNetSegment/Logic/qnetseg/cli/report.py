"""`qnetseg report`: tables from result files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import add_command, project_folder
from .outputs import require_folder

DETAILS = """
The files are those of `qnetseg evaluate`, `compare` and `bench`; index.md appears beside them, and
experiments.md where there is a folder experiments. In a checkout, what is missing is looked up in
Training/GPU_QUEUE.md."""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "report",
        "write the tables of a folder of result files",
        "qnetseg report docs/results",
        DETAILS,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the result files")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write index.md and experiments.md."""
    require_folder(arguments.folder)
    from ..evaluation.report import write_experiments

    experiments = write_experiments(arguments.folder)
    print(f"tables     {write_tables(arguments.folder)}")
    if experiments is not None:
        print(f"tables     {experiments}")
    return 0


def write_tables(folder: Path) -> Path:
    """Write index.md, which looks up what is missing in the queue of a checkout; see `write_index`."""
    from ..evaluation.report import write_index

    queue = project_folder() / "Training" / "GPU_QUEUE.md"
    return write_index(folder, queue if queue.is_file() else None)
