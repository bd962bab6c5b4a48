"""What the tables teach: the paper's claims, each against the results that there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ..evaluation.comparison import CLAIM
from .budgets import described, stands_on
from .markdown import section
from .pairings import (
    Finding,
    Place,
    at_another_budget,
    at_equal_budget,
    between_alphas,
    counting,
    on_the_same_weights,
    place_name,
    where,
)
from .paper_tables import ABLATIONS, SCHEMES, of_method
from .published import METHODS, RECIPE, TABLE1, TABLE3, UNREADABLE
from .runs import Fits, Results, Run, Variant, find_runs
from .sweep_tables import DATASET, SETTINGS, by_alpha

ABLATED: Place = ("chaos", 2)  # Table 2's
PLAIN = ABLATIONS["DP + TA"]  # Q-Net without refinement
MODES = {"closed_form": "", "reconstruction": "", "released": ", the step of the authors' code"}


def lessons(results: Results) -> str:
    """The section; "" where there is nothing to tell."""
    recipe = _usual_recipe(results)
    paired = [*_methods(results, recipe), *_paths(results, recipe), *_threshold(results, recipe)]
    paired += [*_refinement(results, recipe), *_alpha(results, recipe), *_coarse_path(results, recipe)]
    paired += [*_budgets(results, recipe)]
    lines = [*paired, *_distances(results, recipe)]
    if not lines:
        return ""
    text = (
        "From the result files alone. Differences are of mean Dice in points, paired by patient, with 95 %"
        f" intervals over patients. {CLAIM} Methods and parts, but for the line"
        " on another budget, are compared at equal start, steps and batch,"
        " each trained once a fold, so that their intervals leave out what a second training changes,"
        " and what bf16 or fp32 does, which depends on the machine;"
        " refinement and alpha on the same weights. All of it is of `strict` folds"
        + (f" and of the recipe `{recipe}`" if recipe else "")
        + f" where nothing else is said.{_repeated(results)} Of several other budgets that of"
        " most folds is told. Distances from published means are not paired: published rows have other folds"
        " and patients, and Q-Net's has refinement."
    )
    return section("What the tables teach", text if paired else "", "\n".join(f"- {line}" for line in lines))


def _repeated(results: Results) -> str:
    """A sentence on how far two trainings of one recipe are apart; "" where none was repeated."""
    apart = [
        f"{abs(r['mean']['difference']):.1f} ({place_name((r['dataset'], r['setting']))})"
        for r in results
        if r.get("repeated")
    ]
    return f" A training that was repeated came out apart by {' and '.join(apart)}." if apart else ""


def _usual_recipe(results: Results) -> str:
    """The recipe that most result files of Table 1 have, which need not be named; "" where none has one."""
    runs = (run for place in TABLE1 for run in counting(results, place, _unrefined))
    counted = Counter(run.variant.recipe for run in runs for _ in run.files)
    return counted.most_common(1)[0][0] if counted else ""


def _unrefined(v: Variant) -> bool:
    return v.entries is not None and v.mode == "none"


def _line(question: str, found: Iterable[tuple[str, Finding]]) -> Iterator[str]:
    """A question and its answers, where there are any."""
    answers = [f"{name}: {finding}." for name, finding in found]
    if answers:
        yield f"**{question}** {' '.join(answers)}"


def _methods(results: Results, recipe: str) -> Iterator[str]:
    found = [f for place in TABLE1 for f in at_equal_budget(results, place, PLAIN, of_method("adnet"))]
    yield from _line(
        "Does Q-Net, without refinement, beat ADNet?", ((where(f.run, recipe), f) for f in found)
    )


def _paths(results: Results, recipe: str) -> Iterator[str]:
    one = {"64 x 64": "the fine path alone", "32 x 32": "the coarse path alone"}
    found = [
        (f"Against {path} ({row}), {where(f.run, recipe)}", f)
        for row, path in one.items()
        for f in at_equal_budget(results, ABLATED, ABLATIONS["DP"], ABLATIONS[row])
    ]
    starts = sorted({described(f.run.files[0]["recipe"]).get("start", "") for _, f in found} - {""})
    start = f", with the {' or '.join(starts)}" if starts else ""
    yield from _line(f"What do two trained paths (DP) bring{start}?", found)


def _threshold(results: Results, recipe: str) -> Iterator[str]:
    found = at_equal_budget(results, ABLATED, PLAIN, ABLATIONS["DP"])
    question = "What does the threshold from the query (TA) bring to DP?"
    yield from _line(question, ((where(f.run, recipe), f) for f in found))


def _refinement(results: Results, recipe: str) -> Iterator[str]:
    """A line for each mode, of Q-Net and of the row of Table 2 that has no adapted threshold."""
    for mode, what in MODES.items():
        found = [
            (where(f.run, recipe), f)
            for place in TABLE1
            for f in on_the_same_weights(results, place, _refined("DP + TA + PR", mode), PLAIN)
        ]
        on_dp = on_the_same_weights(results, ABLATED, _refined("DP + PR", mode), ABLATIONS["DP"])
        found += [(f"DP without TA, {where(f.run, recipe)}", f) for f in on_dp]
        yield from _line(f"Is refinement (PR) of any use, mode `{mode}`{what}?", found)


def _refined(row: str, mode: str) -> Fits:
    return lambda v: ABLATIONS[row](v) and v.mode == mode


def _sweeps(results: Results) -> Iterator[Run]:
    for setting in SETTINGS:
        for run in find_runs(results, "P-alpha", DATASET, setting, of_method("qnet")):
            if run.counts() and all(content.get("rows") for content in run.files):
                yield run


def _own_alpha(run: Run) -> float | None:
    """The model's, where the sweep has it."""
    alpha = (run.files[0].get("model_config") or {}).get("alpha")
    return alpha if all(alpha in content["alphas"] for content in run.files) else None


