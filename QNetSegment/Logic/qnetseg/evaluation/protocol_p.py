"""Protocol P: the paper's tables.

Three drawn slices of one support patient, one for each third of the query's slices that hold the organ;
Dice over those slices. The released code ignores the files' directions, so the cases are read with
axis-aligned matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Case, DataSet, dataset
from ..errors import DatasetError, InputError
from ..model import Model, Refinement, load_model
from ..segment import SegmentOptions, segment_volume
from ..segment.device import choose_device
from ..volume import SupportSet, Volume, support_from_mask
from .metrics import bootstrap_interval, dice, iou
from .results import describe_run, write_json

SUPPORT_SLICES = 3
RELEASED_SUPPORT = 2  # index within the fold, as in the released scripts


@dataclass(frozen=True)
class ProtocolP:
    """What is scored.

    Attributes:
        dataset: "chaos" or "cmr".
        setting: 1, or 2 (test classes unseen in training; a property of the weights, recorded here).
        fold: 0 to 4.
        scheme: "released" (their folds, one support) or "strict" (disjoint folds, all supports averaged).
        refinement: test-time prototype refinement.
        alpha: weight of the fine path instead of the model's.
        device, precision: see `SegmentOptions`.
    """

    dataset: str = "chaos"
    setting: int = 1
    fold: int = 0
    scheme: str = "released"
    refinement: Refinement = field(default_factory=Refinement)
    alpha: float | None = None
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.setting not in (1, 2):
            raise InputError(f"There is no setting {self.setting}.", "Use 1 or 2.")
        if self.scheme not in ("released", "strict"):
            raise InputError(f"There is no fold scheme {self.scheme!r}.", "Use released or strict.")
        if self.setting == 2 and not dataset(self.dataset).setting2_groups:
            raise InputError(
                f"Setting 2 is not defined for {self.dataset}: its structures touch each other.",
                "Use setting 1.",
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


def support_slice_indices(occupied: np.ndarray, count: int = SUPPORT_SLICES) -> np.ndarray:
    """Indices of the slices at 1/6, 3/6 and 5/6 of those that hold the organ (released code's rounding)."""
    fractions = (2 * np.arange(count) + 1) / (2 * count)
    return occupied[(fractions * len(occupied)).astype(int)]


def as_volume(case: Case) -> Volume:
    """The case on canonical axes exactly as stored."""
    matrix = np.diag([-case.spacing[2], -case.spacing[1], case.spacing[0], 1.0])
    return Volume(case.image, matrix, case.name)


def support_from_case(case: Case, label: int, name: str, top_percent: float) -> SupportSet:
    """Three drawn slices of one case. Raises `DatasetError` if it does not hold the structure."""
    mask = case.labels == label
    occupied = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(occupied):
        raise DatasetError(
            f"Case {case.name} does not hold {name}, so it cannot be the support.",
            "Choose another fold or scheme.",
        )
    drawn = np.zeros_like(mask)
    chosen = support_slice_indices(occupied)
    drawn[chosen] = mask[chosen]
    return support_from_mask(as_volume(case), drawn, name=name, plane="axial", top_percent=top_percent)


def score_pair(
    support: SupportSet, query: Case, label: int, model: Model, options: SegmentOptions
) -> tuple[float, float]:
    """Dice and IoU of one query case over its slices that hold the structure."""
    target = query.labels == label
    occupied = np.flatnonzero(target.any(axis=(1, 2)))
    options = replace(options, slices=tuple(occupied.tolist()))
    predicted = segment_volume(support, as_volume(query), model, options).mask
    return dice(predicted[occupied], target[occupied]), iou(predicted[occupied], target[occupied])


def training_source(protocol: ProtocolP, model: Model) -> dict[str, Any] | None:
    """What the weights say of their training on the protocol's data set; None if they say nothing."""
    sources = model.provenance.get("recipe", {}).get("data", [])
    return next((source for source in sources if source["name"] == protocol.dataset), None)


def scored_structures(protocol: ProtocolP, model: Model) -> list[str]:
    """All structures; in Setting 2 those unseen in training, `InputError` if there are none."""
    if protocol.setting == 1:
        return list(dataset(protocol.dataset).labels)
    unseen = list((training_source(protocol, model) or {}).get("exclude", []))
    if not unseen:
        raise InputError(
            f"The model {model.name} was not trained for Setting 2: its recipe excludes no structure.",
            "Train it with a recipe of Setting 2, or score Setting 1.",
        )
    return unseen


def has_seen_the_fold(protocol: ProtocolP, model: Model) -> bool | None:
    """Whether scored cases were training cases; None if the weights do not say what they were trained on."""
    if "recipe" not in model.provenance:
        return None
    source = training_source(protocol, model)
    if source is None:
        return False
    data = dataset(protocol.dataset)
    left_out = data.fold(source["fold"], source["scheme"]) if source["fold"] >= 0 else []
    return not set(data.fold(protocol.fold, protocol.scheme)) <= set(left_out)


def score_fold(
    protocol: ProtocolP, model: Model, report: Callable[[str], None] = lambda line: None
) -> Iterator[dict[str, Any]]:
    """Rows {structure, query, support, dice, iou} of one fold."""
    data = dataset(protocol.dataset)
    cases = [data.load(name) for name in data.fold(protocol.fold, protocol.scheme)]
    supports = [RELEASED_SUPPORT] if protocol.scheme == "released" else range(len(cases))
    for structure in scored_structures(protocol, model):
        label = data.labels[structure]
        for index in supports:
            support = support_from_case(cases[index], label, structure, model.network.config.top_percent)
            for query in cases:
                if query is cases[index] or not (query.labels == label).any():
                    continue
                overlap, jaccard = score_pair(support, query, label, model, protocol.options())
                report(
                    f"{structure:16s} support {cases[index].name:>3s} query {query.name:>3s}"
                    f"  Dice {overlap:.3f}"
                )
                yield {
                    "structure": structure,
                    "support": cases[index].name,
                    "query": query.name,
                    "dice": overlap,
                    "iou": jaccard,
                }


def summarise(rows: list[dict[str, Any]], data: DataSet) -> dict[str, Any]:
    """Per structure and overall: mean Dice and IoU in per cent, interval over patients.

    Every patient counts once: rows of the same query under several supports are averaged first.
    """
    summary: dict[str, Any] = {}
    for structure in data.labels:
        per_patient: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row["structure"] == structure:
                per_patient.setdefault(row["query"], []).append((row["dice"], row["iou"]))
        if per_patient:
            means = np.array([np.mean(pairs, axis=0) for pairs in per_patient.values()]) * 100
            summary[structure] = {
                "dice": float(means[:, 0].mean()),
                "iou": float(means[:, 1].mean()),
                "interval": bootstrap_interval(means[:, 0].tolist()),
                "patients": len(means),
            }
    summary["mean"] = {"dice": float(np.mean([entry["dice"] for entry in summary.values()]))}
    return summary


def run(
    protocol: ProtocolP,
    weights: str | Path,
    output: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Score one fold and write its result file.

    Args:
        protocol: what to score.
        weights: safetensors file.
        output: JSON file to write; None writes none.
        report: receives a line for each scored case.

    Returns:
        The content of the result file.
    """
    model = load_model(weights)
    rows = list(score_fold(protocol, model, report))
    provenance = model.provenance
    content = {
        "protocol": "P",
        "dataset": protocol.dataset,
        "setting": protocol.setting,
        "fold": protocol.fold,
        "scheme": protocol.scheme,
        "method": "Q-Net",
        "options": protocol.options().to_dict(),
        "model": model.name,
        "steps": provenance.get("steps"),
        "trained_on_scored_cases": has_seen_the_fold(protocol, model),
        **describe_run(Path(weights), choose_device(protocol.device)[0].type),
        "summary": summarise(rows, dataset(protocol.dataset)),
        "rows": rows,
    }
    for structure, entry in content["summary"].items():
        report(f"{structure:16s} Dice {entry['dice']:.1f}")
    if output is not None:
        write_json(output, content)
    return content
