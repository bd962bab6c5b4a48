"""The door for bytes from outside: whatever a parser raises on them becomes a typed error with the reason."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import QNetSegmentError, is_out_of_memory, why

MOST_TEXT = 32 << 20  # bytes of a JSON or TOML file; ours are a thousandth of it


@contextmanager
def parsing(name: str, error: type[QNetSegmentError], message: str, advice: str) -> Iterator[None]:
    """Turn every exception of the block into `error`.

    A boundary and not a list of exceptions: what a parser may raise on damaged bytes is documented nowhere. A
    file that cannot be opened and memory that ran out are told as such, anything else by message and advice.

    name: of the file. error: the type; what the block itself raises of exactly this type passes as it is.
    """
    try:
        yield
    except Exception as cause:
        if type(cause) is error:
            raise
        if is_out_of_memory(cause):
            message, advice = short_of_memory(name)
        elif isinstance(cause, OSError) and cause.errno not in (None, errno.EINVAL):  # of a damaged archive
            message = f"The file '{name}' cannot be read: {why(cause)}."
            advice = "Check that it is there and may be read."
        raise error(message, advice) from cause


def short_of_memory(name: str) -> tuple[str, str]:
    """Message and advice for a file that memory was too short for: it may be as good as any."""
    return f"There is not enough memory to read '{name}'.", "Close other programs and try again."


def read_text(path: str | os.PathLike[str]) -> str:
    """The UTF-8 text of a file. Raises OSError, and ValueError for a file that is too large or no text."""
    with open(path, "rb") as file:
        content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise ValueError(f"it has more than {MOST_TEXT} bytes")
    return content.decode("utf-8")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def number(value: Any, low: float, high: float) -> float:
    """A number of a parsed text as float. Raises ValueError unless it is one, from low to high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"not a number from {low:g} to {high:g}")
    return float(value)


def whole(value: Any, low: int, high: int) -> int:
    """A whole number of a parsed text. Raises ValueError unless it is one, from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"not a whole number from {low} to {high}")
    return value


def short_text(value: Any, most: int = 10_000) -> str:
    """A text of a parsed text. Raises ValueError unless it is one that can be written, of at most `most`
    characters."""
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"not a text of at most {most} characters")
    value.encode("utf-8")  # half a character is a ValueError, too
    return value
