"""Output files of a command: checked before the work, and appearing together or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..atomic import replaceable, replacing_together
from ..errors import OutputError, why


def require_writable(path: Path, endings: Sequence[str], refused: tuple[str, ...] = ()) -> None:
    """Raise OutputError unless a file of one of these endings, none of them refused, can be made here."""
    if not path.name.lower().endswith(tuple(endings)) or path.name.lower().endswith(refused):
        raise OutputError(
            f"The output '{path}' has an ending that cannot be written.", f"Use {', '.join(endings)}."
        )
    if path.is_dir():
        raise OutputError(f"The output '{path}' is a folder.", "Name a file in it.")
    require_folder(path.parent)
    replaceable(path)


def require_folder(folder: Path) -> None:
    """Raise OutputError unless files can be made in this folder right now."""
    if not folder.is_dir():
        raise OutputError(f"The output folder '{folder}' does not exist.", "Create it or choose another one.")
    try:
        with tempfile.TemporaryFile(dir=folder):  # os.access knows neither read-only disks nor root
            pass
    except OSError as error:
        raise OutputError(
            f"Nothing can be written to the folder '{folder}': {why(error)}.", "Choose another one."
        ) from error


def make_folder(folder: Path) -> None:
    """Make the folder unless it exists; OutputError unless files can be made in it right now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The output folder '{folder}' cannot be made: {why(error)}.", "Choose another one."
        ) from error
    require_folder(folder)


@contextmanager
def appearing_together(targets: Sequence[Path], endings: Sequence[str]) -> Iterator[list[Path]]:
    """Yield a temporary path beside each target; when the block succeeds they take the targets' places.

    If anything fails, also between two moves, what was at the targets before is there again, the temporary
    files are gone, and OutputError names the target that could not be written.
    """
    chosen = [
        max((e for e in endings if target.name.lower().endswith(e)), key=len, default=target.suffix)
        for target in targets
    ]
    with replacing_together(targets, chosen) as staged:
        yield staged
