"""Our method on another patient without one of its steps: what is each of them worth?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

from qnetseg.model import Networks
from qnetseg.segment import SegmentOptions, across, alignment, anatomy, bending

from . import ours
from .task import Answer, Task


def _without_seed(name: str) -> Any:
    seeds = across._Search.seeds
    return patch.object(
        across._Search,
        "seeds",
        lambda search, seen: {key: seed for key, seed in seeds(search, seen).items() if key != name},
    )


def _without_place() -> Any:
    agreed = across._agreed
    return patch.object(across, "_agreed", lambda ways, places: agreed(ways, [] if ways else places))


STEPS: dict[str, Callable[[], Any]] = {
    "similar": partial(_without_seed, "similar"),
    "near": partial(_without_seed, "near"),
    "place": _without_place,
    "around": lambda: patch.object(alignment.Overlay, "near", lambda overlay, lower, upper: overlay.shift),
    "turn": lambda: patch.object(anatomy, "TURNS", (0,)),
    "bend": lambda: patch.object(bending, "_bend", lambda query, support, positions, reach: positions),
    "trust": lambda: patch.object(across, "TRUST", 0.0),
    "hint": lambda: patch.object(across._Search, "hinted", lambda search, hint, job: (hint, None)),
}
"""The change of the engine that leaves a step out."""


def segment(task: Task, networks: Networks, options: SegmentOptions, step: str) -> Answer:
    """Ours without a step."""
    with STEPS[step]():  # nothing that is kept with the volumes depends on one
        return ours.segment(task, networks, options)


def __getattr__(name: str) -> Any:
    """`without_STEP` for each step: methods are named by functions."""
    step = name.removeprefix("without_")
    if step == name or step not in STEPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(segment, step=step)
