"""`qnetseg --print-completion bash`: what a shell needs to complete the commands, their options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """The option that prints it."""
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        action=_Print,
        help='print the completion of a shell; needs shtab: pip install "qnetseg[completion]"',
    )


class _Print(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, _option: Any = None
    ) -> None:
        try:
            import shtab
        except ModuleNotFoundError:
            how = 'pip install "qnetseg[completion]"'
            parser.exit(2, f"qnetseg: Completion needs the Python package shtab. Install it: {how}.\n")
        for action in actions(parser):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=shell))
        parser.exit()


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options and arguments of a parser and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from actions(child)
