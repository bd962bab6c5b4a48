"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError, why
from .processes import MARK, gone, mark

PART = re.compile(rf"\.({MARK})-[0-9a-f]{{8}}\.part(\..+)?")
"""Names of unfinished files, with the mark of the process that writes them."""

ROOM = "Check the free space and the write permission of the folder."


@contextmanager
def replacing(path: str | os.PathLike[str], ending: str = "", mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds it takes the place of `path`.

    See `replacing_together`; `ending` is that of the temporary name.
    """
    with replacing_together([path], [ending], mode) as (temporary,):
        yield temporary


@contextmanager
def replacing_together(
    paths: Sequence[str | os.PathLike[str]], endings: Sequence[str], mode: int | None = None
) -> Iterator[list[Path]]:
    """Yield a temporary file beside each path; when the block succeeds they take the places of the paths.

    Every path holds its old or its new content at any time, also when the process is killed or power fails;
    the paths are replaced in their order, so that the last one marks the end. If anything fails, the old
    contents stay, the temporary files are gone, and OutputError says why. Links are followed, write-protected
    files are refused. What killed processes left in the folders is removed.

    paths: files to write.
    endings: of the temporary names, one for each path; writers choose their format from them.
    mode: permissions of the files; None for those of the replaced file, or of any new file.
    """
    targets = [replaceable(path) for path in paths]
    staged: list[Path] = []
    modes: list[int] = []
    at = targets[0]
    try:
        for at, ending in zip(targets, endings, strict=True):
            sweep(at.parent)
            temporary = _part(at, ending)
            staged.append(temporary)
            modes.append(_make(temporary, at, mode))
        yield staged
        for temporary, wanted in zip(staged, modes, strict=True):
            _finish(temporary, wanted)
        _move_all(list(zip(staged, targets, strict=True)))
    except OutputError as error:
        message = error.message
        for temporary, target in zip(staged, targets, strict=False):
            message = message.replace(str(temporary), str(target)).replace(temporary.name, target.name)
        raise OutputError(message, error.advice) from error
    except OSError as error:
        names = f"'{at}'" if len(targets) == 1 else f"The results in '{at.parent}'"
        raise OutputError(f"{names} could not be written: {why(error)}.", ROOM) from error
    finally:
        for temporary in staged:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> int:
    """Remove the unfinished files of processes that are gone; the bytes that are free again."""
    freed = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            found = PART.fullmatch(entry.name)
            if found is not None and gone(found.group(1)):
                with suppress(OSError):
                    size = entry.stat(follow_symlinks=False).st_size
                    os.unlink(entry.path)
                    freed += size
    return freed


def replaceable(path: str | os.PathLike[str]) -> Path:
    """The file that a path leads to. Raises OutputError where none can be written or replaced."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise OutputError(
            f"'{target.name}' could not be written: the folder '{target.parent}' does not exist.",
            "Create the folder or choose another one.",
        )
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise OutputError(f"'{target}' could not be written: {why(error)}.", ROOM) from error
    if stat.S_ISDIR(mode):
        reason, advice = "it is a folder", "Choose a file name."
    elif not stat.S_ISREG(mode):
        reason, advice = "it is not an ordinary file", "Choose a file name."
    elif not mode & 0o222 or not os.access(target, os.W_OK):
        reason, advice = "it is write-protected", "Remove the protection or choose another name."
    else:
        return target
    raise OutputError(f"'{target}' could not be written: {reason}.", advice)


def _part(target: Path, ending: str) -> Path:
    return target.with_name(f".{mark()}-{secrets.token_hex(4)}.part{ending}")


def _make(temporary: Path, target: Path, mode: int | None) -> int:
    """Make the file, private until it is whole; the permissions that it gets then."""
    number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        usual = stat.S_IMODE(os.fstat(number).st_mode)  # os.umask cannot be asked without being set
    finally:
        os.close(number)
    with suppress(OSError):  # some file systems know no permissions
        os.chmod(temporary, 0o600)
    if mode is not None:
        return mode
    return stat.S_IMODE(target.stat().st_mode) if target.exists() else usual


def _finish(temporary: Path, mode: int) -> None:
    """Bring the file to the disk, with its permissions. Raises OSError."""
    with suppress(OSError):
        os.chmod(temporary, mode | stat.S_IWUSR)
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    with suppress(OSError):
        os.chmod(temporary, mode)


def _move_all(pairs: list[tuple[Path, Path]]) -> None:
    """Move every file to its target, or leave all targets as they were. No name is ever empty."""
    kept: list[tuple[Path, Path | None]] = []
    try:
        for temporary, target in pairs:
            if target != pairs[-1][1]:  # after the last one nothing can fail
                kept.append((target, _second_name(target) if target.exists() else None))
            os.replace(temporary, target)
    except BaseException:
        for target, old in reversed(kept):
            if old is not None:
                os.replace(old, target)
            else:
                target.unlink(missing_ok=True)
        raise
    finally:
        for _, old in kept:
            if old is not None:
                with suppress(OSError):
                    old.unlink(missing_ok=True)
    for folder in {target.parent for _, target in pairs}:
        _sync_folder(folder)


def _second_name(target: Path) -> Path:
    """Another file with the content of `target`, which stays."""
    second = _part(target, "")
    try:
        os.link(target, second)
    except OSError:  # no links on this file system
        shutil.copy2(target, second)
    return second


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with suppress(OSError, AttributeError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
