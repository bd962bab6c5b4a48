"""What result files of R1, R2 and R3 keep of one result, and what they say of a method.

Figures are in per cent, mm, ml and seconds; None where nothing is known.
"""

from __future__ import annotations

from typing import TypedDict

from ..metrics import Measures
from ..summary import Row, Summary


class Score(Measures, total=False):
    """volume_error: in per cent, positive for too much; ends: [low end, high end], positive where the result
    runs past the end and negative where it stops short; false_ml: outside the structure's range; slices: how
    many where the structure is absent, and has false volume only."""

    volume_error: float | None
    end_error_slices: list[int] | None
    end_error_mm: list[float] | None
    false_ml: float | None
    slices: int


class Reliability(TypedDict):
    """voxels: [how many, how many of the structure] for each of `reliability.BINS` equal bins of probability;
    slices: [expected, true Dice] of each slice that is occupied in either mask."""

    voxels: list[list[int]]
    slices: list[list[float]]


class MethodRow(Row, Score):
    method: str
    seconds: float


class R1Row(MethodRow):
    kind: str
    choice: str
    seed: int | None
    slice: int
    drawn: list[int]  # by the user of the method; not scored
    reliability: Reliability | None


class Flag(TypedDict, total=False):
    flag: int  # slice with the lowest confidence
    flag_hit: bool | None  # whether it is one of the worst few


class R2Row(MethodRow, Flag):
    pick: str
    round: int  # how many slices are drawn
    drawn: list[int]
    dice_with_drawn: float  # of all slices


class R3Row(MethodRow):
    support: str
    doubted: bool  # the method warns of its own result


class ReliabilityFigures(TypedDict):
    """voxels: as in the rows, summed; voxel_error: expected calibration error (Naeini et al. 2015), the mean
    distance of probability and frequency over voxels; slices: how many; slice_error: mean distance of
    expected and true Dice; correlation: of the two (None where either does not vary); least_sure_hits:
    per cent of the results whose least certain slice is one of its `WORST_FEW` worst."""

    voxels: list[list[int]]
    voxel_error: float
    slices: int
    slice_error: float
    correlation: float | None
    least_sure_hits: float | None


class R1Figures(TypedDict):
    """Ends and false volume are medians over rows; volume error, of either sign, and seconds are means."""

    structures: Summary
    kinds: dict[str, dict[str, float]]  # see `r1.by_kind`
    volume_error: float | None
    end_error_slices: float | None
    end_error_mm: float | None
    false_ml: float | None
    seconds: float | None
    reliability: ReliabilityFigures | None
    rows: int


class Headlines(TypedDict):
    flag_hit: float | None  # how often the flag was right
    flags: int
    slices_for_goal: float | None  # median of drawn slices; None: more than there were rounds
    reached: float  # share of cases
    slices_for_goal_with_drawn: float | None
    reached_with_drawn: float


class R3Figures(TypedDict):
    """By structure a patient's supports are averaged; else over all pairs. Spread over supports; the share of
    results that the method doubts itself, and the mean Dice of those."""

    structures: Summary
    median: float
    worst_tenth: float
    worst_decile: float
    spread_over_supports: float | None
    doubted: float
    dice_doubted: float | None
    false_ml: float | None
    seconds: float | None
    rows: int


class AbsentFigures(TypedDict):
    """False volume: median, mean, and median by structure; share of queries that are left empty, and that are
    so or doubted by the method itself."""

    false_ml: float | None
    false_ml_mean: float | None
    left_empty: float
    doubted: float
    structures: dict[str, float | None]
    seconds: float | None
    rows: int
