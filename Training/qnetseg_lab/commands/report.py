"""`qnetseg report`: pages from result files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qnetseg.cli.common import add_command
from qnetseg.cli.outputs import require_folder

DETAILS = """
The files are those of `qnetseg evaluate`, `compare` and `bench`. index.md, a summary with the paper's tables,
and the pages of details appear beside them, and experiments.md where there is a folder experiments."""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "report",
        "write the pages of a folder of result files",
        "qnetseg report docs/results --readme README.md",
        DETAILS,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the result files")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="page whose key figures, between two markers, are renewed"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the pages."""
    require_folder(arguments.folder)
    from ..report import write_report

    for path in write_report(arguments.folder, arguments.readme):
        print(f"page       {path}")
    return 0
