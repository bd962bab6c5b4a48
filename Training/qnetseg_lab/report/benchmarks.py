"""Sections beside the tables: benchmarks, supervoxels, comparisons, the list of result files."""

from __future__ import annotations

from typing import Any

from ..data import CATALOGUE
from ..evaluation.comparison import CLAIM
from ..evaluation.whole_volume.presence_fit import case_name
from .markdown import NONE, interval, link, number, section, table
from .runs import SEEN, Results, Variant


def comparisons(results: Results) -> str:
    """Paired comparisons, one table each."""
    text = (
        "Differences are paired by patient, first minus second, with 95 % bootstrap intervals over patients."
        f" {CLAIM}"
    )
    parts = []
    for r in (r for r in results if "comparison" in r):
        title = f"{r['first']} minus {r['second']}, {_compared_on(r)}"
        seen = " One of the models was trained on scored cases." if r.get("trained_on_scored_cases") else ""
        entries = {**r["structures"], "mean": r["mean"]}
        rows = [[name, interval(entry), entry["patients"]] for name, entry in entries.items()]
        head = ("structure", f"{r['metric']} in {r['unit']} (95 % interval)", "patients")
        parts += [f"### {title}", f"{r['sentence']}{seen} {link(r)}", table(head, rows)]
    return section("Comparisons", text, *(parts or [NONE]))


def _compared_on(r: dict[str, Any]) -> str:
    if r["comparison"] == "R3":
        return f"another patient, {case_name(r)}"
    return f"{r['dataset']}, Setting {r['setting']}, `{r['scheme']}`"


def computer(r: dict[str, Any]) -> str:
    """The machine of a result file."""
    machine = r["machine"]
    return str(
        machine["gpu"] if r["device"] == "cuda" else f"{machine['processor']}, {machine['cores']} cores"
    )


def inference(results: Results) -> str:
    """Benchmarks of Q-Net slice by slice."""
    measured, left_out = measured_so(results, "inference", "method")
    figures = {
        "paper s/slice": ("reference_seconds_per_slice", 2),
        "ours s/slice": ("warm_seconds_per_slice", 3),
        "volume s": ("warm_seconds", 1),
        "ratio": ("ratio", 1),
        "peak GiB": ("peak_gib", 2),
        "Dice against fp32": ("dice_against_fp32", 4),
    }
    text = (
        "Q-Net slice by slice against the paper's arithmetic: ResNet-101 in float32, support encoded again"
        " for every slice, seven released refinement steps."
    )
    rows = [[computer(r), r["precision"], r["slices"], *_cells(r, figures), link(r)] for r in measured]
    return _bench("Q-Net slice by slice", text, ("machine", "precision", "slices", *figures), rows, left_out)


def correction(results: Results) -> str:
    """Benchmarks of a first drawn slice and of a correction."""
    measured, left_out = measured_so(results, "correction", "other_voxels_one_thread")
    figures = {
        "very first s": ("cold_seconds", 2),
        "first s": ("first_seconds", 2),
        "correction s": ("correction_seconds", 2),
        "first beside other work": ("busy_first_ratio", 1),
        "correction beside other work": ("busy_correction_ratio", 1),
    }
    shares = {
        "ours / grow-cut first": ("growcut_ratio", 2),
        "ours / grow-cut correction": ("growcut_correction_ratio", 2),
        "peak GiB": ("peak_gib", 2),
        "voxels": ("voxels", 0),
        "others again": ("other_voxels_again", 0),
        "others with one thread": ("other_voxels_one_thread", 0),
    }
    rows = [
        [
            *(computer(r), r["precision"], r["threads"] or "all", r["slices"], r["size"]),
            *(*_cells(r, figures), *map(_seconds, r["growcut_seconds"] or (None, None)), *_cells(r, shares)),
            *(r["revision"], link(r)),
        ]
        for r in measured
    ]
    text = (
        "Whole volumes from one drawn slice, and once more after a second one; Slicer's grow-cut on the same."
        " All but the very first time are the shortest of three runs. Beside other work: with a busy process"
        " on every core, as a multiple of the quiet time. Last, voxels that were found, that differ when run"
        " again, and that differ with one thread."
    )
    head = ("machine", "precision", "threads", "slices", "edge", *figures, "grow-cut first s")
    head += ("grow-cut correction s", *shares, "revision")
    return _bench("A correction", text, head, rows, left_out)


