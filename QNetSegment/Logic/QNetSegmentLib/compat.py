"""The only shims for Slicer 5.10; everything here goes when Slicer 5.12 is the oldest supported, 2027-06.

Slicer 5.12 brought `slicer.packaging` and titles of sample data categories. Callers use the functions of this
file, which call Slicer's own where it has them; when the shims go, callers call Slicer directly.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path


class InstallDeclined(Exception):
    """The user was asked, and did not want the packages."""


def load_requirements(path: Path) -> list[str]:
    """The requirements in a file, as pip writes them. Raises OSError.

    Shim for Slicer 5.10: remove when Slicer 5.12 is the oldest supported, 2027-06.
    """
    try:
        from slicer.packaging import load_requirements as load
    except ImportError:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line and not line.startswith(("#", "-"))]
    return [str(requirement) for requirement in load(path)]


def pip_check(requirement: str) -> bool:
    """Whether an installed package satisfies the requirement.

    Shim for Slicer 5.10: remove when Slicer 5.12 is the oldest supported, 2027-06.
    """
    try:
        from slicer.packaging import pip_check as check
    except ImportError:
        return _is_satisfied(requirement)
    return bool(check(requirement))


def pip_ensure(requirements: Sequence[str], requester: str) -> None:
    """Ask the user and install those of the requirements that are not satisfied.

    Raises InstallDeclined when the user does not want it, CalledProcessError when pip fails, RuntimeError
    when another installation is running.
    Shim for Slicer 5.10: remove when Slicer 5.12 is the oldest supported, 2027-06.
    """
    try:
        from slicer.packaging import pip_ensure as ensure
    except ImportError:
        _ask_and_install([one for one in requirements if not pip_check(one)], requester)
        return
    try:
        ensure(list(requirements), requester=requester)
    except RuntimeError as error:
        if "declined" in str(error):  # Slicer has no type of its own for the user's No
            raise InstallDeclined(str(error)) from error
        raise


def register_sample_category(category: str, title: str) -> None:
    """Give a category of the SampleData module its title; before 5.12 the category's name is its title.

    Shim for Slicer 5.10: remove when Slicer 5.12 is the oldest supported, 2027-06.
    """
    from SampleData import SampleDataLogic

    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):
        SampleDataLogic.registerCustomSampleDataCategory(category, title)


def _is_satisfied(requirement: str) -> bool:
    """As `slicer.packaging.pip_check`; presence alone counts where the package `packaging` is missing."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return _version(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) is not None
    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    found = _version(wanted.name)
    return found is not None and wanted.specifier.contains(found, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ask_and_install(missing: list[str], requester: str) -> None:
    import slicer
    from slicer.i18n import tr as _

    if not missing or slicer.app.testingEnabled():
        return
    question = _("{requester} needs these Python packages: {packages}.\n\nInstall them now?").format(
        requester=requester, packages=", ".join(missing)
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise InstallDeclined(question)
    slicer.util.pip_install(missing)
