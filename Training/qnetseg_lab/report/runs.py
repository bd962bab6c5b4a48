"""Result files put together: the folds of one model and variant are one run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.errors import InputError
from qnetseg.parsing import parse_json, read_text

from ..data import CATALOGUE
from ..evaluation.summary import PairRow
from .recipes import Entries, entries

SEEN = {False: "", True: "trained on scored cases: not counted", None: "training cases unknown"}
GENERATED = ("experiments.json",)  # written by the report itself


@dataclass(frozen=True)
class Variant:
    """What must be the same for two result files to be folds of one run.

    Attributes:
        method: name in `qnetseg_lab.baselines`.
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
        """That of a result file; old ones without a configuration are of the shipped model's."""
        options, config = result.get("options") or {}, result.get("model_config") or {}
        return cls(
            method=str(result.get("method", "qnet")).lower().replace("-", ""),
            recipe=re.sub(r"-(upper|lower)$", "", result.get("recipe_name") or ""),
            entries=entries(result.get("recipe"), result["dataset"] if result["setting"] == 2 else None),
            steps=result.get("steps"),
            scheme=result["scheme"],
            mode=(options.get("refinement") or {}).get("mode", "none"),
            alpha=options.get("alpha"),
            layer=config.get("downsample_layer", 4),
            paths=config.get("paths", "dual"),
            threshold=config.get("threshold", "shared"),
            rule=result.get("exclude_rule"),
            seen=result.get("trained_on_scored_cases"),
        )

    def refinement(self) -> str:
        """How tables name what was done at test time."""
        return self.mode + ("" if self.alpha is None else f", alpha {self.alpha:g}")


Fits = Callable[[Variant], bool]
Pick = Callable[[dict[str, Any]], dict[str, Any]]  # content of a result file -> structure -> its figure
Results = list[dict[str, Any]]  # contents of result files, each with its name as "file"


@dataclass
class Run:
    """Result files of one variant.

    Attributes:
        variant: what they have in common.
        files: their contents, no structure of a fold twice.
    """

    variant: Variant
    files: list[dict[str, Any]] = field(default_factory=list)

    def counts(self) -> bool:
        """Whether its figures may stand for ours: no scored case was a training case."""
        return self.variant.seen is not True

    def name(self, *known: str) -> str:
        """How tables name it: its models without their folds, each with a link to its first result file,
        which holds the recipe; and what to mind of it.

        known: parts of the models' names that need not be said.
        """
        first: dict[str, str] = {}
        for content in self.files:
            model = re.sub(r"-?fold\d+", "", content.get("model") or "unnamed")
            for part in known:
                model = model.replace(part, "") or model
            first.setdefault(model, content["file"])
        remarks = ["leaky filter"] * (self.variant.rule == "all") + [SEEN[self.variant.seen]]
        return ", ".join([f"[{name}]({file})" for name, file in first.items()] + list(filter(None, remarks)))

    def takes(self, content: dict[str, Any]) -> bool:
        """Whether a result file is of this run: same variant, nothing twice, and, in Setting 2, the same
        training as the other folds of its group of structures."""
        if Variant.of(content) != self.variant or self.covered() & _covered(content):
            return False
        names = {name for _, name in _covered(content)}
        group = [other for other in self.files if names & {name for _, name in _covered(other)}]
        return all(entries(other.get("recipe")) == entries(content.get("recipe")) for other in group)

    def covered(self) -> set[tuple[int, str]]:
        """Pairs of fold and structure."""
        return {pair for content in self.files for pair in _covered(content)}

    def complete(self) -> set[int]:
        """Folds that have all structures."""
        names, covered = CATALOGUE[self.files[0]["dataset"]].labels, self.covered()
        return {fold for fold, _ in covered if {(fold, name) for name in names} <= covered}

    def folds(self) -> set[int]:
        """Those that make figures: the complete ones; where none is, all."""
        return self.complete() or {content["fold"] for content in self.files}

    def on(self, folds: Collection[int]) -> Run:
        """The same of some folds alone."""
        return Run(self.variant, [content for content in self.files if content["fold"] in folds])

    def patients(self) -> int | None:
        """Number of different scored patients in `folds`; None where the files have no rows."""
        names = {row["query"] for row in self.on(self.folds()).rows()}
        return len(names) or None

    def rows(self) -> list[PairRow]:
        """Those of all files."""
        return [row for content in self.files for row in content.get("rows", [])]

    def across(self, column: str, pick: Pick | None = None) -> tuple[list[Any], list[Any]]:
        """Figures of a structure in each fold, and the values of whose spread the published ± is made.

        The latter are the same for a structure. For "mean" they are those of all structures in the folds that
        have them all, and the figures are the means of these folds. See `folds` for which count.

        pick: what a file has of each structure, a number or a curve; None for Dice in per cent.
        """
        names = CATALOGUE[self.files[0]["dataset"]].labels
        folds: dict[int, dict[str, Any]] = {}
        for content in self.on(self.folds()).files:
            own = (pick or _dice)(content)
            folds.setdefault(content["fold"], {}).update({n: own[n] for n in names if own.get(n) is not None})
        if column != "mean":
            figures = [fold[column] for fold in folds.values() if column in fold]
            return figures, figures
        complete = [list(fold.values()) for fold in folds.values() if len(fold) == len(names)]
        return [np.mean(fold, axis=0) for fold in complete], [value for fold in complete for value in fold]


def _dice(content: dict[str, Any]) -> dict[str, Any]:
    return {name: figures.get("dice") for name, figures in content["summary"].items()}


def read_results(folder: str | Path) -> Results:
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


def of_protocol(results: Results, protocol: str) -> Results:
    """The results of a protocol."""
    return [r for r in results if r.get("protocol") == protocol]


def find_runs(results: Results, protocol: str, dataset: str, setting: int, fits: Fits) -> list[Run]:
    """Runs of a protocol whose variant fits, those that count and have most steps first; a second model of
    the same recipe is its own run."""
    runs: list[Run] = []
    for content in results:
        if content.get("protocol") != protocol:
            continue
        if (content["dataset"], content["setting"]) != (dataset, setting) or not fits(Variant.of(content)):
            continue
        run = next((run for run in runs if run.takes(content)), None)
        if run is None:
            run = Run(Variant.of(content))
            runs.append(run)
        run.files.append(content)
    return sorted(runs, key=lambda run: (run.variant.seen is not False, -(run.variant.steps or 0)))


def _covered(content: dict[str, Any]) -> set[tuple[int, str]]:
    figures = content.get("summary") or content.get("dice")
    if figures is None:
        figures = {name for curves in content["curves"].values() for name in curves}
    return {(content["fold"], name) for name in figures if name != "mean"}
