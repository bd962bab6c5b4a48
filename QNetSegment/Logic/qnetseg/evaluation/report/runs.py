"""Result files put together: the folds of one model and variant are one run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...data import CATALOGUE
from ...errors import InputError
from ...parsing import parse_json, read_text
from .recipes import Entries, differences, entries

QNET = {"layer": 4, "paths": "dual", "threshold": "shared"}  # what files say that have no configuration
SEEN = {False: "", True: "trained on scored cases: not counted", None: "training cases unknown"}
GENERATED = ("experiments.json",)  # written by the report itself


@dataclass(frozen=True)
class Variant:
    """What must be the same for two result files to be folds of one run.

    Attributes:
        method: name in `qnetseg.methods`.
        recipe: name, without the group of Setting 2; "" where the weights do not say.
        entries: the recipe's; None where the file does not hold it. See `recipes.entries`.
        steps: of training; None where unknown.
        scheme: "released" or "strict".
        mode, alpha: options at test time.
        layer, paths, threshold: of the model's configuration (Table 2).
        rule: Setting 2, "any" or "all".
        seen: whether training saw scored cases; None if unknown.
    """

    method: str
    recipe: str
    entries: Entries | None
    steps: int | None
    scheme: str
    mode: str
    alpha: float | None
    layer: int
    paths: str
    threshold: str
    rule: str | None
    seen: bool | None

    @classmethod
    def of(cls, result: dict[str, Any]) -> Variant:
        """That of a result file, old ones included."""
        options, config = result.get("options") or {}, result.get("model_config") or {}
        return cls(
            method=str(result.get("method", "qnet")).lower().replace("-", ""),
            recipe=base_name(result.get("recipe_name") or ""),
            entries=entries(result.get("recipe"), common_to(result["setting"], result["dataset"])),
            steps=result.get("steps"),
            scheme=result["scheme"],
            mode=(options.get("refinement") or {}).get("mode", "none"),
            alpha=options.get("alpha"),
            layer=config.get("downsample_layer", QNET["layer"]),
            paths=config.get("paths", QNET["paths"]),
            threshold=config.get("threshold", QNET["threshold"]),
            rule=result.get("exclude_rule"),
            seen=result.get("trained_on_scored_cases"),
        )

    def trained_like(self, plan: Variant) -> bool:
        """Whether a run is the same training and variant as a plan; the scores' rule and alpha aside.

        A plan knows the entries that its recipe file and settings name, and their defaults are not among
        them.
        """
        if self.entries is not None and not (plan.entries or frozenset()) <= self.entries:
            return False
        mine, others = (replace(v, rule=None, alpha=None, seen=False, entries=None) for v in (self, plan))
        if mine.steps is None or others.steps is None:
            mine, others = replace(mine, steps=None), replace(others, steps=None)
        return mine == others

    def refinement(self) -> str:
        """How tables name what was done at test time."""
        return self.mode + ("" if self.alpha is None else f", alpha {self.alpha:g}")

    def training(self) -> str:
        """How tables name recipe and rule."""
        rule = ", leaky filter" if self.rule == "all" else ""
        return (self.recipe or "not recorded") + rule


def common_to(setting: int, dataset: str) -> str | None:
    """The data set whose two groups of structures are one run, in Setting 2 only; see `recipes.entries`."""
    return dataset if setting == 2 else None


def base_name(recipe: str) -> str:
    """A recipe's name without the group of classes that Setting 2 leaves out."""
    return re.sub(r"-(upper|lower)$", "", recipe)


@dataclass(frozen=True)
class Question:
    """A row of a table: which result files and which entries of the queue belong to it."""

    protocol: str
    dataset: str
    setting: int
    fits: Callable[[Variant], bool]


