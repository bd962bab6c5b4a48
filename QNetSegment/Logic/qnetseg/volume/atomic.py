"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError


@contextmanager
def replacing(path: str | os.PathLike[str], ending: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds it takes the place of `path`.

    The temporary name keeps `ending`, from which writers choose their format. If the block or the move
    fails, the temporary file is removed, what was at `path` stays, and OutputError says why.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise OutputError(
            f"'{target.name}' could not be written: the folder '{target.parent}' does not exist.",
            "Create the folder or choose another one.",
        )
    if target.is_dir():
        raise OutputError(f"'{target}' could not be written: it is a folder.", "Choose a file name.")
    temporary = target.with_name(f".{secrets.token_hex(8)}.part{ending}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(
            f"'{target}' could not be written: {error.strerror or error}.",
            "Check the free space and the write permission of the folder.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
