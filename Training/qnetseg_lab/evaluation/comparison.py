"""Paired comparison of two sets of result files of protocol P or R3."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from scipy.stats import permutation_test

from qnetseg.errors import InputError, why
from qnetseg.parsing import parse_json, read_text

from .metrics import bootstrap_mean_interval
from .summary import FACTORS, Measure, PairRow

# What both sides must have in common, by protocol.
SAME = {
    "P": ("dataset", "setting", "scheme"),
    "R3": (
        *("dataset", "labels", "support_dataset", "support_labels", "plane"),
        *("partly_labelled", "examples", "seed", "absent"),
    ),
}
UNITS: dict[Measure, str] = {"dice": "points", "iou": "points", "surface_dice": "points", "hd95": "mm"}
LEVEL = 0.05  # of the sign-flip test, which belongs to an interval of 95 %
LEAST_PATIENTS = 6  # with fewer, the test cannot fall below its level: 2 of the 2^5 signs are 6 %
CLAIM = (
    f"A difference is claimed from {LEAST_PATIENTS} patients of each structure on, where its interval"
    f" excludes zero and a sign-flip test over patients gives less than {100 * LEVEL:g} %."
)
NOISE = 2.0  # points; a smaller difference is called small also where it is shown


class Difference(TypedDict, total=False):  # empty where there are no pairs
    difference: float
    interval: list[float]  # 95 %, bootstrap over patients
    patients: int
    fewest: int  # patients of a structure
    p: float  # of the sign-flip test over patients, two-sided
    shown: bool  # see `difference`


def read_side(pattern: str) -> list[dict[str, Any]]:
    """Result files of protocol P or R3 by a path or a glob pattern, e.g. those of all folds.

    Raises:
        InputError: there are none, one cannot be read, they do not belong together, or a row is there twice.
    """
    paths = [Path(pattern)] if Path(pattern).is_file() else sorted(map(Path, glob.glob(pattern)))
    if not paths:
        raise InputError(
            f"There is no result file {pattern}.", "Name a file, or a pattern in quotes for several folds."
        )
    files = [_read(path) for path in paths]
    _require_same(files, "method")
    seen: set[tuple[str, str, str]] = set()
    for path, content in zip(paths, files, strict=True):
        for row in content["rows"]:
            if _key(row) in seen:
                raise InputError(
                    f"{path.name} repeats rows of another file of {pattern}: {row['structure']} of case"
                    f" {row['query']} from case {row['support']}.",
                    "Name one file a fold, all of one model and variant.",
                )
            seen.add(_key(row))
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path))
        keys = SAME.get(content["protocol"])
        if keys and all(key in content for key in keys):
            if content.get("absent"):
                raise InputError(
                    f"{path.name} is of structures that are not there, which have no Dice.",
                    "Compare results without --absent.",
                )
            for row in content["rows"]:
                _key(row), float(row["dice"])
            if len(content.get("methods", [""])) == 1:
                return dict(content)
    except OSError as error:
        raise InputError(f"The result file {path} cannot be read ({why(error)}).", "Check it.") from error
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{path.name} is not a result file of protocol P or R3 of one method.",
        "Make one with: qnetseg evaluate p (or r3) ... --output DIR.",
    )


def _key(row: PairRow) -> tuple[str, str, str]:
    return row["structure"], row["query"], row["support"]


def _require_same(files: list[dict[str, Any]], *more: str) -> None:
    for key in ("protocol", *SAME[files[0]["protocol"]], *more):
        values = sorted({str(content.get(key)) for content in files})
        if len(values) > 1:
            raise InputError(
                f"The result files differ in their {key}: {' and '.join(values)}.",
                "Compare results of the same protocol, data set and options.",
            )


def compare(
    first: list[dict[str, Any]], second: list[dict[str, Any]], metric: Measure = "dice"
) -> dict[str, Any]:
    """First minus second, paired by structure, query and support, patient by patient.

    A patient's value is the mean over supports; the interval resamples patients, with all their structures.

    Args:
        first, second: contents of result files, several for several folds; see `read_side`.
        metric: "dice", "iou" or "surface_dice" (in points, per cent), or "hd95" (in mm).

    Returns:
        {first, second: names; repeated: whether they are one model's; metric, unit; structures: {name:
        entry}; mean: entry; patients; pairs; unpaired; trained_on_scored_cases; sentence}; an entry is a
        `Difference`.

    Raises:
        InputError: the sides do not belong together or have no row in common.
    """
    if metric not in FACTORS:
        raise InputError(f"There is no measure {metric!r}.", f"Use one of {', '.join(FACTORS)}.")
    _require_same([*first, *second])
    protocol = first[0]["protocol"]
    tables: list[dict[tuple[str, str, str], PairRow]] = [
        {_key(row): row for content in side for row in content["rows"]} for side in (first, second)
    ]
    both = [key for key in tables[0] if key in tables[1]]
    values: dict[tuple[str, str], list[float]] = {}
    for key in both:
        one, other = (table[key].get(metric) for table in tables)
        if one is not None and other is not None:
            values.setdefault((key[1], key[0]), []).append((one - other) * FACTORS[metric])
    if not values:
        raise InputError(
            f"The results have no case in common that has a value of {metric}.", "Compare the same folds."
        )
    patients = list(dict.fromkeys(patient for patient, _ in values))
    structures = list(dict.fromkeys(structure for _, structure in values))
    table = np.array([[np.mean(values.get((p, s), [np.nan])) for s in structures] for p in patients])
    entries = {name: difference(table[:, [column]]) for column, name in enumerate(structures)}
    overall = difference(table)
    names = [_name(side) for side in (first, second)]
    repeated = names[0] == names[1] and protocol == "P"  # the same training twice
    if names[0] == names[1]:
        names = [f"{name}, {_apart(side)}" for name, side in zip(names, (first, second), strict=True)]
    return {
        "comparison": protocol,
        **{key: first[0][key] for key in SAME[protocol]},
        "first": names[0],
        "second": names[1],
        "repeated": repeated,
        "metric": metric,
        "unit": UNITS[metric],
        "structures": entries,
        "mean": overall,
        "patients": len(patients),
        "pairs": len(both),
        "unpaired": len(tables[0]) + len(tables[1]) - 2 * len(both),
        "trained_on_scored_cases": any(c.get("trained_on_scored_cases") for c in (*first, *second)),
        "sentence": _sentence(names, overall, metric),
    }


def difference(table: np.ndarray) -> Difference:
    """That of a table of differences.

    It is shown where the interval excludes zero and, since a bootstrap of few patients is too narrow, chance
    signs of the patients' differences make one as large in less than 5 % (exact for up to 13 patients).

    table: (patients, structures), not a number where a patient lacks a structure; at least one number. The
    difference is the mean over structures of their means over patients.
    """
    table = table[~np.isnan(table).all(axis=1)]
    low, high = bootstrap_mean_interval(table)
    columns = table[:, ~np.isnan(table).all(axis=0)]
    counts = (~np.isnan(columns)).sum(axis=0)
    shares = np.nansum(columns / counts, axis=1) / len(counts)  # of each patient in the difference
    p = _sign_flip_test(shares)
    fewest = int(counts.min())
    return {
        "difference": float(shares.sum()),
        "interval": [low, high],
        "patients": len(table),
        "fewest": fewest,
        "p": p,
        "shown": fewest >= LEAST_PATIENTS and p < LEVEL and not low <= 0 <= high,
    }


def _sign_flip_test(shares: np.ndarray) -> float:
    """The p-value of a sum of values whose signs are chance; 1 for a single value."""
    if len(shares) < 2:
        return 1.0
    chance = np.random.default_rng(0)
    found = permutation_test(
        (shares,), np.sum, permutation_type="samples", vectorized=True, random_state=chance
    )
    return float(found.pvalue)


def _name(side: list[dict[str, Any]]) -> str:
    """Models of a side, several folds as one, and what was done at test time."""
    options = side[0].get("options") or {}
    mode = (options.get("refinement") or {}).get("mode", "none")
    alpha = options.get("alpha")
    models = [" with ".join([str(c.get("model")), *(c.get("further_weights") or ())]) for c in side]
    if len(models) > 1:
        models = [re.sub(r"-fold\d$", "", model) for model in models]
    name = " + ".join(dict.fromkeys(models))
    return (
        name + (f", {mode}" if mode != "none" else "") + (f", alpha {alpha:g}" if alpha is not None else "")
    )


def _apart(side: list[dict[str, Any]]) -> str:
    """What tells two sides of one model apart: its weights, by the beginning of their checksums; in R3, where
    the way to the result counts, method and code, too."""
    own = [[c.get("weights_sha256"), *(c.get("further_weights") or {}).values()] for c in side]
    text = "weights " + " + ".join(dict.fromkeys(str(sha)[:8] for hashes in own for sha in hashes))
    if side[0]["protocol"] == "R3":
        text = f"{side[0]['method']}, {text}, revision {side[0].get('revision')}"
    return text


def _sentence(names: list[str], overall: Difference, metric: Measure) -> str:
    difference, (low, high), unit = overall["difference"], overall["interval"], UNITS[metric]
    figures = (
        f"{difference:+.1f} {unit} (95 % interval {low:+.1f} to {high:+.1f}, {overall['fewest']} patients)"
    )
    if overall["fewest"] < LEAST_PATIENTS:
        return f"Too few patients to claim a difference: {names[0]} minus {names[1]} is {figures}."
    if not overall["shown"]:
        return (
            f"No difference can be claimed: {names[0]} minus {names[1]} is {figures}, p {overall['p']:.2f}."
        )
    better = (difference > 0) != (metric == "hd95")
    verdict = "better" if better else "worse"
    small = (
        f" Below {NOISE:g} points it is a small one." if unit == "points" and abs(difference) < NOISE else ""
    )
    return f"{names[0]} is {verdict} than {names[1]}: {figures}.{small}"
