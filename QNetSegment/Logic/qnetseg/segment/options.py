"""Options of `segment_volume`; the defaults are for a clinician, the protocols choose others."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import InputError
from ..model import Refinement

MATCHING = ("auto", "nearest", "similar", "thirds")
PRECISIONS = ("auto", "fp32", "bf16")
STEPS = {
    "doubt": "the first random walker's doubt about what is carried from slice to slice",
    "propagation": "carrying the drawing from slice to slice",
    "outline": "the random walker that draws the outline",
    "ends": "the pull to background that grows with the distance",
    "anywhere": "asking the most alike places anywhere on the drawn slice",
    "features": "the encoder's features in the likeness of two places",
    "intensities": "the intensities in the likeness of two places",
}
"""Steps on the volume that was drawn on, from the surest slice also on another: name -> what it does."""
STEPS_ACROSS = {
    "correspondence": "comparing every place with every drawn one, beside Q-Net's prototype",
    "level": "preferring the slice on which all of the drawing is found again",
    "threshold": "outlining that slice at the threshold that makes it surest",
    "absence": "leaving a volume empty where only the drawing's surroundings are found again",
    "carrying": "carrying the surest slice through the volume",
}
"""Steps on another patient's volume before those."""


@dataclass(frozen=True)
class SegmentOptions:
    """How a volume is segmented.

    Attributes:
        matching: which drawn slice a query slice is segmented from: "nearest" in the volume, most
            "similar" in its features, "thirds" (the paper's protocol: the range is divided evenly among
            the drawn slices), or "auto": nearest in the volume that was drawn on, else similar.
        whole: find the structure in the volume as a whole; else as the network predicts each slice.
        without: steps of the whole-volume method to leave out, to measure what they are worth.
        slices: canonical slice indices to look at, ascending; None for all.
        calibrate: choose the threshold's offset on the drawn slices.
        clean_up: keep what belongs together in 3-D and drop the rest.
        refinement: test-time prototype refinement (paper, section 4.3).
        alpha: weight of the fine path instead of the model's.
        batch_size: slices encoded at once, between which cancelling is possible; halved when memory runs out.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" takes bf16 where the hardware computes in it.
    """

    matching: str = "auto"
    whole: bool = True
    without: tuple[str, ...] = ()
    slices: tuple[int, ...] | None = None
    calibrate: bool = True
    clean_up: bool = True
    refinement: Refinement = field(default_factory=Refinement)
    alpha: float | None = None
    batch_size: int = 1
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, allowed in (("matching", MATCHING), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"The option {name} is {getattr(self, name)!r}.", f"Use {', '.join(allowed)}."
                )
        unknown = sorted(set(self.without) - set(STEPS) - set(STEPS_ACROSS))
        if unknown:
            raise InputError(
                f"There is no step {unknown[0]!r} to leave out.",
                f"Steps are {', '.join((*STEPS, *STEPS_ACROSS))}.",
            )
        if self.batch_size < 1:
            raise InputError("The option batch_size must be at least 1.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "without": list(self.without)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SegmentOptions:
        """Inverse of `to_dict`. Raises `InputError` for an unknown or impossible option."""
        unknown = sorted(set(values) - {entry.name for entry in fields(cls)})
        if unknown:
            raise InputError(
                f"There is no option {unknown[0]!r}.",
                f"Options are {', '.join(entry.name for entry in fields(cls))}.",
            )
        values = dict(values)
        try:
            if "refinement" in values:
                values["refinement"] = Refinement(**values["refinement"])
            if "without" in values:
                values["without"] = tuple(values["without"])
            if values.get("slices") is not None:
                values["slices"] = tuple(int(index) for index in values["slices"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The options cannot be read ({error}).", "Compare them with the documentation."
            ) from error
