"""Sections other than the paper's tables: comparisons, benchmarks, supervoxels, the list of result files."""

from __future__ import annotations

from typing import Any

from ...data import CATALOGUE
from .markdown import section, table
from .runs import SEEN, Variant

Results = list[dict[str, Any]]


def link(result: dict[str, Any]) -> str:
    """Link to a result file."""
    return f"[json]({result['file']})"


def interval(entry: dict[str, Any]) -> str:
    """A paired difference with its 95 % interval."""
    low, high = entry["interval"]
    return f"{entry['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def comparisons(results: Results) -> str:
    """Paired comparisons, one table each."""
    text = (
        "Differences are paired by patient, first minus second, with 95 % bootstrap intervals over"
        " patients. A gain"
        " under 2 points on 20 patients is noise unless its interval excludes zero."
    )
    parts = [text]
    for r in (r for r in results if "comparison" in r):
        entries = {**r["structures"], "mean": r["mean"]}
        title = f"{r['first']} minus {r['second']}, {r['dataset']}, Setting {r['setting']}, `{r['scheme']}`"
        rows = [[name, interval(entry), entry["patients"]] for name, entry in entries.items()]
        head = ("structure", f"{r['metric']} in {r['unit']} (95 % interval)", "patients")
        seen = " One of the models was trained on scored cases." if r.get("trained_on_scored_cases") else ""
        parts += [f"### {title}", f"{r['sentence']}{seen} {link(r)}", table(head, rows)]
    return section("Comparisons", *parts, *([] if len(parts) > 1 else ["None has been made yet."]))


def _where(r: dict[str, Any]) -> str:
    machine = r["machine"]
    return str(
        machine["gpu"] if r["device"] == "cuda" else f"{machine['processor']}, {machine['cores']} cores"
    )


def inference(results: Results) -> str:
    """Inference benchmarks."""
    head = (
        "machine",
        "precision",
        "slices",
        "paper s/slice",
        "ours s/slice",
        "volume s",
        "ratio",
        "peak GiB",
    )
    rows = [
        [
            _where(r),
            r["precision"],
            r["slices"],
            f"{r['reference_seconds_per_slice']:.2f}",
            f"{r['warm_seconds_per_slice']:.3f}",
            f"{r['warm_seconds']:.1f}",
            f"{r['ratio']:.1f}",
            f"{r['peak_gib']:.2f}",
            f"{r['dice_against_fp32']:.4f}",
            link(r),
        ]
        for r in results
        if r.get("bench") == "inference"
    ]
    text = (
        "The paper's arithmetic: ResNet-101 in float32, support encoded again for every slice,"
        " seven released refinement steps."
    )
    return section(
        "Inference",
        text,
        table((*head, "Dice against fp32", "file"), rows) if rows else NONE,
    )


def correction(results: Results) -> str:
    """Benchmarks of a first drawn slice and of a correction."""
    head = ("machine", "precision", "slices", "edge", "first s", "after a correction s", "peak GiB")
    rows = [
        [
            _where(r),
            r["precision"],
            r["slices"],
            r["size"],
            f"{r['first_seconds']:.1f}",
            f"{r['correction_seconds']:.1f}",
            f"{r['peak_gib']:.2f}",
            *(["", ""] if r["growcut_seconds"] is None else [f"{s:.1f}" for s in r["growcut_seconds"]]),
            link(r),
        ]
        for r in results
        if r.get("bench") == "correction"
    ]
    text = (
        "Whole volumes from one drawn slice, and once more after a second one; Slicer's grow-cut on the same."
    )
    more = ("grow-cut s", "grow-cut after it s", "file")
    return section("A correction", text, table((*head, *more), rows) if rows else NONE)


def training(results: Results) -> str:
    """Training benchmarks."""
    head = ("machine", "precision", "pairs", "structures", "episodes/s", "batch-1 fp32 episodes/s", "ratio")
    more = ("GFLOP/episode", "matrix GFLOP/s", "s/step", "floor s/step", "share of floor rate", "file")
    rows = [
        [
            _where(r),
            r["precision"],
            r["pairs"],
            r["structures"],
            f"{r['episodes_per_second']:.2f}",
            f"{r['reference_episodes_per_second']:.2f}",
            f"{r['ratio']:.1f}",
            f"{r['gflop_per_episode']:.0f}",
            f"{r['matrix_gflops']:.0f}",
            f"{r['seconds_per_step']:.2f}",
            f"{r['floor_seconds_per_step']:.2f}",
            f"{100 * r['fraction_of_floor']:.0f} %",
            link(r),
        ]
        for r in results
        if r.get("bench") == "training"
    ]
    text = (
        "Against the paper's way, one episode a step in float32, in the same run. The floor is the time"
        " that the step's arithmetic takes at the measured rate of matrix products in the same precision."
    )
    return section("Training", text, table((*head, *more), rows) if rows else NONE)


def supervoxels(results: Results) -> str:
    """Agreement of our supervoxels with the given ones."""
    rows = []
    for r in (r for r in results if "adjusted_rand_index" in (r.get("rows") or [{}])[0]):
        values = [row["adjusted_rand_index"] for row in r["rows"]]
        figures = [f"{r['mean']:.3f}", f"{min(values):.3f}", f"{max(values):.3f}"]
        rows.append([r["dataset"], r["method"], len(values), *figures, link(r)])
    head = ("data set", "method", "volumes", "mean", "lowest", "highest", "file")
    text = "Adjusted Rand index between our supervoxels and those given with the data, volume by volume."
    return section("Supervoxels", text, table(head, rows) if rows else NONE)


NONE = "Not measured yet."


def result_files(results: Results) -> str:
    """Every result file of protocol P, fold by fold."""
    head = ["model", "data set", "setting", "scheme", "refinement", "steps", "mean Dice"]
    rows = []
    for r in (r for r in results if r.get("protocol") == "P" and r["dataset"] in CATALOGUE):
        variant = Variant.of(r)
        mean = r["summary"].get("mean", {}).get("dice")
        rows.append(
            [
                f"{r['model']}, fold {r['fold']}",
                r["dataset"],
                r["setting"],
                variant.scheme,
                variant.refinement(),
                variant.steps,
                "" if mean is None else f"{mean:.1f}",
                r.get("revision"),
                SEEN[variant.seen],
                link(r),
            ]
        )
    head += ["revision", "remark", "file"]
    return section("Result files of protocol P", table(head, rows) if rows else "There are none yet.")
