"""argparse, with a guess at what a mistyped command or choice was meant to be, and where others come from."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import NoReturn

INVALID = re.compile(r"invalid choice: '(?P<given>.*?)' \(choose from (?P<choices>.*)\)", re.DOTALL)

OF_THE_LABORATORY = ("bench", "compare", "data", "evaluate", "report", "tables", "train")
"""Commands that only an installed laboratory adds; a test compares them with its entry points."""


class Parser(argparse.ArgumentParser):
    """Of the command line and, since sub-parsers are made of their parent's class, of every command."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 after usage and message, or after a sentence where the laboratory is missing."""
        if found := INVALID.search(message):
            given = found["given"]
            if " " not in self.prog and given in OF_THE_LABORATORY:  # not the choice of a command
                how = "install that with `pip install ./Training` from the repository"
                self.exit(2, f"{self.prog}: The command '{given}' belongs to qnetseg-lab: {how}.\n")
            choices = [choice.strip("'") for choice in found["choices"].split(", ")]
            if nearest := difflib.get_close_matches(given, choices, n=1):
                message += f"; did you mean '{nearest[0]}'?"
        super().error(message)
