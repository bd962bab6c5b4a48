"""Table 3 (alpha) and Figures 3 and 4 (refinement iterations)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.cli.figures import plain, save

from ..data import CATALOGUE
from .markdown import section, table
from .paper_tables import SCHEMES, counts, figure, missing, of_method
from .published import METHODS, TABLE3
from .queue import Planned
from .runs import SEEN, Question, Run, find_runs

DATASET = "chaos"
SETTINGS = (1, 2)
PEAK = 7  # iterations at which the paper's mean is best

Curves = dict[str, list[float]]  # by structure


def label(run: Run) -> str:
    """A run in a few words, for the head of a column or a figure."""
    v = run.variant
    parts = [run.training(), "" if v.steps is None else f"{v.steps} steps", f"{run.folds()} of 5 folds"]
    return ", ".join([part for part in parts if part] + ([SEEN[v.seen]] if SEEN[v.seen] else []))


def by_fold(run: Run, pick: Callable[[dict[str, Any]], Curves], name: str) -> list[list[float]]:
    """A structure's curve in each fold; "mean": over all structures of the folds that have them all."""
    if name != "mean":
        return [fold[name] for fold in _folds(run, pick) if name in fold]
    return [np.mean(list(fold.values()), axis=0).tolist() for fold in _whole_folds(run, pick)]


def _folds(run: Run, pick: Callable[[dict[str, Any]], Curves]) -> list[Curves]:
    folds: dict[int, Curves] = {}
    for content in run.files:
        own = {name: curve for name, curve in pick(content).items() if name in CATALOGUE[DATASET].labels}
        folds.setdefault(content["fold"], {}).update(own)
    return list(folds.values())


def _whole_folds(run: Run, pick: Callable[[dict[str, Any]], Curves]) -> list[Curves]:
    """The folds that have every structure."""
    return [fold for fold in _folds(run, pick) if len(fold) == len(CATALOGUE[DATASET].labels)]


def table3(results: list[dict[str, Any]], queue: list[Planned] | None) -> str:
    """Table 3 as a section: mean Dice for each alpha, both settings and schemes."""
    head, columns = ["alpha"], []
    alphas = set(TABLE3)
    for setting in SETTINGS:
        question = Question("P-alpha", DATASET, setting, of_method("qnet"))
        head.append(f"Setting {setting}, published")
        columns.append({alpha: pair[setting - 1] for alpha, pair in TABLE3.items()})
        runs = find_runs(results, question)
        for scheme in SCHEMES:
            own = [run for run in runs if run.variant.scheme == scheme]
            for run in own:
                head.append(f"Setting {setting}, ours, {scheme} ({label(run)}, {run.variant.refinement()})")
                columns.append(_by_alpha(run))
                alphas |= set(columns[-1])
            if not any(counts(run) for run in own):
                head.append(f"Setting {setting}, ours, {scheme}")
                columns.append(dict.fromkeys(TABLE3, missing(question, scheme, queue)))
    rows = [[f"{a:g}", *(column.get(a, "") for column in columns)] for a in sorted(alphas, reverse=True)]
    text = (
        "Mean Dice of CHAOST2 when the fine path weighs alpha and the coarse path the rest, on the same"
        " weights. Two published figures of Setting 1 cannot be read in our copy of the paper, whose text"
        " says that there a larger alpha was better. ± as in Table 1's means."
    )
    return section("Table 3: weight of the fine path", text, table(head, rows))


def _by_alpha(run: Run) -> dict[float, str]:
    alphas = [a for a in run.files[0]["alphas"] if all(a in content["alphas"] for content in run.files)]

    def pick(content: dict[str, Any]) -> Curves:
        places = [content["alphas"].index(a) for a in alphas]
        return {name: [values[i] for i in places] for name, values in content["dice"].items()}

    means = by_fold(run, pick, "mean")
    curves = [curve for fold in _whole_folds(run, pick) for curve in fold.values()]
    return {a: figure([m[i] for m in means], [c[i] for c in curves]) for i, a in enumerate(alphas)}


