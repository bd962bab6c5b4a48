"""What result files of R1, R2 and R3 keep of one result, and what they say of a method.

Figures are in per cent, mm, ml and seconds; None where nothing is known.
"""

from __future__ import annotations

from typing import TypedDict

from ..metrics import Measures
from ..summary import Row, Summary


class Score(Measures, total=False):
    volume_error: float | None  # per cent, positive for too much
    end_error_slices: list[int] | None  # [low end, high end], negative where the result stops short of it
    end_error_mm: list[float] | None
    false_ml: float | None  # outside the structure's range
    slices: int  # of a volume without the structure, which has false_ml only


class Reliability(TypedDict):
    voxels: list[list[int]]  # [how many, how many of the structure] for each of `BINS` of probability
    slices: list[list[float]]  # [expected, true Dice] of each slice that is occupied in either mask


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
    presence: float | None  # see `qnetseg.segment.Report`
    signs: dict[str, float | None] | None


class ReliabilityFigures(TypedDict):
    voxels: list[list[int]]  # as in the rows, summed
    voxel_error: float  # expected calibration error (Naeini et al. 2015): mean of |probability - frequency|
    slices: int
    slice_error: float  # mean distance of expected and true Dice
    correlation: float | None  # of the two; None where either does not vary
    least_sure_hits: float | None  # share of results whose least certain slice is one of the worst few


class MethodFigures(TypedDict):
    false_ml: float | None  # median
    seconds: float | None  # mean
    rows: int


class R1Figures(MethodFigures):
    structures: Summary
    kinds: dict[str, dict[str, float]]  # see `r1.by_kind`
    volume_error: float | None  # mean, of either sign
    end_error_slices: float | None  # median
    end_error_mm: float | None
    reliability: ReliabilityFigures | None


class Headlines(TypedDict):
    flag_hit: float | None  # how often the flag was right
    flags: int
    slices_for_goal: float | None  # median of drawn slices; None: more than there were rounds
    reached: float  # share of cases
    slices_for_goal_with_drawn: float | None
    reached_with_drawn: float


class R3Figures(MethodFigures):
    structures: Summary  # a patient's supports averaged; all else is over all pairs
    median: float
    worst_tenth: float
    worst_decile: float
    spread_over_supports: float | None
    doubted: float  # share of results
    dice_doubted: float | None


class AbsentFigures(MethodFigures):
    false_ml_mean: float | None
    left_empty: float  # share of queries
    doubted: float  # share of those that are left empty or come with a warning
    structures: dict[str, float | None]  # medians of false volume
