"""Tables from result files: `docs/results/index.md` is written by this module only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..data import CATALOGUE
from ..errors import InputError
from .results import write_text

# Table 1 of the paper (arXiv 2208.11451), Q-Net, mean Dice in per cent over five folds.
PUBLISHED = {
    ("chaos", 1): {
        "liver": 81.74,
        "right kidney": 87.98,
        "left kidney": 78.36,
        "spleen": 75.99,
        "mean": 81.02,
    },
    ("chaos", 2): {
        "liver": 78.25,
        "right kidney": 65.94,
        "left kidney": 64.81,
        "spleen": 65.37,
        "mean": 68.59,
    },
    ("cmr", 1): {"LV blood pool": 90.25, "LV myocardium": 65.92, "right ventricle": 78.19, "mean": 78.15},
}

SEEN = {False: "", True: " (trained on scored cases)", None: " (training cases unknown)"}


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """All result files of a folder, by name. Raises `InputError` for a file that is not one."""
    results = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            results.append({**json.loads(path.read_text(encoding="utf-8")), "file": path.name})
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(
                f"The result file {path.name} cannot be read ({error}).", "Make it again."
            ) from error
    return results


def write_index(folder: str | Path) -> Path:
    """Write `index.md` beside the result files and return its path."""
    results = read_results(folder)
    parts = ["# Results", "Written by `qnetseg report` from the result files of this folder."]
    for (name, setting), published in PUBLISHED.items():
        rows = [
            r for r in results if r.get("protocol") == "P" and (r["dataset"], r["setting"]) == (name, setting)
        ]
        parts.append(_protocol_p(name, setting, published, rows))
    parts.append(_bench([r for r in results if r.get("bench") == "inference"]))
    return write_text(Path(folder) / "index.md", "\n\n".join(parts) + "\n")


def _protocol_p(name: str, setting: int, published: dict[str, float], rows: list[dict[str, Any]]) -> str:
    columns = [*CATALOGUE[name].labels, "mean"]
    lines = [
        f"## Protocol P, {name}, Setting {setting}",
        "",
        "Mean Dice in per cent; three drawn slices, organ range given.",
        "",
        _row("result", "steps", "folds", "refinement", *columns, "file"),
        _row(*["---"] * (len(columns) + 5)),
        _row("published", "30000", "all", "released", *(f"{published[c]:.1f}" for c in columns), ""),
    ]
    for result in rows:
        dice = (result["summary"].get(column, {}).get("dice") for column in columns)
        lines.append(
            _row(
                f"{result['model']}, fold {result['fold']}{SEEN[result.get('trained_on_scored_cases')]}",
                result["steps"],
                result["scheme"],
                result["options"]["refinement"]["mode"],
                *("" if value is None else f"{value:.1f}" for value in dice),
                f"[json]({result['file']})",
            )
        )
    if not rows:
        lines.append(_row("not run yet", *[""] * (len(columns) + 4)))
    return "\n".join(lines)


def _bench(rows: list[dict[str, Any]]) -> str:
    lines = [
        "## Inference",
        "",
        "The paper's arithmetic: ResNet-101 in float32, support encoded again for every slice,"
        " seven released refinement steps.",
        "",
        _row(
            "machine",
            "precision",
            "slices",
            "paper s/slice",
            "ours s/slice",
            "volume s",
            "ratio",
            "peak GiB",
            "Dice against fp32",
            "file",
        ),
        _row(*["---"] * 10),
    ]
    for r in rows:
        machine = r["machine"]
        where = (
            machine["gpu"] if r["device"] == "cuda" else f"{machine['processor']}, {machine['cores']} cores"
        )
        lines.append(
            _row(
                where,
                r["precision"],
                r["slices"],
                f"{r['reference_seconds_per_slice']:.2f}",
                f"{r['warm_seconds_per_slice']:.3f}",
                f"{r['warm_seconds']:.1f}",
                f"{r['ratio']:.1f}",
                f"{r['peak_gib']:.2f}",
                f"{r['dice_against_fp32']:.4f}",
                f"[json]({r['file']})",
            )
        )
    return "\n".join(lines)


def _row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
