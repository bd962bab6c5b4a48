"""Protocol P: the paper's tables.

Three drawn slices of one support patient, one for each third of the query's slices that hold the organ;
every measure is taken over those slices. The released code ignores the files' directions, and so does this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from qnetseg.errors import DatasetError, InputError
from qnetseg.model import FewShotMethod, Model, QNet, Refinement
from qnetseg.segment import SegmentOptions
from qnetseg.segment.device import choose_device

from ..baselines import load_method
from ..data import Case, dataset
from .features import Predict, Scorer
from .metrics import measures
from .results import RowLog, describe_run, has_seen, recorded_recipe, run_name, training_sources, write_json
from .summary import PairKey, PairRow, summarise

SUPPORT_SLICES = 3
RELEASED_SUPPORT = 2  # index within the fold, as in the released scripts

Report = Callable[[str], None]


@dataclass(frozen=True)
class ProtocolP:
    """What is scored.

    Attributes:
        dataset: "chaos", "cmr", or the folder of a prepared data set.
        setting: 1, or 2 (test classes unseen in training; a property of the weights, recorded here).
        fold: 0 to 4.
        scheme: "released" (their folds, one support) or "strict" (disjoint folds, all supports averaged).
        refinement: test-time prototype refinement; of Q-Net and ADNet only.
        alpha: weight of the fine path instead of the model's; Q-Net's only.
        structures: scored ones; none stands for all, in Setting 2 for all that the weights have not seen.
        device, precision: see `SegmentOptions`.
    """

    dataset: str = "chaos"
    setting: int = 1
    fold: int = 0
    scheme: str = "released"
    refinement: Refinement = field(default_factory=Refinement)
    alpha: float | None = None
    structures: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        data = dataset(self.dataset)
        if self.setting not in (1, 2):
            raise InputError(f"There is no setting {self.setting}.", "Use 1 or 2.")
        if self.scheme not in ("released", "strict"):
            raise InputError(f"There is no fold scheme {self.scheme!r}.", "Use released or strict.")
        if self.setting == 2 and not data.setting2_groups:
            raise InputError(
                f"Setting 2 is not defined for {self.dataset}: its structures touch each other.",
                "Use setting 1.",
            )
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise InputError(f"The weight alpha is {self.alpha:g}.", "Use a number from 0 to 1.")
        for name in self.structures:
            if name not in data.labels:
                raise InputError(
                    f"The data set {self.dataset} has no structure {name!r}.",
                    f"Use {', '.join(data.labels)}.",
                )

    def options(self) -> SegmentOptions:
        """The engine's options: no calibration, no clean-up, thirds."""
        return SegmentOptions(
            matching="thirds",
            calibrate=False,
            clean_up=False,
            refinement=self.refinement,
            alpha=self.alpha,
            device=self.device,
            precision=self.precision,
        )


class SweepRow(PairKey):
    dice: list[float]  # of each variant


AnyRow = TypeVar("AnyRow", PairRow, SweepRow)


@dataclass(frozen=True)
class Pair:
    """A structure of a query case, predicted from a support case that holds it, too."""

    structure: str
    label: int
    support: Case
    query: Case

    def key(self) -> PairKey:
        """How rows name it."""
        return {"structure": self.structure, "query": self.query.name, "support": self.support.name}

    def target(self) -> np.ndarray:
        """(K, J, I) bool, the structure on the query."""
        return self.query.labels == self.label


def occupied_slices(case: Case, label: int) -> np.ndarray:
    """Indices of the slices of a case that hold the structure."""
    return np.flatnonzero((case.labels == label).any(axis=(1, 2)))


def support_slice_indices(occupied: np.ndarray, count: int = SUPPORT_SLICES) -> np.ndarray:
    """Indices of the slices at 1/6, 3/6 and 5/6 of those that hold the organ (released code's rounding).

    With fewer than three slices some repeat: one serves all thirds, of two the second serves the last two.
    """
    fractions = (2 * np.arange(count) + 1) / (2 * count)
    return occupied[(fractions * len(occupied)).astype(int)]


