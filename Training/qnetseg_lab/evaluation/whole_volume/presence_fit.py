"""How likely a structure is there: the signs are weighed by logistic regression on results of R3.

The weights and limits of `qnetseg.segment.presence` are those of all data sets together. What is told of each
data set is measured with weights and limits of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from qnetseg.errors import DatasetError
from qnetseg.parsing import parse_json, read_text
from qnetseg.segment.presence import SIGNS

RIDGE = 0.02  # regularisation of the weights of standardised signs: few results, and signs that say the same
STEPS = 60  # of L-BFGS
REFUSED, DOUBTED = (0.04, 0.5), (0.13, 0.8)
"""What is refused, and what is doubted: at most this share of the structures that are there, and no
probability above this one."""
BINS = 5  # of the reliability
JUDGES = {"WHOLE": "qnet", "ALONE": "qnet-alone"}  # of `qnetseg.segment.presence`; methods of R3


@dataclass(frozen=True)
class Cases:
    """Of a data set: (n, len(SIGNS)) float64 signs, and (n,) bool, whether the structure is there."""

    dataset: str
    signs: np.ndarray
    there: np.ndarray


@dataclass(frozen=True)
class Fit:
    """weights: the constant, and one of each sign. limits: of the probability, below which a structure is
    refused, and doubted."""

    weights: tuple[float, ...]
    limits: tuple[float, float]

    def probability(self, signs: np.ndarray) -> np.ndarray:
        """(n,) of the structures' presence."""
        odds = self.weights[0] + signs @ np.array(self.weights[1:])
        return np.asarray(1 / (1 + np.exp(-odds)))


def fitted(paths: Sequence[Path]) -> dict[str, Any]:
    """Content of presence.json: the judges, and how right they are. See `read_cases`."""
    judges = {}
    for judge, method in JUDGES.items():
        cases = read_cases(paths, method)
        used = fit(cases)
        judges[judge] = {"weights": used.weights, "limits": used.limits, "measured": measured(cases)}
    return {
        "protocol": "PRESENCE",
        "signs": list(SIGNS),
        "judges": judges,
        "files": sorted(path.name for path in paths),
    }


def read_cases(paths: Sequence[Path], method: str) -> list[Cases]:
    """The results of a method in files of R3, those with `--absent` among them, by data set.

    Raises DatasetError where one of both kinds is missing.
    """
    found: dict[str, list[tuple[list[float], bool]]] = {}
    for path in paths:
        content = parse_json(read_text(path))
        name = case_name(content)
        for row in content["rows"]:
            if row["method"] == method and row.get("signs"):
                values = [row["signs"][sign] or 0.0 for sign in SIGNS]
                found.setdefault(name, []).append((values, not content["absent"]))
    cases = [
        Cases(name, np.array([values for values, _ in rows]), np.array([there for _, there in rows]))
        for name, rows in found.items()
    ]
    if not any(one.there.any() and not one.there.all() for one in cases):
        raise DatasetError(
            "The files hold no results with and without the structure.",
            "Name files of `qnetseg evaluate r3`, with and without --absent.",
        )
    return cases


def case_name(content: dict[str, Any]) -> str:
    """What presence.json calls the data sets of a result of R3."""
    source, query = content["support_dataset"], content["dataset"]
    return f"{source} to {query}" if source else str(query)


def fit(cases: Sequence[Cases]) -> Fit:
    """Structures that are there and those that are not count alike."""
    signs = np.concatenate([one.signs for one in cases])
    there = np.concatenate([one.there for one in cases])
    middle, spread = signs.mean(axis=0), signs.std(axis=0)
    spread[spread < 1e-6] = np.inf  # a sign that is always the same says nothing
    values = torch.from_numpy((signs - middle) / spread)
    truth = torch.from_numpy(there.astype(np.float64))
    each = torch.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    weights = torch.zeros(1 + len(SIGNS), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        odds = weights[0] + values @ weights[1:]
        loss = F.binary_cross_entropy_with_logits(odds, truth, each) + RIDGE * weights[1:].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    own = weights.detach().numpy()
    constant = own[0] - (own[1:] * middle / spread).sum()
    rounded = tuple(round(float(value), 3) for value in (constant, *(own[1:] / spread)))
    found = Fit(rounded, (0.0, 0.0)).probability(signs)[there]
    refused, doubted = (
        round(min(float(np.quantile(found, share)), most), 3) for share, most in (REFUSED, DOUBTED)
    )
    return Fit(rounded, (refused, doubted))


def measured(cases: Sequence[Cases]) -> list[dict[str, Any]]:
    """Of each data set, by a fit on the others: shares in per cent of what is refused and doubted."""
    rows = []
    for one in cases:
        others = [other for other in cases if other is not one] or [one]
        if not any(other.there.any() and not other.there.all() for other in others):
            continue
        used = fit(others)
        found = used.probability(one.signs)
        rows.append(
            {
                "dataset": one.dataset,
                **_shares("present", found[one.there], used.limits),
                **_shares("absent", found[~one.there], used.limits),
                "reliability": _reliability(found, one.there),
            }
        )
    return rows


def _shares(name: str, found: np.ndarray, limits: tuple[float, float]) -> dict[str, float | int | None]:
    if not len(found):
        return {name: 0, f"{name}_refused": None, f"{name}_doubted": None}
    empty = found < limits[0]
    return {
        name: len(found),
        f"{name}_refused": 100 * float(empty.mean()),
        f"{name}_doubted": 100 * float(((found < limits[1]) & ~empty).mean()),
    }


def _reliability(found: np.ndarray, there: np.ndarray) -> list[list[float]]:
    """[results, mean probability, share that is there] for each bin that holds any."""
    bins = np.minimum((found * BINS).astype(int), BINS - 1)
    return [
        [int((bins == k).sum()), float(found[bins == k].mean()), float(there[bins == k].mean())]
        for k in range(BINS)
        if (bins == k).any()
    ]
