"""What a segmentation gives back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..boxes import Box
from ..parsing import number, short_text, whole
from .presence import FOUND, OUTCOMES

if TYPE_CHECKING:
    from ..volume import Drawing, SupportSet

_MOST = 1e12  # of any figure in an account


@dataclass(frozen=True)
class SliceReport:
    """One slice of the query.

    Attributes:
        index: slice index of the canonical volume along the plane's normal.
        occupied: whether the structure was found there.
        score: 0 to 1, the Dice to be expected of this slice's mask, see `confidence`; 1 for a drawn slice.
        support_index: index of the drawn slice that it was segmented from.
        area_mm2: area of the mask.
        drawn: whether the user drew this slice; its mask is then the drawing.
    """

    index: int
    occupied: bool
    score: float
    support_index: int
    area_mm2: float
    drawn: bool


@dataclass(frozen=True)
class Report:
    """How a segmentation came about.

    Attributes:
        structure: name of the support set.
        model: name of the weights.
        device: where it ran in the end, e.g. "cpu" or "cuda".
        precision: "fp32" or "bf16".
        seconds: wall time of `segment_volume`.
        volume_ml: volume of the mask.
        plane: "axial", "coronal" or "sagittal".
        threshold_offset: what calibration on the drawn slices added to the threshold.
        slices: one entry for every slice that was looked at.
        warnings: sentences for the user.
        outcome: "found", "doubtful" or "not here".
        presence: probability that the structure is in another patient's volume; None for the volume that was
            drawn on, and where nothing was found that could be judged.
        signs: what speaks for it or against it, see `presence.Signs`; None likewise.
    """

    structure: str
    model: str
    device: str
    precision: str
    seconds: float
    volume_ml: float
    plane: str
    threshold_offset: float
    slices: tuple[SliceReport, ...]
    warnings: tuple[str, ...]
    outcome: str = FOUND
    presence: float | None = None
    signs: dict[str, float | None] | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Report:
        """Inverse of `to_json`. Raises ValueError, TypeError or KeyError for JSON that is no report."""
        report = cls(
            **{
                **values,
                "slices": tuple(SliceReport(**entry) for entry in values["slices"]),
                "warnings": tuple(values["warnings"]),
            }
        )
        texts = (report.structure, report.model, report.device, report.precision, report.plane)
        for text in (*texts, *report.warnings):
            short_text(text)
        for value in (report.seconds, report.volume_ml, report.threshold_offset):
            number(value, -_MOST, _MOST)
        if report.outcome not in OUTCOMES:
            raise ValueError("an unknown outcome")
        if report.presence is not None:
            number(report.presence, 0, 1)
        if not isinstance(report.signs, dict | None):
            raise ValueError("signs without names")
        for name, sign in (report.signs or {}).items():
            short_text(name)
            if sign is not None:
                number(sign, -_MOST, _MOST)
        for part in report.slices:
            whole(part.index, 0, int(_MOST))
            whole(part.support_index, 0, int(_MOST))
            number(part.score, 0, 1)
            number(part.area_mm2, 0, _MOST)
            if not isinstance(part.occupied, bool) or not isinstance(part.drawn, bool):
                raise ValueError("neither true nor false")
        return report


@dataclass(frozen=True)
class Segmentation:
    """Result on the query's own grid.

    Attributes:
        mask: (K, J, I) uint8, 0 or 1.
        confidence: (K, J, I) float32 in [0, 1], probability of the structure.
        report: how it came about.
    """

    mask: np.ndarray
    confidence: np.ndarray
    report: Report


@dataclass(frozen=True, eq=False)
class Found:
    """What remains of a segmentation when the arrays of the volume's size are let go of.

    Attributes:
        mask: the structure's voxels on the query's own grid.
        confidence: (n,) float32 of these voxels, see `Box.values`; None where nobody asked for it.
        report: how it came about.
    """

    mask: Box
    confidence: np.ndarray | None
    report: Report

    @classmethod
    def of(cls, segmentation: Segmentation) -> Found:
        """The same without what is empty."""
        box = Box.around(segmentation.mask)
        return cls(box, box.values(segmentation.confidence), segmentation.report)


@dataclass(frozen=True, eq=False)
class StructureResult:
    """What was found of one structure, beside others.

    Attributes:
        example: that it was segmented from.
        axes: (3, 3), of the example's volume, see `SupportSet`.
        mask: on the query's own grid, without the voxels that went to other structures.
        report: as the engine gave it.
    """

    example: SupportSet | Drawing
    axes: np.ndarray
    mask: Box
    report: Report


def volume_text(millilitres: float) -> str:
    """A volume for people; what is too small for ml, as in a micro-CT, in cubic mm."""
    if 0 < millilitres < 0.05:
        return f"{1000 * millilitres:.3g} cubic mm"
    return f"{millilitres:.1f} ml"