NO_GALLERY = (
    "`qnetseg evaluate p` draws it with `--gallery docs/results/figure3-NAME.png`. No picture is kept here,"
    " because it shows patients of data sets whose licences do not allow a copy."
)


def figure3(folder: Path) -> str:
    """Figure 3 as a section: the galleries of the folder."""
    pictures = sorted(path.name for path in folder.glob("figure3-*.png"))
    shown = "\n\n".join(f"![Qualitative comparison, {Path(name).stem}]({name})" for name in pictures)
    return section("Figure 3: qualitative comparison", shown or NO_GALLERY)


def figure4(results: list[dict[str, Any]], queue: list[Planned] | None, folder: Path) -> str:
    """Figure 4 as a section; draws its pictures into the folder where matplotlib is installed."""
    text = (
        "Mean Dice of CHAOST2 in per cent after each iteration of the prototype refinement, for each of"
        " our modes. The paper shows a picture only, without figures: kidneys and spleen rise slightly,"
        " the liver falls"
        f" substantially, and the mean is best after {PEAK} iterations, the paper's choice. `released` is"
        " the step of the authors' code."
    )
    parts = [text]
    for setting in SETTINGS:
        question = Question("P-iterations", DATASET, setting, of_method("qnet"))
        runs = find_runs(results, question)
        parts.append(f"### Setting {setting}")
        for scheme in SCHEMES:
            own = [run for run in runs if run.variant.scheme == scheme]
            if not any(counts(run) for run in own):
                parts.append(f"{METHODS['qnet']}, `{scheme}`: {missing(question, scheme, queue)}.")
            for number, run in enumerate(own):
                name = f"figure4-setting{setting}-{scheme}{f'-{number + 1}' if number else ''}.png"
                parts += _iterations(run, folder / name, f"Setting {setting}, {scheme}: {label(run)}")
    return section("Figure 4: refinement iterations", *parts)


def _iterations(run: Run, picture: Path, title: str) -> list[str]:
    first = run.files[0]
    names = [*(n for n in CATALOGUE[DATASET].labels if any(_has(c, n) for c in run.files)), "mean"]
    count = min(len(content["iterations"]) for content in run.files)
    curves: dict[str, dict[str, np.ndarray]] = {}
    for mode in first["curves"]:
        curves[mode] = {}
        for name in names:
            own = by_fold(run, partial(_of_mode, mode), name)
            if own:
                curves[mode][name] = np.mean([curve[:count] for curve in own], axis=0)
    head = ["mode", "structure", *map(str, first["iterations"][:count])]
    rows = [[m, n, *(f"{v:.1f}" for v in curve)] for m, by in curves.items() for n, curve in by.items()]
    parts = [f"{title}.", table(head, rows)]
    if find_spec("matplotlib") is not None:
        _draw(curves, first["iterations"][:count], title, picture)
        parts.insert(1, f"![Dice against iterations, {title}]({picture.name})")
    return parts


def _of_mode(mode: str, content: dict[str, Any]) -> Curves:
    curves: Curves = content["curves"].get(mode, {})
    return curves


def _has(content: dict[str, Any], name: str) -> bool:
    return any(name in curves for curves in content["curves"].values())


def _draw(curves: dict[str, dict[str, np.ndarray]], iterations: list[int], title: str, picture: Path) -> None:
    """One panel a mode, one line a structure."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(3.6 * len(curves) + 1.4, 3.8), dpi=110, layout="constrained")
    panels = sheet.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (mode, by_name) in zip(panels, curves.items(), strict=True):
        for name, values in by_name.items():
            style = {"color": "black", "linewidth": 2.2} if name == "mean" else {"linewidth": 1.4}
            axes.plot(iterations, values, marker="o", markersize=3, label=plain(name), **style)
        axes.axvline(PEAK, color="0.7", linewidth=1, linestyle=":")
        axes.set_title(mode, fontsize=10)
        axes.set_xlabel("iterations")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("Dice in per cent")
    sheet.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    sheet.suptitle(plain(title), fontsize=11)
    save(sheet, picture)