def another_patient(results: Results) -> str:
    """Benchmarks of another patient's volume."""
    figures = {
        "drawn volume s": ("own_seconds", 2),
        "first s": ("first_seconds", 1),
        "later s": ("kept_seconds", 1),
        "later / drawn volume": ("kept_ratio", 1),
        "peak GiB": ("peak_gib", 2),
    }
    rows = [
        [
            *(computer(r), r["precision"], r["threads"] or "all", r["slices"], r["size"]),
            *(*_cells(r, figures), r["revision"], link(r)),
        ]
        for r in results
        if r.get("bench") == "another patient"
    ]
    text = (
        "One structure in other patients' volumes, after one drawn slice. With the first the example is"
        " readied; it is kept for later ones, of which the quickest of three counts."
    )
    head = ("machine", "precision", "threads", "slices", "edge", *figures, "revision")
    return _bench("Another patient", text, head, rows)


def training(results: Results) -> str:
    """Training benchmarks."""
    figures = {
        "episodes/s": ("episodes_per_second", 2),
        "batch-1 fp32 episodes/s": ("reference_episodes_per_second", 2),
        "ratio": ("ratio", 1),
        "GFLOP/episode": ("gflop_per_episode", 0),
        "matrix GFLOP/s": ("matrix_gflops", 0),
        "s/step": ("seconds_per_step", 2),
        "least s/step": ("floor_seconds_per_step", 2),
        "share of the least": ("fraction_of_floor", 2),
    }
    rows = [
        [computer(r), r["precision"], r["pairs"], r["structures"], *_cells(r, figures), link(r)]
        for r in results
        if r.get("bench") == "training"
    ]
    text = (
        "Against the paper's way, one episode a step in float32, in the same run. The least is the time that"
        " the step's arithmetic takes at the measured rate of matrix products in the same precision."
    )
    return _bench("Training", text, ("machine", "precision", "pairs", "structures", *figures), rows)


def training_propagation(results: Results) -> str:
    """Training benchmarks of the propagation network."""
    figures = {
        "s/step": ("seconds_per_step", 2),
        "of it windows s": ("windows_seconds_per_step", 2),
        "network s": ("network_seconds_per_step", 2),
        "GFLOP/step": ("gflop_per_step", 0),
        "matrix GFLOP/s": ("matrix_gflops", 0),
        "peak GiB": ("peak_gib", 2),
    }
    rows = [
        [computer(r), r["recipe"], r["precision"], r["batches"], r["voxels"], *_cells(r, figures), link(r)]
        for r in results
        if r.get("bench") == "training-propagation"
    ]
    text = (
        "A step makes windows at random and learns from a batch of them. A recipe's `steps` times the seconds"
        " of one are the time of a training."
    )
    head = ("machine", "recipe", "precision", "batches", "voxels", *figures)
    return _bench("Training of the propagation network", text, head, rows)


def supervoxels(results: Results) -> str:
    """Agreement of our supervoxels with the given ones."""
    rows = []
    for r in (r for r in results if "adjusted_rand_index" in (r.get("rows") or [{}])[0]):
        values = [row["adjusted_rand_index"] for row in r["rows"]]
        figures = [f"{value:.3f}" for value in (r["mean"], min(values), max(values))]
        rows.append([r["dataset"], r["method"], len(values), *figures, link(r)])
    text = "Adjusted Rand index between our supervoxels and those given with the data, volume by volume."
    return _bench("Supervoxels", text, ("data set", "method", "volumes", "mean", "lowest", "highest"), rows)


def measured_so(results: Results, bench: str, key: str) -> tuple[Results, str]:
    """The results of a benchmark that have the key, and a sentence on those from before it was measured."""
    every = [r for r in results if r.get("bench") == bench]
    older = ", ".join(link(r) for r in every if key not in r)
    left_out = f"Left out, because an older version measured otherwise: {older}." if older else ""
    return [r for r in every if key in r], left_out


def _cells(r: dict[str, Any], figures: dict[str, tuple[str, int]]) -> list[str | None]:
    return [number(r[key], digits) for key, digits in figures.values()]


def _seconds(value: float | None) -> str | None:
    return number(value, 2)


def _bench(title: str, text: str, head: tuple[str, ...], rows: list[list[Any]], *more: str) -> str:
    return section(title, text, table((*head, "file"), rows) or NONE, *more)


def result_files(results: Results) -> str:
    """Every result file of protocol P, fold by fold."""
    head = ("model", "data set", "setting", "scheme", "recipe", "refinement", "steps", "mean Dice")
    more = ("revision", "computer", "trained in", "remark", "file")
    rows: list[list[Any]] = []
    for r in (r for r in results if r.get("protocol") == "P" and r["dataset"] in CATALOGUE):
        v = Variant.of(r)
        row = [f"{r['model']}, fold {r['fold']}", r["dataset"], r["setting"], v.scheme, v.recipe]
        row += [v.refinement(), v.steps, number(r["summary"].get("mean", {}).get("dice"))]
        made = [computer(r) if "machine" in r else None, (r.get("training") or {}).get("precision")]
        rows.append([*row, r.get("revision"), *made, SEEN[v.seen], link(r)])
    text = table((*head, *more), rows)
    return section("Result files of protocol P", text or "There are none yet.")