def scored_structures(protocol: ProtocolP, model: Model[Any]) -> list[str]:
    """The protocol's structures in the data set's order.

    Raises `InputError` in Setting 2 for structures that the weights may have seen in training.
    """
    asked = protocol.structures
    wanted = [name for name in dataset(protocol.dataset).labels if name in asked or not asked]
    if protocol.setting == 1:
        return wanted
    sources = training_sources(protocol.dataset, model)
    if asked and "recipe" not in model.provenance:
        return wanted  # an official checkpoint says nothing of its training: the caller vouches
    unseen = [s for s in wanted if sources and all(s in source.get("exclude", ()) for source in sources)]
    if not unseen or (asked and unseen != wanted):
        raise InputError(
            f"The model {model.name} was not trained for Setting 2: its recipe excludes"
            f" {'not all of these structures' if unseen else 'no structure'}.",
            "Train it with a recipe of Setting 2, or score Setting 1.",
        )
    return unseen


def exclude_rule(protocol: ProtocolP, model: Model[Any]) -> str | None:
    """Setting 2: which slices training left out, "any" or "all" (the weaker rule if sources differ)."""
    rules = {source.get("exclude_rule", "any") for source in training_sources(protocol.dataset, model)}
    if protocol.setting == 1 or not rules:
        return None
    return "all" if "all" in rules else "any"


def has_seen_the_fold(protocol: ProtocolP, model: Model[Any]) -> bool | None:
    """Whether cases of the fold were training cases; None if the weights do not say what was."""
    data, sources = dataset(protocol.dataset), training_sources(protocol.dataset, model)
    fold = data.fold(protocol.fold, protocol.scheme) if sources else []
    return has_seen(protocol.dataset, fold, model)


def pairs(protocol: ProtocolP, structures: list[str], cases: list[Case]) -> Iterator[Pair]:
    """All pairs of a fold, by structure, then support, then query.

    Queries without the structure are left out, and so are such supports in the strict scheme. Raises
    `DatasetError` when a structure has no support.
    """
    labels = dataset(protocol.dataset).labels
    for structure in structures:
        label = labels[structure]
        holders = [case for case in cases if len(occupied_slices(case, label))]
        if protocol.scheme == "released" and cases[RELEASED_SUPPORT] not in holders:
            raise DatasetError(
                f"Case {cases[RELEASED_SUPPORT].name} does not hold {structure}: it cannot be the support.",
                "Choose another fold or scheme.",
            )
        if len(holders) < 2:
            raise DatasetError(
                f"Fold {protocol.fold} of {protocol.dataset} has fewer than two cases with {structure}.",
                "Choose another fold or scheme.",
            )
        for support in [cases[RELEASED_SUPPORT]] if protocol.scheme == "released" else holders:
            yield from (Pair(structure, label, support, query) for query in holders if query is not support)


def fold_cases(protocol: ProtocolP) -> list[Case]:
    """The fold's cases, read. Raises `DatasetError` if one is missing or there are too few of them."""
    data = dataset(protocol.dataset)
    names = data.fold(protocol.fold, protocol.scheme)
    if len(names) <= (RELEASED_SUPPORT if protocol.scheme == "released" else 1):
        raise DatasetError(
            f"Fold {protocol.fold} of {protocol.dataset} has only {len(names)} cases.",
            "Check that the whole data set is there.",
        )
    return [data.load(name) for name in names]


def predictor(protocol: ProtocolP, network: FewShotMethod) -> Predict:
    """One variant: the method's prediction.

    Raises `InputError` for options of Q-Net (and of ADNet, a Q-Net of one path) where they mean nothing.
    """
    if isinstance(network, QNet):
        if protocol.alpha is not None:
            require_both_paths(network)

        def qnet(network: Any, support: Any, query: Any, size: tuple[int, int]) -> Tensor:
            scores = network.scores(support, query, protocol.refinement)
            fused: Tensor = network.fuse(scores, size, alpha=protocol.alpha)
            return fused[None]

        return qnet
    if protocol.refinement.mode != "none" or protocol.alpha is not None:
        raise InputError(
            f"{network.title} has neither refinement nor alpha, which are Q-Net's.",
            "Leave these options out.",
        )
    return lambda network, support, query, size: network.predict(support, query, size)[None]


def require_both_paths(network: QNet) -> None:
    """Raises `InputError` for a network without a weight alpha."""
    if network.config.paths != "dual":
        raise InputError(
            f"This {network.title} has one path only, so alpha weighs nothing.", "Choose one with both paths."
        )


