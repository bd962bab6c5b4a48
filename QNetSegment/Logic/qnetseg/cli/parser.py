"""argparse, with a guess at what a mistyped command or choice was meant to be, and where others come from."""

from __future__ import annotations

import argparse
import difflib
import re
from importlib.metadata import entry_points
from typing import Any, NoReturn

INVALID = re.compile(r"invalid choice: '(?P<given>.*?)' \(choose from (?P<choices>.*)\)", re.DOTALL)

OF_THE_LABORATORY = {
    "qnetseg": ("bench", "compare", "data", "evaluate", "report", "tables", "train"),
    "qnetseg weights": ("average", "convert", "register"),
}
"""What only an installed laboratory adds to a command; a test compares it with the entry points."""


def add_laboratory(commands: Any, group: str) -> None:
    """Add what the entry points of a group offer; each is a function like `segment.add`."""
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        point.load()(commands)


class Parser(argparse.ArgumentParser):
    """Of the command line and, since sub-parsers are made of their parent's class, of every command."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 after usage and message, or after a sentence where the laboratory is missing."""
        if found := INVALID.search(message):
            given = found["given"]
            if given in OF_THE_LABORATORY.get(self.prog, ()):
                how = "install that with `pip install ./Training` from the repository"
                self.exit(2, f"{self.prog}: The command '{given}' belongs to qnetseg-lab: {how}.\n")
            choices = [choice.strip("'") for choice in found["choices"].split(", ")]
            if nearest := difflib.get_close_matches(given, choices, n=1):
                message += f"; did you mean '{nearest[0]}'?"
        super().error(message)
