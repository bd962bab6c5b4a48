"""What every picture needs: names of any kind as text, and a file that appears whole. Imports no torch."""

from __future__ import annotations

import os
import warnings
from typing import Any

from ..atomic import replacing

LONGEST = 60  # characters of a name in a picture


def plain(name: str) -> str:
    """A name that somebody gave, to be drawn as it is: for matplotlib two $ make a formula.

    Shortened if it would not fit; line breaks and what is no character become blanks and question marks.
    """
    text = " ".join(name.encode("utf-8", "replace").decode("utf-8").split())
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}\u2026"
    return text.replace("$", r"\$")


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, whole or not at all. Raises OutputError."""
    with replacing(path, ".png") as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a box stands for what the font lacks
        figure.savefig(temporary)
