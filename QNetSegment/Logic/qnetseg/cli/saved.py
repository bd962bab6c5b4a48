"""A saved example, which is a drawing with its image, given as MASK."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..volume import SupportSet


def is_saved(mask: Path) -> bool:
    """Whether MASK is a drawing with its image."""
    return mask.suffix.lower() == ".npz"


def read_saved(arguments: argparse.Namespace) -> SupportSet:
    """The drawing. Raises InputError, also for options that it leaves nothing to do."""
    from ..volume import SupportSet

    given = {"--support": arguments.support, "--label": arguments.label, "--not-here": arguments.not_here}
    if unfit := [name for name, value in given.items() if value]:
        raise InputError(
            f"{unfit[0]} does not go with '{arguments.mask.name}', which is a saved example.",
            "Leave it out.",
        )
    return SupportSet.load(arguments.mask)
