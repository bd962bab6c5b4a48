"""`qnetseg worker`: the process that Slicer, Python programs and `qnetseg segment --worker` talk to."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import InputError
from .common import add_command

DETAILS = """
Another program starts it, on its own machine or over ssh, and talks to it through its standard input and
output, as `qnetseg segment --worker "ssh gpu-box qnetseg worker"` does. It opens no port, and ends when its
input ends."""


def add(commands: Any) -> None:
    """Define the command."""
    summary, example = "segment for a program that talks to it", "qnetseg worker < requests > events"
    parser = add_command(commands, "worker", summary, example, DETAILS)
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Answer requests until the input ends. Raises InputError in a terminal."""
    if sys.stdin.isatty():
        raise InputError("This command is for programs, not for a terminal.", "See qnetseg worker --help.")
    from ..worker.server import main

    main()
