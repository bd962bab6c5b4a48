"""PyTorch through Slicer's PyTorch extension, which finds the build that fits the graphics driver."""

from __future__ import annotations

import importlib.util
import sys

from slicer.i18n import tr as _

EXTENSION = "PyTorch"
NEEDED = {"torch": "2.1", "torchvision": "0.16"}
"""Packages and the oldest version of each that works; the newest that exists for some Macs is torch 2.2."""


def extension_is_there() -> bool:
    """Whether Slicer's PyTorch extension is loaded; nothing is imported."""
    return "PyTorchUtils" in sys.modules or importlib.util.find_spec("PyTorchUtils") is not None


def notice() -> str:
    """What the user should know before PyTorch is installed."""
    return _(
        "PyTorch is a download of several hundred MB to a few GB. "
        "Slicer does not respond until it is installed, which can take many minutes."
    )


def extension_notice() -> str:
    """What the user should know before the extension is installed."""
    return _(
        "Slicer's PyTorch extension is a small download. "
        "It installs PyTorch in the next step, after Slicer was restarted."
    )
