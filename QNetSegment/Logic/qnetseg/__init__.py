"""QNetSegment's engine: segments a volume from one drawn slice, without training on the structure.

In a notebook, `qnetseg.segment(image, mask)` is all that is needed; see `qnetseg.arrays`. Nothing is imported
here, so that reading the version or a volume does not wait for torch. Programs start with `qnetseg.volume`
(images and drawn slices), `qnetseg.models` (weights) and `qnetseg.segment` (`segment_volume`, the one
function that the command line, the worker and Slicer all call).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrays import segment as segment  # what type checkers shall know of the call

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name != "segment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".segment", __name__)  # which can be called
