"""Pictures that a command draws beside its result: names of any kind as text, files that appear whole.

Imports no torch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..atomic import replacing
from .common import say

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


def drawn_last(path: Path, draw: Callable[[Path], Any]) -> bool:
    """Draw to a path after the result was written; a picture that fails costs a warning and nothing else.

    Whether the picture is there.
    """
    try:
        draw(path)
    except Exception as error:  # whatever the drawing library dislikes: a font, a name, a folder without room
        say(f"warning: The picture '{path}' could not be drawn: {' '.join(str(error).split())}")
        return False
    return True
