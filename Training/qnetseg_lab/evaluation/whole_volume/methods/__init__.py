"""What a user could do instead, and our method, behind one signature: a `Task` in, an `Answer` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from qnetseg.errors import InputError

from .task import Answer, Task, draw

if TYPE_CHECKING:
    from qnetseg.model import Networks
    from qnetseg.segment import SegmentOptions

BEYOND = 2  # slices beyond each end of the structure where the user of growcut-ends paints background

Pick = Callable[[np.ndarray, int, int], list[int]]


def only_the_drawn(occupied: np.ndarray, index: int, count: int) -> list[int]:
    """The one slice that everybody gets.

    Args:
        occupied: ascending indices of the slices that hold the structure.
        index: the slice that is drawn.
        count: slices of the stack.
    """
    return [index]


def with_painted_ends(occupied: np.ndarray, index: int, count: int) -> list[int]:
    """Also a slice of background beyond each end; none where the structure reaches the end of the stack."""
    first, last = int(occupied[0]), int(occupied[-1])
    ends = ([max(first - BEYOND, 0)] if first > 0 else []) + (
        [min(last + BEYOND, count - 1)] if last < count - 1 else []
    )
    return sorted({index, *ends})


def three_and_the_range(occupied: np.ndarray, index: int, count: int) -> list[int]:
    """Slices at 1/6, 3/6 and 5/6 of the structure, and the empty ones next to its ends."""
    drawn = {int(occupied[int(share * len(occupied))]) for share in (1 / 6, 3 / 6, 5 / 6)}
    ends = {int(occupied[0]) - 1, int(occupied[-1]) + 1} & set(range(count))
    return sorted(drawn | ends)


@dataclass(frozen=True)
class Method:
    """One row of a table.

    Attributes:
        title: name in tables.
        given: what its user draws in R1.
        protocols: the protocols that it can take part in.
        function: "module:name" below this package; imported when it is called.
        pick: slices that its user draws in R1.
        options: of `segment_volume`, for our method and its variants; None for the baselines.
        package: what the method needs beyond the engine's dependencies.
    """

    title: str
    given: str
    protocols: tuple[str, ...]
    function: str
    pick: Pick = only_the_drawn
    options: dict[str, Any] | None = None
    package: str = ""


ONE = "one slice"
METHODS: dict[str, Method] = {
    "qnet": Method("QNetSegment", ONE, ("r1", "r2", "r3"), "ours:segment", options={}),
    "qnet-alone": Method(
        "QNetSegment, of the drawn patient one slice", ONE, ("r3",), "ours:segment_alone", options={}
    ),
    "qnet-slices": Method(
        "Q-Net, slice by slice",
        ONE,
        ("r1", "r2", "r3"),
        "ours:segment",
        options={"method": "q-net", "clean_up": False},
    ),
    "copy": Method("copy", ONE, ("r1", "r2", "r3"), "copy_slice:copy_slice"),
    "ellipsoid": Method("ellipsoid", "one slice, usual length", ("r1", "r3"), "ellipsoid:ellipsoid"),
    "interpolation": Method(
        "shape interpolation",
        "three slices, range",
        ("r1", "r2"),
        "interpolation:shape_interpolation",
        pick=three_and_the_range,
    ),
    "growcut": Method("grow-cut", ONE, ("r1", "r2"), "grow_cut:grow_cut", package="slicer_core"),
    "growcut-ends": Method(
        "grow-cut, painted ends",
        "one slice, background beyond both ends",
        ("r1",),
        "grow_cut:grow_cut",
        pick=with_painted_ends,
        package="slicer_core",
    ),
    "random-walker": Method("random walker", ONE, ("r1", "r2"), "random_walker:walk"),
}
ABLATION = {
    f"without-{step}": Method(f"without {words}", ONE, ("r3",), f"ablated:without_{step}", options={})
    for step, words in {
        "similar": "a first slice by similarity",
        "near": "Q-Net near the aligned place",
        "place": "the aligned place as a part of the hint",
        "around": "the overlay around the structure",
        "turn": "patients that are turned in the plane",
        "bend": "bending after shift and scale",
        "trust": "weights of the ways",
        "hint": "the propagation that begins with what the ways and the place agree on",
    }.items()
}
METHODS |= ABLATION


def chosen_methods(names: Sequence[str], protocol: str) -> tuple[str, ...]:
    """The methods' names, each once; "all" stands for all of the protocol.

    Raises `InputError` for an unknown name, one that cannot take part, or one whose package is missing.
    """
    able = [name for name, method in METHODS.items() if protocol in method.protocols]
    groups = {"all": [name for name in able if name not in ABLATION]}
    groups["ablation"] = [name for name in able if name in ABLATION]
    wanted: list[str] = []
    for name in names:
        if name not in groups and name not in METHODS:
            raise InputError(f"There is no method {name!r}.", f"Known are {', '.join((*groups, *METHODS))}.")
        if name not in groups and name not in able:
            raise InputError(
                f"The method {name} cannot take part in {protocol.upper()}.",
                f"There are {', '.join(able)}.",
            )
        wanted += groups.get(name, [name])
    if not wanted:
        raise InputError("No method is named.", f"There are {', '.join(able)}.")
    for name in wanted:
        package = METHODS[name].package
        if package and find_spec(package) is None:
            raise InputError(
                f"The method {name} is Slicer's own class and needs {package}, which is not installed.",
                "Install it with `pip install 'qnetseg-lab[slicer]'`, or leave the method out.",
            )
    return tuple(dict.fromkeys(wanted))


def needs_model(names: Sequence[str]) -> bool:
    """Whether one of the methods is ours."""
    return any(METHODS[name].options is not None for name in names)


def run_method(name: str, task: Task, networks: Networks | None, options: SegmentOptions | None) -> Answer:
    """Let a method do a task; networks and options are for ours only and None where none is ours."""
    method = METHODS[name]
    module, function = method.function.split(":")
    call = getattr(import_module(f".{module}", __name__), function)
    if method.options is not None:
        assert options is not None
        answer: Answer = call(task, networks, replace(options, **method.options))
    else:
        answer = call(task)
    return answer


__all__ = [
    "METHODS",
    "Answer",
    "Method",
    "Task",
    "chosen_methods",
    "draw",
    "needs_model",
    "run_method",
]
