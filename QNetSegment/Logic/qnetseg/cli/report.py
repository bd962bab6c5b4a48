"""`qnetseg report`: tables from result files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import add_command
from .outputs import require_folder


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "report",
        "write the tables of a folder of result files",
        "qnetseg report docs/results",
        "\nThe files are those of `qnetseg evaluate` and `qnetseg bench`; index.md appears beside them.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the result files")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write index.md."""
    require_folder(arguments.folder)
    from ..evaluation.report import write_index

    print(f"tables     {write_index(arguments.folder)}")
    return 0
