"""Output files of a command: checked before the work, and appearing together or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError


def require_writable(path: Path, endings: Sequence[str], refused: tuple[str, ...] = ()) -> None:
    """Raise OutputError unless a file of one of these endings, none of them refused, can be made here."""
    if not path.name.lower().endswith(tuple(endings)) or path.name.lower().endswith(refused):
        raise OutputError(
            f"The output '{path}' has an ending that cannot be written.", f"Use {', '.join(endings)}."
        )
    if path.is_dir():
        raise OutputError(f"The output '{path}' is a folder.", "Name a file in it.")
    require_folder(path.parent)


def require_folder(folder: Path) -> None:
    """Raise OutputError unless files can be made in this folder right now."""
    if not folder.is_dir():
        raise OutputError(f"The output folder '{folder}' does not exist.", "Create it or choose another one.")
    try:
        with tempfile.TemporaryFile(dir=folder):  # os.access knows neither read-only disks nor root
            pass
    except OSError as error:
        raise OutputError(
            f"Nothing can be written to the folder '{folder}': {error.strerror}.", "Choose another one."
        ) from error


def make_folder(folder: Path) -> None:
    """Make the folder unless it exists; OutputError unless files can be made in it right now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The output folder '{folder}' cannot be made: {error.strerror}.", "Choose another one."
        ) from error
    require_folder(folder)


@contextmanager
def appearing_together(targets: Sequence[Path], endings: Sequence[str]) -> Iterator[list[Path]]:
    """Yield a temporary path beside each target; when the block succeeds they take the targets' places.

    If anything fails, also between two moves, what was at the targets before is there again, the temporary
    files are gone, and OutputError names the target that could not be written.
    """
    token = secrets.token_hex(8)
    staged = []
    for number, target in enumerate(targets):
        ending = max((e for e in endings if target.name.lower().endswith(e)), key=len, default=target.suffix)
        staged.append(target.with_name(f".{token}-{number}.part{ending}"))
    try:
        yield staged
        _move_all(list(zip(staged, targets, strict=True)))
    except OutputError as error:
        message = error.message
        for temporary, target in zip(staged, targets, strict=True):
            message = message.replace(str(temporary), str(target)).replace(temporary.name, target.name)
        raise OutputError(message, error.advice) from error
    except OSError as error:
        raise OutputError(
            f"The results could not be written: {error.strerror or error}.",
            "Check the free space and the write permission of the folder.",
        ) from error
    finally:
        for temporary in staged:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _move_all(pairs: list[tuple[Path, Path]]) -> None:
    """Move every file to its target, or leave all targets as they were."""
    moved: list[tuple[Path, Path | None]] = []
    try:
        for temporary, target in pairs:
            backup = temporary.with_suffix(".old") if target.exists() else None
            if backup is not None:
                os.replace(target, backup)
            moved.append((target, backup))
            os.replace(temporary, target)
    except BaseException:
        for target, backup in reversed(moved):
            if backup is not None:
                os.replace(backup, target)
            else:
                target.unlink(missing_ok=True)
        raise
    for _, backup in moved:
        if backup is not None:
            backup.unlink(missing_ok=True)
