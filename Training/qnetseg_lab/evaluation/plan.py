"""The paper's tables as a list of scorings, each with its training: every row on one fold before any on two.

Every training of a budget has the same recipe file; what differs between rows stands in `ROWS`. A training
that leaves no structures out learns from both data sets, with every method alike, and serves Setting 1 of
CHAOST2 and CMR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from qnetseg.errors import InputError

from ..data.catalogue import FOLDS

# Rows of Tables 1 and 2: what they have otherwise than the recipe, Q-Net's; names as in `train --set`.
_BASELINE = {"model.downsample_layer": 2, "model.paths": "coarse"}
ROWS: dict[str, dict[str, Any]] = {
    "qnet": {},
    "adnet": {"method": "adnet", **_BASELINE, "model.feature_channels": 256, "model.threshold": "fixed"},
    "alpnet": {
        "method": "alpnet",
        **_BASELINE,
        "model.feature_channels": 256,
        "episodes.supervoxels": "superpixels",  # its episodes are its own, as its authors have them
        "episodes.partner": "same",
    },
    "panet": {"method": "panet", **_BASELINE},
    "senet": {"method": "senet", "model.downsample_layer": 2, "model.feature_channels": 64},
    "dp": {"model.threshold": "fixed"},  # also "DS on Layer 4"
    "64x64": {"model.threshold": "fixed", "model.paths": "fine"},
    "32x32": {"model.threshold": "fixed", "model.paths": "coarse", "model.downsample_layer": 2},
    "dp-layer2": {"model.threshold": "fixed", "model.downsample_layer": 2},
    "dp-layer3": {"model.threshold": "fixed", "model.downsample_layer": 3},
}
METHODS = ("qnet", "adnet", "alpnet", "panet", "senet")
MODULES = tuple(row for row in ROWS if row not in METHODS)

# What a training must not see: nothing, or one of the two groups of Setting 2. Short-axis slices of CMR may
# show liver and spleen without labels, so the second group learns from CHAOST2 alone.
UNSEEN: dict[str, dict[str, Any]] = {
    "": {},
    "no-kidneys": {"data.chaos.exclude": ["right kidney", "left kidney"]},
    "no-upper": {"data.chaos.exclude": ["liver", "spleen"], "data.cmr.share": 0},
}
# Rows that are compared, patient by patient.
COMPARED = (
    ("qnet", "adnet"),  # the paper's claim
    ("dp", "64x64"),  # what the second path brings
    ("qnet", "dp"),  # what the threshold from the query brings
)
TABLES = ("table1", "table2", "table3", "figure4")
FIRST_FOLDS = (0, 1)


@dataclass(frozen=True)
class Training:
    """One training: a row of a table, the fold that is left out, and the structures that are unseen."""

    row: str
    scheme: str
    fold: int
    unseen: str = ""

    @property
    def name(self) -> str:
        """Of its folder, and of the model in result files, behind the budget's."""
        unseen = f"-{self.unseen}" if self.unseen else ""
        return f"{self.row}{unseen}-{self.scheme}-fold{self.fold}"

    def settings(self) -> dict[str, Any]:
        """Entries that replace those of the recipe; see `read_recipe`."""
        own = {"fold": self.fold, "scheme": self.scheme}
        return {**ROWS[self.row], **UNSEEN[self.unseen], **own}


@dataclass(frozen=True)
class Scoring:
    """One result file.

    Attributes:
        table: of `TABLES`, which it fills a cell of.
        training: which makes the model.
        form: "p", "p-alpha" or "p-iterations", as of `qnetseg evaluate`; the last one has the rows with
            refinement, in every mode.
        dataset, setting: of the protocol.
    """

    table: str
    training: Training
    form: str
    dataset: str
    setting: int


def plan() -> list[Scoring]:
    """All scorings: every row on the first fold, then on the second; Q-Net and ADNet on more; the rest."""
    pair, every = METHODS[:2], range(FOLDS)
    others = [fold for fold in every if fold not in FIRST_FOLDS]
    parts: list[Iterable[Scoring]] = [
        *(_all_rows(fold) for fold in FIRST_FOLDS),
        _setting1("table1", pair, "strict", others),
        _table1(pair, "released", every),
        *(_all_rows(fold) for fold in others),
    ]
    return list(dict.fromkeys(scoring for part in parts for scoring in part))


