"""What a simulated user hands to a method, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..collections import Study


@dataclass(frozen=True, eq=False)
class Task:
    """A volume and what is drawn on it, or on another patient.

    Attributes:
        study: the volume to segment; methods look at its labels never.
        structure: its name.
        mask: (S, H, W) bool, what is drawn on this volume; empty outside `slices`.
        slices: indices of the drawn slices, ascending. One that is blank in `mask` was drawn as empty: the
            user says that the structure is not there.
        usual_length: mm that the structure measures along the normal in other patients, if that is known.
        support: the drawing on another patient, when nothing is drawn on this volume.
        further: drawings of the same structure on further patients.
    """

    study: Study
    structure: str
    mask: np.ndarray
    slices: tuple[int, ...]
    usual_length: float | None = None
    support: Task | None = None
    further: tuple[Task, ...] = ()

    @property
    def image(self) -> np.ndarray:
        """(S, H, W) float32."""
        return self.study.stack(self.study.volume.array)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm along (S, H, W)."""
        return self.study.spacing

    @property
    def filled(self) -> list[int]:
        """Drawn slices that hold the structure."""
        return [index for index in self.slices if self.mask[index].any()]

    def as_drawn(self, mask: np.ndarray) -> np.ndarray:
        """A result (S, H, W) bool with its drawn slices as they were drawn."""
        drawn = list(self.slices)
        mask = mask.copy()
        mask[drawn] = self.mask[drawn]
        return mask


def draw(
    study: Study, truth: np.ndarray, structure: str, slices: list[int], usual_length: float | None = None
) -> Task:
    """The expert's mask on some slices of a study; truth: (S, H, W) bool."""
    mask = np.zeros_like(truth)
    mask[slices] = truth[slices]
    return Task(study, structure, mask, tuple(sorted(slices)), usual_length)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method makes of a task.

    Attributes:
        mask: (S, H, W) bool; drawn slices as they were drawn.
        confidence: slice index -> 0 to 1, how good the method itself thinks each slice is; empty if it does
            not say.
        probability: (S, H, W) float32 of the structure; None if the method does not say.
        doubted: whether the method says itself that the structure may not be there.
        presence, signs: see `qnetseg.segment.Report`.
    """

    mask: np.ndarray
    confidence: dict[int, float] = field(default_factory=dict)
    probability: np.ndarray | None = None
    doubted: bool = False
    presence: float | None = None
    signs: dict[str, float | None] | None = None
