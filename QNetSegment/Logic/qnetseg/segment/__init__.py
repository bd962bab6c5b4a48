"""From drawn slices and a volume to a mask, a confidence and a report.

The names are imported when they are asked for: the worker's client needs the results' classes in processes
that must not load torch. The module itself can be called, as `qnetseg.segment(image, mask)`: that is
`qnetseg.arrays.segment`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .anatomy import with_patient
    from .engine import segment_volume
    from .job import Job
    from .options import SegmentOptions
    from .query import Query
    from .result import Report, Segmentation, SliceReport

_HOMES = {
    "Job": "job",
    "Query": "query",
    "Report": "result",
    "Segmentation": "result",
    "SegmentOptions": "options",
    "SliceReport": "result",
    "segment_volume": "engine",
    "with_patient": "anatomy",
}

__all__ = [
    "Job",
    "Query",
    "Report",
    "Segmentation",
    "SegmentOptions",
    "SliceReport",
    "segment_volume",
    "with_patient",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """See `qnetseg.arrays.segment`."""
        return import_module("qnetseg.arrays").segment(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
