"""Sections other than the paper's tables: comparisons, benchmarks, supervoxels, the list of result files."""

from __future__ import annotations

from typing import Any

from ..data import CATALOGUE
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
    """Benchmarks of Q-Net slice by slice."""
    measured, left_out = _measured_so(results, "inference", "method")
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
        for r in measured
    ]
    text = (
        "Q-Net slice by slice against the paper's arithmetic: ResNet-101 in float32, support encoded again"
        " for every slice, seven released refinement steps."
    )
    return section(
        "Inference",
        text,
        table((*head, "Dice against fp32", "file"), rows) if rows else NONE,
        left_out,
    )


def correction(results: Results) -> str:
    """Benchmarks of a first drawn slice and of a correction."""
    measured, left_out = _measured_so(results, "correction", "other_voxels_one_thread")
    rows = [
        [
            _where(r),
            r["precision"],
            r["threads"] or "all",
            r["slices"],
            r["size"],
            *(_figure(r[key]) for key in ("cold_seconds", "first_seconds", "correction_seconds")),
            *(_figure(r[key], 1) for key in ("busy_first_ratio", "busy_correction_ratio")),
            *map(_figure, r["growcut_seconds"] or (None, None)),
            *(_figure(r[key]) for key in ("growcut_ratio", "growcut_correction_ratio", "peak_gib")),
            *(r[key] for key in ("voxels", "other_voxels_again", "other_voxels_one_thread")),
            r["revision"],
            link(r),
        ]
        for r in measured
    ]
    text = (
        "Whole volumes from one drawn slice, and once more after a second one; Slicer's grow-cut on the same."
        " All but the very first time are the least of three runs. Beside other work: with a busy process on"
        " every core, as a multiple of the quiet time. Of grow-cut's time ours takes the given share."
        " The last counts are of voxels: found, different when run again, and different with one thread."
    )
    head = (
        *("machine", "precision", "threads", "slices", "edge", "very first s", "first s", "correction s"),
        *("first beside other work", "correction beside other work", "grow-cut first s"),
        *("grow-cut correction s", "ours / grow-cut first", "ours / grow-cut correction", "peak GiB"),
        *("voxels", "others again", "others with one thread", "revision", "file"),
    )
    return section("A correction", text, table(head, rows) if rows else NONE, left_out)


def _measured_so(results: Results, bench: str, key: str) -> tuple[Results, str]:
    """The results of a benchmark that have the key, and a word on those from before it was measured so."""
    every = [r for r in results if r.get("bench") == bench]
    measured = [r for r in every if key in r]
    older = ", ".join(link(r) for r in every if key not in r)
    return measured, f"Measured otherwise, by an older version, and left out: {older}." if older else ""


def _figure(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


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
