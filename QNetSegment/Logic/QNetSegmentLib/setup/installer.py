"""Installs what is missing. Every function is called on the main thread, and only by a click.

Nothing here restarts Slicer: an `Outcome` says whether that is needed.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from qnetseg import models
from qnetseg.atomic import sweep
from qnetseg.errors import OutputError, QNetSegmentError, WeightsError, why

from .. import compat
from . import requirements

REQUESTER = "QNetSegment"


class InstallError(QNetSegmentError):
    """Something that could not be installed; the details are what the installer said."""


@dataclass(frozen=True)
class Outcome:
    """done: False when the user changed his mind. restart: whether it counts only after a restart."""

    done: bool
    restart: bool = False


def install_torch() -> Outcome:
    """Install torch and torchvision by the PyTorch extension; blocks for minutes. Asks nothing.

    Without the extension this is what is installed, for then a restart comes first. Raises InstallError.
    """
    if not requirements.extension_is_there():
        return install_extension()
    import PyTorchUtils

    with _typed(_("PyTorch")):
        logic = PyTorchUtils.PyTorchUtilsLogic()
        torch = logic.installTorch(
            askConfirmation=False,
            torchVersionRequirement=f">={requirements.NEEDED['torch']}",
            torchvisionVersionRequirement=f">={requirements.NEEDED['torchvision']}",
        )
    importlib.invalidate_caches()
    # The extension has loaded it into Slicer, where its files and GPU memory stay in use until Slicer ends.
    return Outcome(done=torch is not None, restart=torch is not None)


def install_extension() -> Outcome:
    """Install Slicer's PyTorch extension from its server. Asks nothing: the caller has asked.

    Raises InstallError.
    """
    import slicer

    by_hand = _("Install the extension PyTorch in Slicer's Extensions Manager, then restart Slicer.")
    try:
        manager = slicer.app.extensionsManagerModel()
    except AttributeError as error:
        raise InstallError(_("This Slicer was built without the Extensions Manager."), by_hand) from error
    if manager.isExtensionInstalled(requirements.EXTENSION):
        return Outcome(done=True, restart=not requirements.extension_is_there())
    interactive = getattr(manager, "interactive", True)
    manager.interactive = False  # else it asks once more, and a No looks like a failure
    try:
        installed = manager.installExtensionFromServer(requirements.EXTENSION, False)
    finally:
        manager.interactive = interactive
    if not installed:
        raise InstallError(_("The PyTorch extension could not be downloaded or installed."), by_hand)
    return Outcome(done=True, restart=True)


def install_packages() -> Outcome:
    """Ask the user and install the missing Python packages. Raises InstallError."""
    with _typed(_("The Python packages")):
        try:
            wanted = compat.load_requirements(requirements.packages_file())
            compat.pip_ensure(wanted, REQUESTER)
        except compat.InstallDeclined:
            return Outcome(done=False)
    importlib.invalidate_caches()
    return Outcome(done=all(compat.pip_check(one) for one in wanted))


def download_weights(entry: models.ModelEntry, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a model of the catalogue; blocks, but calls progress(done, total) in bytes for every block.

    A damaged download is replaced. An exception raised by `progress` ends the download, and leaves nothing of
    it. Raises WeightsError and OutputError.
    """
    if models.state(entry) == models.DOWNLOADED:
        try:
            return models.verify(_downloaded(entry), entry)
        except WeightsError:
            models.remove(entry.name)
    return models.download(entry, progress)


def downloads() -> list[tuple[models.ModelEntry, int]]:
    """The downloaded models and their sizes in bytes; shipped ones are not among them."""
    found = []
    for entry in models.read_catalogue().models:
        with suppress(OSError):
            found.append((entry, _downloaded(entry).stat().st_size))
    return found


def remove_downloads() -> int:
    """Delete every downloaded model, and what a broken download left; the bytes that are free again.

    Raises OutputError for a file that cannot be deleted; the others are gone all the same.
    """
    freed, failures = 0, []
    for entry in models.read_catalogue().models:
        whole = _downloaded(entry)
        freed += sweep(whole.parent)
        try:
            size = whole.stat().st_size
            whole.unlink()
            freed += size
        except FileNotFoundError:
            pass
        except OSError as error:
            failures.append(f"'{whole}' ({why(error)})")
    if failures:
        raise OutputError(
            _("Some downloads could not be removed: {files}.").format(files=", ".join(failures)),
            _("Close other programs that use them, and try again."),
        )
    return freed


def _downloaded(entry: models.ModelEntry) -> Path:
    return models.data_folder() / entry.file


@contextmanager
def _typed(what: str) -> Iterator[None]:
    """Turn what installers raise (there is no common type) into an InstallError."""
    try:
        yield
    except QNetSegmentError:
        raise
    except Exception as error:
        code = error.returncode if isinstance(error, subprocess.CalledProcessError) else None
        reason = _("pip ended with code {code}").format(code=code) if code is not None else str(error)
        lines = reason.strip().splitlines() or [type(error).__name__]
        raise InstallError(
            _("{what} could not be installed: {reason}.").format(what=what, reason=lines[0].rstrip(".")),
            _("Check the internet connection and the free space; Slicer's Python console shows all details."),
            f"{type(error).__name__}: {error}",
        ) from error
