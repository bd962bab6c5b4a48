"""What is the same for every study of a batch, in a form that other processes and machines can be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cores import let_waiting_threads_sleep

if TYPE_CHECKING:
    from ..segment import Query, Segmentation
    from ..volume import SupportSet

    Segment = Callable[[Sequence["Example"], Query], Segmentation]


@dataclass(frozen=True, eq=False)
class Example:
    """One example of a structure.

    Attributes:
        support: the drawn slices.
        volume: absolute path of the whole volume that was drawn on, which helps to find the place; every
            process reads it itself. None where it is not named; the support set may hold the patient.
    """

    support: SupportSet
    volume: Path | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the whole patient is known, and not only the drawn slices."""
        return self.volume is not None or self.support.patient is not None


def real_engine(plan: Plan) -> Segment:
    """A function that segments with the real networks, see `engine.Engine`."""
    let_waiting_threads_sleep()  # before torch is imported; workers of a cluster come from elsewhere
    from .engine import Engine

    return Engine(plan)


@dataclass(frozen=True, eq=False)
class Plan:
    """How to segment a study. It can be pickled.

    Attributes:
        structures: what to look for; of each structure all examples, which have one name.
        model: a name of the catalogue or a path of a weights file; None for the default ones.
        device: "auto", "cpu", "cuda" or "mps".
        options: of `SegmentOptions`.
        redo: whether studies are run again that an earlier batch has finished.
        dicom: whether studies that are DICOM series get a DICOM segmentation, too.
        make_engine: makes of the plan the function that segments, once in each process; a function that can
            be imported there.
    """

    structures: tuple[tuple[Example, ...], ...]
    model: str | None = None
    device: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    redo: bool = False
    dicom: bool = False
    make_engine: Callable[[Plan], Segment] = real_engine

    @property
    def examples(self) -> list[Example]:
        """Those of all structures, one after the other."""
        return [example for examples in self.structures for example in examples]
