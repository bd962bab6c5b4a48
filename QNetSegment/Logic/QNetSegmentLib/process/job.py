"""A segmentation that the worker was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from qnetseg.volume import SupportSet, Volume
    from qnetseg.worker import protocol


@dataclass
class Job:
    """A segmentation that was submitted and has not ended; `request` is None until it was sent."""

    token: str
    support: SupportSet
    query: Volume
    model: str | os.PathLike[str] | None
    options: Mapping[str, Any] | None
    device: str
    last: bool
    background: np.ndarray | None = None
    drawn_on: Volume | None = None
    request: protocol.Segment | None = None
    cancelled: bool = False