@dataclass
class Run:
    """Result files of one variant.

    Attributes:
        variant: what they have in common.
        files: their contents, no structure of a fold twice.
        note: what its recipe has otherwise than another run of the same name.
    """

    variant: Variant
    files: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    def training(self) -> str:
        """How tables name recipe and rule."""
        return self.variant.training() + (f" ({self.note})" if self.note else "")

    def takes(self, content: dict[str, Any]) -> bool:
        """Whether a result file is of this run: same variant, nothing twice, and, in Setting 2, the same
        training as the other folds of its group of structures."""
        if Variant.of(content) != self.variant or self.covered() & _covered(content):
            return False
        names = {name for _, name in _covered(content)}
        group = [other for other in self.files if names & {name for _, name in _covered(other)}]
        return all(entries(other.get("recipe")) == entries(content.get("recipe")) for other in group)

    def details(self) -> Entries | None:
        """The entries of its recipe but for the steps, which have a column; also those that the groups of
        Setting 2 do not share."""
        common = self.variant.entries
        if common is None:
            return None
        apart = set()
        for content in self.files:
            group = ", ".join(sorted({name for _, name in _covered(content)}))
            own = (entries(content["recipe"]) or common) - common
            apart |= {(f"{key} for {group}", value) for key, value in own if not key.endswith(".exclude")}
        return frozenset((key, value) for key, value in common | apart if key != "steps")

    def covered(self) -> set[tuple[int, str]]:
        """Pairs of fold and structure."""
        return {pair for content in self.files for pair in _covered(content)}

    def folds(self) -> int:
        """Number of folds, complete or not."""
        return len({content["fold"] for content in self.files})

    def patients(self) -> int | None:
        """Number of different scored patients; None where the files have no rows."""
        names = {row["query"] for row in self.rows()}
        return len(names) or None

    def rows(self) -> list[dict[str, Any]]:
        """Those of all files."""
        return [row for content in self.files for row in content.get("rows", [])]

    def dice(self, structure: str) -> list[float]:
        """Dice of a structure in per cent, a value a fold; "mean": over all structures of complete folds."""
        if structure == "mean":
            return [float(np.mean(list(fold.values()))) for fold in self._complete()]
        return [fold[structure] for fold in self._by_fold() if structure in fold]

    def values(self, structure: str) -> list[float]:
        """What the published ± of a column is the spread of: a structure's folds; of "mean", all structures
        in all complete folds."""
        if structure == "mean":
            return [value for fold in self._complete() for value in fold.values()]
        return self.dice(structure)

    def _complete(self) -> list[dict[str, float]]:
        names = CATALOGUE[self.files[0]["dataset"]].labels
        return [fold for fold in self._by_fold() if len(fold) == len(names)]

    def _by_fold(self) -> list[dict[str, float]]:
        """Dice of the structures in per cent, fold by fold."""
        names = CATALOGUE[self.files[0]["dataset"]].labels
        by_fold: dict[int, dict[str, float]] = {}
        for content in self.files:
            own = {name: content["summary"].get(name, {}).get("dice") for name in names}
            found = {name: value for name, value in own.items() if value is not None}
            by_fold.setdefault(content["fold"], {}).update(found)
        return list(by_fold.values())


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """All result files of a folder, by name. Raises `InputError` for a file that is not one."""
    results = []
    for path in sorted(Path(folder).glob("*.json")):
        if path.name in GENERATED:
            continue
        try:
            content = parse_json(read_text(path))
        except (OSError, ValueError) as error:
            raise InputError(
                f"The result file {path.name} cannot be read ({error}).", "Make it again."
            ) from error
        if not isinstance(content, dict):
            raise InputError(f"{path.name} is not a result file.", "Move it elsewhere.")
        results.append({**content, "file": path.name})
    return results


def find_runs(results: list[dict[str, Any]], question: Question) -> list[Run]:
    """Runs that answer a question, most steps first; a second model of the same recipe is its own run."""
    runs: list[Run] = []
    for content in results:
        if content.get("protocol") != question.protocol:
            continue
        if (content["dataset"], content["setting"]) != (question.dataset, question.setting):
            continue
        variant = Variant.of(content)
        if not question.fits(variant):
            continue
        run = next((run for run in runs if run.takes(content)), None)
        if run is None:
            run = Run(variant)
            runs.append(run)
        run.files.append(content)
    for run in runs:
        namesakes = [other for other in runs if _named(other) == _named(run)]
        run.note = differences(other.details() for other in namesakes)[run.details()]
    return sorted(runs, key=lambda run: (run.variant.seen is not False, -(run.variant.steps or 0)))


def _named(run: Run) -> Variant:
    """What the columns of tables call a training."""
    return replace(run.variant, entries=None, steps=None, mode="", alpha=None)


def _covered(content: dict[str, Any]) -> set[tuple[int, str]]:
    figures = content.get("summary") or content.get("dice")
    if figures is None:
        figures = {name for curves in content["curves"].values() for name in curves}
    return {(content["fold"], name) for name in figures if name != "mean"}
