"""Pictures that a command draws beside its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .common import say


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
