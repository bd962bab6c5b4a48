"""`qnetseg report`: tables from result files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qnetseg.cli.common import add_command
from qnetseg.cli.outputs import require_folder

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
    from ..report import write_experiments, write_index

    queue = Path(__file__).resolve().parents[2] / "GPU_QUEUE.md"
    experiments = write_experiments(arguments.folder)
    print(f"tables     {write_index(arguments.folder, queue if queue.is_file() else None)}")
    if experiments is not None:
        print(f"tables     {experiments}")
    return 0
