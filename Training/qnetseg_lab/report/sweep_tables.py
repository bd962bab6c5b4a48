"""Table 3 (alpha) and Figures 3 and 4 (refinement iterations)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qnetseg.cli.pictures import plain, save

from ..data import CATALOGUE
from .budgets import Common, cell, shown, stands_on
from .markdown import section, table
from .paper_tables import SCHEMES, Lacking, figure, of_method
from .published import TABLE3
from .runs import SEEN, Results, Run, find_runs

DATASET = "chaos"
SETTINGS = (1, 2)
PEAK = 7  # iterations at which the paper's mean is best

Curves = dict[str, list[float]]  # by structure


def label(run: Run) -> str:
    """A run in a few words, for the head of a column or a figure."""
    v = run.variant
    parts = [
        v.recipe,
        "" if v.steps is None else f"{v.steps} steps",
        stands_on(len(run.folds()), None)[0],
        SEEN[v.seen],
    ]
    return ", ".join(filter(None, parts))


def table3(results: Results) -> str:
    """Table 3 as a section: mean Dice for each alpha, both settings and schemes."""
    lacking = Lacking()
    found = {setting: _runs(results, "P-alpha", setting, lacking) for setting in SETTINGS}
    common = Common.of((run for runs in found.values() for _, run in runs), data=False)
    head = ["alpha"]
    columns: list[dict[float, str]] = []
    for setting, runs in found.items():
        head.append(f"Setting {setting}, published")
        columns.append({alpha: pair[setting - 1] for alpha, pair in TABLE3.items()})
        for own in (part for _, run in runs for part in shown(run, common)):
            head.append(f"Setting {setting}, ours: {cell(own, common)}")
            columns.append({alpha: figure(*values) for alpha, values in by_alpha(own).items()})
    alphas = sorted({alpha for column in columns for alpha in column}, reverse=True)
    rows = [[f"{a:g}", *(column.get(a) for column in columns)] for a in alphas]
    text = (
        "Mean Dice of CHAOST2 when the fine path weighs alpha and the coarse path the rest, on the same"
        " weights. Two published figures of Setting 1 cannot be read in our copy of the paper, whose text"
        " says that there a larger alpha was better. Its figures of Setting 2 in Tables 1 and 2 are those at"
        " 0.6; ours there have the model's own alpha. ± as in Table 1's means."
    )
    stated = common.sentence("column") if common else ""
    title = "Table 3: weight of the fine path"
    return section(title, text, stated, table(head, rows), lacking.sentence())


def _runs(results: Results, protocol: str, setting: int, lacking: Lacking) -> list[tuple[str, Run]]:
    """Scheme and run of a sweep of Q-Net; settings without one that counts are added to `lacking`."""
    found = []
    runs = find_runs(results, protocol, DATASET, setting, of_method("qnet"))
    for scheme in SCHEMES:
        own = [run for run in runs if run.variant.scheme == scheme]
        found += [(scheme, run) for run in own]
        if not any(run.counts() for run in own):
            lacking.add(f"Setting {setting}", scheme, "qnet", protocol.lower(), DATASET, setting)
    return found


def by_alpha(run: Run) -> dict[float, tuple[list[float], list[float]]]:
    """Means of the folds and the values of their spread for each alpha that all files have; see `across`."""
    alphas = [a for a in run.files[0]["alphas"] if all(a in content["alphas"] for content in run.files)]

    def pick(content: dict[str, Any]) -> Curves:
        places = [content["alphas"].index(a) for a in alphas]
        return {name: [values[i] for i in places] for name, values in content["dice"].items()}

    means, curves = run.across("mean", pick)
    return {a: ([m[i] for m in means], [c[i] for c in curves]) for i, a in enumerate(alphas)}


NO_GALLERY = (
    "`qnetseg evaluate p` draws it with `--gallery docs/results/figure3-NAME.png`. No picture is kept here,"
    " because it shows patients of data sets whose licences do not allow a copy."
)


def figure3(folder: Path) -> str:
    """Figure 3 as a section: the galleries of the folder."""
    pictures = sorted(path.name for path in folder.glob("figure3-*.png"))
    shown = "\n\n".join(f"![Qualitative comparison, {Path(name).stem}]({name})" for name in pictures)
    return section("Figure 3: qualitative comparison", shown or NO_GALLERY)


def figure4(results: Results, folder: Path) -> str:
    """Figure 4 as a section; draws its pictures into the folder."""
    text = (
        "Mean Dice of CHAOST2 in per cent after each iteration of the prototype refinement, for each of"
        " our modes. The paper shows a picture without figures: kidneys and spleen rise slightly, the liver"
        f" falls substantially, and the mean is best after {PEAK} iterations, the paper's choice. `released`"
        " is the step of the authors' code."
    )
    lacking = Lacking()
    found = {setting: _runs(results, "P-iterations", setting, lacking) for setting in SETTINGS}
    common = Common.of((run for runs in found.values() for _, run in runs), data=False)
    parts = [text, common.sentence("picture", "") if common else ""]
    for setting, runs in found.items():
        for number, (scheme, run) in enumerate(runs, 1):
            name = f"figure4-setting{setting}-{scheme}-{number}.png"
            parts += _iterations(run, folder / name, f"Setting {setting}, {scheme}: {label(run)}")
    return section("Figure 4: refinement iterations", *parts, lacking.sentence())


def _iterations(run: Run, picture: Path, title: str) -> list[str]:
    count = min(len(content["iterations"]) for content in run.files)
    steps = run.files[0]["iterations"][:count]
    curves: dict[str, dict[str, np.ndarray]] = {}
    for mode in run.files[0]["curves"]:
        found = {n: run.across(n, partial(_of_mode, mode))[0] for n in (*CATALOGUE[DATASET].labels, "mean")}
        curves[mode] = {
            n: np.mean([curve[:count] for curve in folds], axis=0) for n, folds in found.items() if folds
        }
    head = ["mode", "structure", *map(str, steps)]
    rows = [[m, n, *(f"{v:.1f}" for v in curve)] for m, by in curves.items() for n, curve in by.items()]
    _draw(curves, steps, title, picture)
    return [f"{title}.", f"![Dice against iterations, {title}]({picture.name})", table(head, rows)]


def _of_mode(mode: str, content: dict[str, Any]) -> Curves:
    curves: Curves = content["curves"].get(mode, {})
    return curves


def _draw(curves: dict[str, dict[str, np.ndarray]], iterations: list[int], title: str, picture: Path) -> None:
    """One panel a mode, one line a structure."""
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