def _alpha(results: Results, recipe: str) -> Iterator[str]:
    answers = []
    for run in _sweeps(results):
        means = {alpha: float(np.mean(folds)) for alpha, (folds, _) in by_alpha(run).items() if folds}
        if not means:
            continue
        best, own = max(means, key=lambda a: means[a]), _own_alpha(run)
        text = f"{where(run, recipe)}: {best:g}, best of {len(means)} tried"
        if own is None or own == best:
            known = ", ".join(stands_on(len(run.folds()), run.patients()))
            text += (", the model's own" if own == best else "") + f" ({known})"
        else:
            text += f"; against the model's own {own:g} {between_alphas(run, best, own)}"
        answers.append(f"{text}{_best_published(run.files[0]['setting'])}.")
    if answers:
        question = (
            "Which alpha, the weight of the fine path, is best, chosen on the patients that are scored?"
        )
        yield f"**{question}** {' '.join(answers)}"


def _best_published(setting: int) -> str:
    column = {alpha: pair[setting - 1] for alpha, pair in TABLE3.items()}
    if UNREADABLE in column.values():
        return ""
    return f"; the paper's best is {max(column, key=lambda a: float(column[a].split()[0])):g}"


def _coarse_path(results: Results, recipe: str) -> Iterator[str]:
    found = []
    for run in _sweeps(results):
        own = _own_alpha(run)
        if own is not None and own != 1 and all(1.0 in content["alphas"] for content in run.files):
            found.append((f"{where(run, recipe)}, alpha {own:g}", between_alphas(run, own, 1.0)))
    yield from _line("Does the coarse path matter, against alpha 1 on the same weights?", found)


def _budgets(results: Results, recipe: str) -> Iterator[str]:
    """What other steps and batches bring to Q-Net, how far from the paper that is, and what they are."""
    answers: list[str] = []
    differences: dict[str, None] = {}
    for place in TABLE1:
        for found, usual in at_another_budget(results, place, PLAIN, recipe):
            away = _away(found.run.across("mean")[0], place, "qnet")
            answers.append(f"{where(found.run, recipe)}: {found}, {away} from the published mean.")
            text = _otherwise(found.run, usual.files[0]["recipe"], f"`{recipe}`")
            text = f"{text}, and perhaps other entries" if text else "other entries"
            differences[f"This `{found.run.variant.recipe}` has {text}."] = None
    if answers:
        question = f"What does another budget bring to Q-Net, without refinement, against `{recipe}`?"
        yield f"**{question}** {' '.join([*answers, *differences])}"


def _distances(results: Results, recipe: str) -> Iterator[str]:
    """Of every method from its published mean, and what the paper trained otherwise."""
    groups: dict[str, list[str]] = {}
    differences: dict[str, None] = {}
    for place, scheme, method in product(TABLE1, SCHEMES, METHODS):
        for run in counting(results, place, partial(_usual, method, recipe, scheme)):
            folds, _ = run.across("mean")
            if folds:
                known = [f"`{scheme}`", *stands_on(len(folds), run.patients())]
                title = f"{place_name(place)} ({', '.join(known)})"
                groups.setdefault(title, []).append(f"{METHODS[method]} {_away(folds, place, method)}")
                differences[_otherwise(run, RECIPE, "paper")] = None
    if groups:
        texts = [f"{title}: {', '.join(own)}." for title, own in groups.items()]
        otherwise = [f"Trained otherwise than the paper's Q-Net: {text}." for text in differences if text]
        question = "How far is each method, without refinement, from its published mean?"
        yield f"**{question}** {' '.join([*texts, *otherwise])}"


def _away(folds: list[float], place: Place, method: str) -> str:
    """The mean of folds minus the published one, in points."""
    return f"{np.mean(folds) - float(TABLE1[place][method][-1].split()[0]):+.1f}"


def _otherwise(run: Run, recipe: dict[str, Any], name: str) -> str:
    """What a run was trained with instead of what another recipe has; "" for nothing."""
    ours, theirs = described(run.files[0]["recipe"]), described(recipe)
    return "; ".join(
        f"{ours[what]} ({name}: {theirs[what]})"
        for what in theirs
        if what in ours and ours[what] != theirs[what]
    )


def _usual(method: str, recipe: str, scheme: str, v: Variant) -> bool:
    own = PLAIN if method == "qnet" else of_method(method)
    return own(v) and v.entries is not None and (v.recipe, v.scheme, v.mode) == (recipe, scheme, "none")
