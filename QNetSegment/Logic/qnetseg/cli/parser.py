"""argparse, with a guess at what a mistyped command or choice was meant to be."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import NoReturn

INVALID = re.compile(r"invalid choice: '(?P<given>.*?)' \(choose from (?P<choices>.*)\)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Of the command line and, since sub-parsers are made of their parent's class, of every command."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 after usage and message."""
        if found := INVALID.search(message):
            choices = [choice.strip("'") for choice in found["choices"].split(", ")]
            if nearest := difflib.get_close_matches(found["given"], choices, n=1):
                message += f"; did you mean '{nearest[0]}'?"
        super().error(message)
