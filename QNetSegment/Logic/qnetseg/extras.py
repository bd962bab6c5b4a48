"""Packages that only some users need."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from .errors import InputError

INSTALL, OLDEST = "'highdicom>=0.28'", (0, 28)


def require_highdicom() -> None:
    """InputError where the package that writes DICOM segmentations is missing or too old."""
    try:
        found = version("highdicom")
    except PackageNotFoundError as cause:
        raise InputError(
            "A DICOM segmentation needs highdicom, which is not installed.", f"pip install {INSTALL}."
        ) from cause
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST:
        raise InputError(
            f"A DICOM segmentation needs a newer highdicom than {found}, which is installed.",
            f"pip install --upgrade {INSTALL}.",
        )
