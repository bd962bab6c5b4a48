"""Protocol P over a range of one number: alpha (Table 3) and refinement iterations (Figure 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qnetseg.errors import InputError
from qnetseg.model import Model, QNet, Refinement
from qnetseg.model.prototype import Prototypes, full_precision
from qnetseg.model.refinement import MODES, refine
from qnetseg.segment.device import choose_device

from ..baselines import load_method
from ..data import dataset
from .features import Predict
from .metrics import dice
from .protocol_p import Pair, ProtocolP, Report, SweepRow, describe, require_both_paths, score_fold
from .results import RowLog, write_json
from .summary import Row, patient_table

ALPHAS = (1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.2)  # those of Table 3, and the default
ITERATIONS = 10  # Figure 4 ends there
REFINED = tuple(mode for mode in MODES if mode != "none")


def run_alpha(
    protocol: ProtocolP, weights: str | Path, output: str | Path | None = None, report: Report = print
) -> dict[str, Any]:
    """Table 3: mean Dice of one fold for each of `ALPHAS`; arguments and result as for `protocol_p.run`."""
    model = _qnet(weights)
    require_both_paths(model.network)

    def predict(network: Any, support: Any, query: Any, size: tuple[int, int]) -> Tensor:
        scores = network.scores(support, query, protocol.refinement)
        return torch.stack([network.fuse(scores, size, alpha=alpha) for alpha in ALPHAS])

    def collect(table: Callable[[int], dict[str, float]]) -> dict[str, Any]:
        columns = [table(position) for position in range(len(ALPHAS))]
        by_name = {name: [column[name] for column in columns] for name in columns[0]}
        return {"dice": by_name}

    variants = {"alphas": list(ALPHAS)}
    content = _run("P-alpha", protocol, model, Path(weights), variants, predict, collect, output, report)
    for name, values in content["dice"].items():
        report(_line(name, [f"{a:g}: {v:.1f}" for a, v in zip(ALPHAS, values, strict=True)]))
    return content


def run_iterations(
    protocol: ProtocolP,
    weights: str | Path,
    output: str | Path | None = None,
    report: Report = print,
    iterations: int = ITERATIONS,
) -> dict[str, Any]:
    """Figure 4: mean Dice of one fold after 0 to `iterations` steps of each refinement mode.

    The prototypes of a whole run are taken from one pass, so every further step costs one prediction.
    Arguments and result as for `protocol_p.run`.
    """
    if iterations < 1:
        raise InputError(f"{iterations} iterations make no curve.", "Use at least 1.")
    model = _qnet(weights)
    modes = [replace(Refinement.usual(mode), steps=iterations) for mode in REFINED]

    def predict(network: Any, support: Any, query: Any, size: tuple[int, int]) -> Tensor:
        return torch.cat(
            [after_each_step(network, support, query, size, mode, protocol.alpha) for mode in modes]
        )

    def collect(table: Callable[[int], dict[str, float]]) -> dict[str, Any]:
        columns = [table(position) for position in range(len(modes) * (iterations + 1))]
        curves = {}
        for number, mode in enumerate(REFINED):
            own = columns[number * (iterations + 1) : (number + 1) * (iterations + 1)]
            curves[mode] = {name: [column[name] for column in own] for name in own[0]}
        return {"curves": curves}

    variants = {"iterations": list(range(iterations + 1)), "modes": [asdict(mode) for mode in modes]}
    content = _run("P-iterations", protocol, model, Path(weights), variants, predict, collect, output, report)
    for mode, curves in content["curves"].items():
        report(_line(f"{mode}, mean", [f"{v:.1f}" for v in curves["mean"]]))
    return content


def after_each_step(
    network: QNet,
    support: Prototypes,
    query: Any,
    size: tuple[int, int],
    mode: Refinement,
    alpha: float | None,
) -> Tensor:
    """Foreground probability (steps + 1, B, N, *size) before and after each refinement step."""
    config = network.config
    with full_precision(query.fine):
        threshold = network.threshold(query.pooled)
        refined = {}
        for column, path in enumerate(Prototypes._fields):
            features, own = getattr(query, path), getattr(support, path)
            if features.shape[1]:  # a model of one path has no channels on the other
                own = own.expand(features.shape[0], -1, -1)
                refined[path] = refine(
                    own, features, threshold[:, column], mode, config.cosine_scale, config.sharpness
                )
            else:
                refined[path] = [own] * (mode.steps + 1)
        # All steps' prototypes are one query's structures: their scores share the features' normalisation.
        together = Prototypes(*(torch.cat(passed, dim=1) for passed in refined.values()))
        fused = network.fuse(network.scores(together, query), size, alpha=alpha)
    return fused.unflatten(1, (mode.steps + 1, -1)).movedim(1, 0)


def _qnet(weights: str | Path) -> Model[Any]:
    model = load_method(weights)
    if not isinstance(model.network, QNet):
        raise InputError(
            f"{model.network.title} has neither refinement nor alpha, which are Q-Net's.",
            "Choose weights of Q-Net.",
        )
    return model


def _run(
    name: str,
    protocol: ProtocolP,
    model: Model[Any],
    weights: Path,
    variants: dict[str, Any],
    predict: Predict,
    collect: Callable[[Callable[[int], dict[str, float]]], dict[str, Any]],
    output: str | Path | None,
    report: Report,
) -> dict[str, Any]:
    """Score all variants of a sweep, which the result file begins with.

    `collect` makes the file's tables; it is given the mean Dice in per cent by structure of each variant.
    """
    content = describe(name, protocol, model, weights, choose_device(protocol.device)[0].type)

    def measure(pair: Pair, masks: np.ndarray) -> SweepRow:
        target = pair.target()
        return {**pair.key(), "dice": [dice(mask, target) for mask in masks]}

    identity = {"sweep": name, "protocol": asdict(protocol), "weights": content["weights_sha256"], **variants}
    log: RowLog[SweepRow] = RowLog(output, identity)
    rows = score_fold(protocol, model, predict, measure, log, report)

    def table(position: int) -> dict[str, float]:
        variant: list[Row] = [
            {"query": row["query"], "structure": row["structure"], "dice": row["dice"][position]}
            for row in rows
        ]
        names = [n for n in dataset(protocol.dataset).labels if any(row["structure"] == n for row in rows)]
        means = np.nanmean(patient_table(variant, names, "dice"), axis=0) * 100
        by_name = dict(zip(names, means.tolist(), strict=True))
        return {**by_name, "mean": float(means.mean())}

    content |= {**variants, **collect(table), "rows": rows}
    if output is not None:
        write_json(output, content)
        log.remove()
    return content


def _line(name: str, values: list[str]) -> str:
    return f"{name:22s} " + "  ".join(values)