def score_pairs(scorer: Scorer, todo: list[Pair], predict: Predict) -> Iterator[tuple[Pair, np.ndarray]]:
    """Each pair with its predicted masks (V, K, J, I) bool, empty on slices without the structure."""
    before: tuple[str, str] | None = None
    for pair in todo:
        drawn = pair.structure, pair.support.name
        if drawn != before:
            slices = support_slice_indices(occupied_slices(pair.support, pair.label))
            conditioned = scorer.condition(pair.support, pair.label, slices)
            before = drawn
        occupied = occupied_slices(pair.query, pair.label)
        found = scorer.masks(conditioned, pair.query, occupied, predict)
        masks = np.zeros((len(found), *pair.query.labels.shape), dtype=bool)
        masks[:, occupied] = found
        yield pair, masks


def describe(name: str, protocol: ProtocolP, model: Model[Any], weights: Path, device: str) -> dict[str, Any]:
    """What the result files of all forms of the protocol begin with."""
    provenance, network = model.provenance, model.network
    return {
        "protocol": name,
        "dataset": dataset(protocol.dataset).name,
        "setting": protocol.setting,
        "fold": protocol.fold,
        "scheme": protocol.scheme,
        "exclude_rule": exclude_rule(protocol, model),
        "method": network.name,
        "options": protocol.options().to_dict(),
        "model": run_name(weights),
        "steps": provenance.get("steps"),
        "recipe_name": (provenance.get("recipe") or {}).get("name"),
        "recipe": recorded_recipe(model),
        "training": {key: provenance.get(key) for key in ("revision", "precision", "device")},
        "model_config": network.config.to_dict(),
        "trained_on_scored_cases": has_seen_the_fold(protocol, model),
        **describe_run(weights, device),
    }


def score_fold(
    protocol: ProtocolP,
    model: Model[Any],
    predict: Predict,
    measure: Callable[[Pair, np.ndarray], AnyRow],
    log: RowLog[AnyRow],
    report: Report,
) -> list[AnyRow]:
    """Rows of one fold, those in the log as they are, the others computed.

    Args:
        protocol: what to score.
        model: weights.
        predict: gives the probabilities of V variants.
        measure: gives the row of a pair with its masks (V, K, J, I) bool.
        log: where finished rows are kept.
        report: receives a line for each computed row.
    """
    structures = scored_structures(protocol, model)
    cases = fold_cases(protocol)
    asked = list(pairs(protocol, structures, cases))
    todo = [pair for pair in asked if log.get(pair.key()) is None]
    if len(todo) < len(asked):
        report(f"{len(asked) - len(todo)} of {len(asked)} rows are taken over from an unfinished run")
    if todo:
        scorer = Scorer(model.network, cases, protocol.options())
        for pair, masks in score_pairs(scorer, todo, predict):
            row = measure(pair, masks)
            log.add(pair.key(), row)
            dice = float(np.max(row["dice"]))
            report(
                f"{pair.structure:16s} support {pair.support.name:>3s} query {pair.query.name:>3s}"
                f"  Dice {dice:.3f}"
            )
    return [kept for pair in asked if (kept := log.get(pair.key())) is not None]


def measure_pair(pair: Pair, masks: np.ndarray) -> PairRow:
    """Dice, IoU, surface Dice and HD95 of one query case over its slices that hold the structure."""
    return {**pair.key(), **measures(masks[0], pair.target(), pair.query.spacing)}


def run(
    protocol: ProtocolP,
    weights: str | Path,
    output: str | Path | None = None,
    report: Report = print,
) -> dict[str, Any]:
    """Score one fold and write its result file.

    A run that was stopped goes on: finished rows lie beside the output until it is written.

    Args:
        protocol: what to score.
        weights: safetensors file of any method.
        output: JSON file to write; None writes none and keeps no rows.
        report: receives a line for each scored case.

    Returns:
        The content of the result file.
    """
    began = time.monotonic()
    model = load_method(weights)
    predict = predictor(protocol, model.network)
    content = describe("P", protocol, model, Path(weights), choose_device(protocol.device)[0].type)
    identity = {"protocol": asdict(protocol), "weights": content["weights_sha256"]}
    log: RowLog[PairRow] = RowLog(output, identity)
    rows = score_fold(protocol, model, predict, measure_pair, log, report)
    summary = summarise(rows, dataset(protocol.dataset).labels)
    content |= {"summary": summary, "rows": rows, "seconds": round(time.monotonic() - began, 1)}
    for structure, entry in summary.items():
        report(f"{structure:16s} Dice {entry['dice']:.1f}")
    if output is not None:
        write_json(output, content)
        log.remove()
    return content
