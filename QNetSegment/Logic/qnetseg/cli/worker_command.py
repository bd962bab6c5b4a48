"""`qnetseg worker`: the process that Slicer, Python programs and `qnetseg segment --worker` talk to."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import InputError
from .common import add_command

DETAILS = """
Another program starts it, on its own machine or over ssh, and talks to it through its standard input and
output; docs/another-machine.md tells how. It opens no port, and ends when its input ends."""


def add(commands: Any) -> None:
    """Define the command."""
    example = (
        'qnetseg segment scan.nii.gz --mask m.nrrd --output o.nrrd --worker "ssh gpu-box qnetseg worker"'
    )
    parser = add_command(commands, "worker", "segment for a program that talks to it", example, DETAILS)
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Answer requests until the input ends. Raises InputError in a terminal."""
    if sys.stdin.isatty():
        raise InputError("This command is for programs, not for a terminal.", "See qnetseg worker --help.")
    from ..worker.server import main

    main()