def chosen(only: Sequence[str]) -> list[Scoring]:
    """The plan's scorings that are of the named tables, rows and trainings (see `Training.name`), of all
    three kinds at once; of a kind without a name any.

    Raises InputError for a name of no kind, and where nothing is of all.
    """
    every = plan()
    kinds = ({*TABLES}, {*ROWS}, {scoring.training.name for scoring in every})
    for name in only:
        if not any(name in kind for kind in kinds):
            raise InputError(
                f"The tables have no part {name!r}.",
                f"Use {', '.join((*TABLES, *ROWS))}, or a training as --dry-run names it.",
            )
    tables, rows, names = ({*only} & kind or kind for kind in kinds)
    found = [s for s in every if s.table in tables and s.training.row in rows and s.training.name in names]
    if not found:
        raise InputError(
            f"No result is of all of {', '.join(only)}.", "Name tables, rows or trainings that go together."
        )
    return found


def comparisons(scoring: Scoring) -> Iterator[tuple[str, list[tuple[Scoring, Scoring]]]]:
    """What a result changes: for each comparison its name, and pairs of scorings of the same cases."""
    if scoring.form != "p":
        return
    for rows in COMPARED:
        if scoring.training.row in rows:
            like = [
                other
                for other in plan()
                if (other.form, other.dataset, other.setting, other.training.scheme)
                == ("p", scoring.dataset, scoring.setting, scoring.training.scheme)
            ]
            first, second = (
                {(s.training.fold, s.training.unseen): s for s in like if s.training.row == row}
                for row in rows
            )
            where = f"{scoring.dataset}-setting{scoring.setting}-{scoring.training.scheme}"
            yield f"{where}-{'-'.join(rows)}", [(first[k], second[k]) for k in first if k in second]


def _all_rows(fold: int) -> Iterator[Scoring]:
    """Every row of every table on one strict fold."""
    yield from _table1(METHODS, "strict", [fold])
    yield from _setting2("table2", MODULES, "strict", [fold])
    yield from _sweeps("strict", [fold])
    yield from _refined("strict", [fold])


def _table1(rows: Iterable[str], scheme: str, folds: Iterable[int]) -> Iterator[Scoring]:
    yield from _setting1("table1", rows, scheme, folds)
    yield from _setting2("table1", rows, scheme, folds)


def _setting1(
    table: str, rows: Iterable[str], scheme: str, folds: Iterable[int], form: str = "p"
) -> Iterator[Scoring]:
    """Setting 1; sweeps are the paper's, on CHAOST2 alone."""
    for row, fold, data in product(rows, folds, ("chaos", "cmr") if form == "p" else ("chaos",)):
        yield Scoring(table, Training(row, scheme, fold), form, data, 1)


def _setting2(
    table: str, rows: Iterable[str], scheme: str, folds: Iterable[int], form: str = "p"
) -> Iterator[Scoring]:
    """Setting 2, in which each model scores the structures that it has not seen."""
    for row, fold, unseen in product(rows, folds, ("no-kidneys", "no-upper")):
        yield Scoring(table, Training(row, scheme, fold, unseen), form, "chaos", 2)


def _sweeps(scheme: str, folds: Iterable[int]) -> Iterator[Scoring]:
    for table, form in (("table3", "p-alpha"), ("figure4", "p-iterations")):
        yield from _setting1(table, METHODS[:1], scheme, folds, form)
        yield from _setting2(table, METHODS[:1], scheme, folds, form)


def _refined(scheme: str, folds: Iterable[int]) -> Iterator[Scoring]:
    """Rows with refinement that Figure 4 lacks: Q-Net on CMR, and the one that Table 2 has besides."""
    for fold in folds:
        yield Scoring("table1", Training(METHODS[0], scheme, fold), "p-iterations", "cmr", 1)
    yield from _setting2("table2", ("dp",), scheme, folds, "p-iterations")
