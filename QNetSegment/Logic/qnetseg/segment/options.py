"""Options of `segment_volume`; the defaults are for a clinician, the protocols choose others."""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import InputError
from ..model import Refinement
from ..parsing import number, whole

METHODS = ("volume", "q-net")
MATCHING = ("auto", "nearest", "similar", "thirds")
PRECISIONS = ("auto", "fp32", "bf16")
MOST_THREADS = 1024


@dataclass(frozen=True)
class SegmentOptions:
    """How a volume is segmented. `matching` to `alpha` are obeyed by the method "q-net", and by "volume"
    where it asks Q-Net for the place of the structure in another patient.

    Attributes:
        method: "volume" finds the structure in 3-D; "q-net" predicts slice by slice, as in the paper.
        clean_up: keep what belongs together in 3-D and drop the rest.
        matching: which drawn slice a query slice is segmented from: "nearest" in the volume, most
            "similar" in its features, "thirds" (the paper's protocol: the range is divided evenly among
            the drawn slices), or "auto": nearest in the volume that was drawn on, else similar.
        slices: canonical slice indices that "q-net" looks at, ascending; None for all.
        calibrate: choose the threshold's offset on the drawn slices.
        refinement: test-time prototype refinement (paper, section 4.3).
        alpha: weight of the fine path instead of the model's.
        batch_size: slices encoded at once, between which cancelling is possible; halved when memory runs out.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" takes bf16 where the hardware computes in it.
        threads: of the CPU; 0 leaves PyTorch's own number.
    """

    method: str = "volume"
    clean_up: bool = True
    matching: str = "auto"
    slices: tuple[int, ...] | None = None
    calibrate: bool = True
    refinement: Refinement = field(default_factory=Refinement)
    alpha: float | None = None
    batch_size: int = 1
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        choices = (("method", METHODS), ("matching", MATCHING), ("precision", PRECISIONS))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"The option {name} is {reprlib.repr(getattr(self, name))}.", f"Use {', '.join(allowed)}."
                )
        for name, low, high in (("batch_size", 1, 10_000), ("threads", 0, MOST_THREADS)):
            try:
                whole(getattr(self, name), low, high)
            except ValueError as error:
                raise InputError(f"The option {name} must be a whole number from {low} to {high}.") from error
        if self.alpha is not None:
            try:
                number(self.alpha, 0, 1)
            except ValueError as error:
                raise InputError("The option alpha must be a number from 0 to 1.") from error
        if self.slices is not None and self.method != "q-net":
            raise InputError(
                "Only the method q-net can look at some slices alone.", "Use the method q-net, or all slices."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SegmentOptions:
        """Inverse of `to_dict`. Raises `InputError` for an unknown or impossible option."""
        unknown = sorted(set(values) - {entry.name for entry in fields(cls)})
        if unknown:
            raise InputError(
                f"There is no option {reprlib.repr(unknown[0])}.",
                f"Options are {', '.join(entry.name for entry in fields(cls))}.",
            )
        values = dict(values)
        try:
            if "refinement" in values:
                values["refinement"] = Refinement(**values["refinement"])
            if values.get("slices") is not None:
                values["slices"] = tuple(whole(index, 0, 1 << 30) for index in values["slices"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The options cannot be read ({error}).", "Compare them with the documentation."
            ) from error
