"""The support library: named examples in a folder, for use on other patients.

One file holds one example, with its drawn slices of the image; they are images of a patient, so the
folder is the user's own. Any text can be a name: what file systems refuse is written as %XX.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from slicer.i18n import tr as _

from qnetseg.errors import InputError, OutputError, why
from qnetseg.models import data_folder

if TYPE_CHECKING:
    from qnetseg.volume import SupportSet

ENDING = ".npz"
PRIVATE = 0o600  # permissions of the files: they hold slices of patients
LONGEST_NAME = 200  # bytes of a file name without its ending; file systems take 255
UNSAFE = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f]|^\.|[. ]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # devices of Windows


class NameTaken(OutputError):
    """An example of this name exists already; saving with `replace` puts the new one in its place."""


@dataclass(frozen=True)
class Entry:
    """A file of the library."""

    name: str  # what the user calls the example
    path: Path
    structure: str = ""  # name of what was drawn
    plane: str = ""  # as `plane_name` has it
    slices: int = 0  # how many were drawn
    whole: bool = False  # whether the patient is known, and not only the drawn slices
    problem: str = ""  # why the file cannot be used; empty if it can


def default_folder() -> Path:
    """Where the examples of this user lie; the folder may not exist yet."""
    if folder := os.environ.get("QNETSEG_SUPPORTS"):
        return Path(folder)
    return _own_folder()


def _own_folder() -> Path:
    return data_folder().parent / "Supports"


class SupportLibrary:
    """The examples in a folder; it is read anew by every call, so that several Slicers may share it."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self._read: dict[Path, tuple[tuple[int, int], Entry]] = {}  # by path: its time and size, its entry

    def entries(self) -> list[Entry]:
        """All examples in the order of their names; damaged files are among them, with their problem.

        Of a folder that cannot be read the only entry is the folder, with that problem.
        """
        try:
            found = [self._entry(path) for path in self._files()]
        except InputError as error:
            return [Entry(self.folder.name, self.folder, problem=str(error))]
        return sorted(found, key=lambda entry: (entry.name.casefold(), entry.name))

    def taken(self, name: str) -> str | None:
        """The name under which `save` would find an older example; None if there is none."""
        path = self._find(name)
        return None if path is None else _name(path)

    def save(self, name: str, support: SupportSet, replace: bool = False) -> Entry:
        """Keep an example under a name, whole or not at all.

        Raises NameTaken unless `replace`, InputError for an impossible name, and OutputError.
        """
        target, taken = self.folder / file_name(name), self._find(name)
        if taken is not None and not replace:
            raise NameTaken(
                _("There is an example named '{name}' already.").format(name=_name(taken)),
                _("Choose another name, or replace it."),
            )
        target = taken or target
        try:
            if not self.folder.exists():
                self.folder.mkdir(0o700, parents=True, exist_ok=True)
            elif self.folder == _own_folder():  # a folder of the user's choice keeps its permissions
                self.folder.chmod(0o700)
        except OSError as error:
            raise OutputError(
                _("The folder '{folder}' of the support library cannot be made: {reason}.").format(
                    folder=self.folder, reason=why(error)
                ),
                _("Set QNETSEG_SUPPORTS to another folder."),
            ) from error
        support.save(target, PRIVATE)
        return self._entry(target)

    def load(self, name: str) -> SupportSet:
        """The example of this name. Raises InputError: not there, or damaged."""
        from qnetseg.volume import SupportSet

        return SupportSet.load(self._existing(name))

    def remove(self, name: str) -> None:
        """Delete an example, also a damaged one. Raises InputError and OutputError."""
        path = self._existing(name)
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(
                _("The example '{name}' could not be removed: {reason}.").format(name=name, reason=why(error))
            ) from error

    def import_file(self, path: str | os.PathLike[str], replace: bool = False) -> Entry:
        """Copy a saved example into the library, under the name of the file.

        Raises InputError for a file that is not an example, NameTaken unless `replace`, and OutputError.
        """
        from qnetseg.volume import SupportSet

        return self.save(_name(Path(path)), SupportSet.load(path), replace)

    def export(self, name: str, path: str | os.PathLike[str], replace: bool = False) -> Path:
        """Write an example to a file that can be given to others; the file, which ends in .npz.

        replace: take the place of a file at `path`; where the ending has to be added, a file of that other
        name stays all the same, because nobody was asked about it.
        Raises InputError for an unknown or damaged one, NameTaken unless `replace`, and OutputError.
        """
        target = Path(path)
        if target.suffix.lower() != ENDING:
            target, replace = target.with_name(target.name + ENDING), False
        support = self.load(name)
        if target.exists() and not replace:
            raise NameTaken(
                _("The file '{path}' exists already.").format(path=target),
                _("Choose another name, or replace it."),
            )
        support.save(target)
        return target

    def _entry(self, path: Path) -> Entry:
        """The entry of a file, which is read again only when it has changed."""
        try:
            stat = path.stat()
        except OSError:
            return _entry(path)  # which says what is wrong
        version = (stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        if known is None or known[0] != version:
            known = self._read[path] = (version, _entry(path))
        return known[1]

    def _files(self) -> list[Path]:
        try:
            if not self.folder.exists():
                return []
            found = [path for path in self.folder.iterdir() if path.suffix.lower() == ENDING]
            return [path for path in found if path.is_file() and not path.name.startswith(".")]
        except OSError as error:
            raise InputError(
                _("The folder '{folder}' of the support library cannot be read: {reason}.").format(
                    folder=self.folder, reason=why(error)
                ),
                _("Check its permissions, or set QNETSEG_SUPPORTS to another folder."),
            ) from error

    def _find(self, name: str) -> Path | None:
        """The file of this name; upper and lower case count as the same, as on many file systems."""
        wanted = _same(name)
        return next((path for path in self._files() if _same(_name(path)) == wanted), None)

    def _existing(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise InputError(
                _("There is no example named '{name}'.").format(name=name),
                _("It may have been removed; choose another one."),
            )
        return path


def file_name(name: str) -> str:
    """A file name for a name, valid on every file system. Raises InputError for an impossible name."""
    text = unicodedata.normalize("NFC", " ".join(name.split()))
    if not text:
        raise InputError(_("The example has no name."), _("Type a name."))
    stem = UNSAFE.sub(lambda found: f"%{ord(found.group()):02X}", text)
    if RESERVED.match(stem):
        stem = f"%{ord(stem[0]):02X}{stem[1:]}"
    try:
        length = len(stem.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            _("The name has characters that cannot be saved."), _("Type another name.")
        ) from error
    if length > LONGEST_NAME:
        raise InputError(
            _("The name '{start}...' is too long.").format(start=text[:20]), _("Type a shorter name.")
        )
    return stem + ENDING


def _name(path: Path) -> str:
    """What the user calls the example in a file."""
    return unquote(path.name[: -len(ENDING)] if path.name.lower().endswith(ENDING) else path.name)


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()


def _entry(path: Path) -> Entry:
    from qnetseg.volume import PLANES, SupportSet, plane_name

    try:
        support = SupportSet.load(path)
    except InputError as error:
        return Entry(_name(path), path, problem=str(error))
    section = plane_name(support.axes[PLANES[support.plane]])
    whole = support.patient is not None
    return Entry(_name(path), path, support.name, section, len(support.slices), whole)
