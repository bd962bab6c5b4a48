"""`experiments.md`: what was tried to make better weights, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qnetseg.errors import InputError
from qnetseg.parsing import read_text

from ..evaluation.comparison import compare, read_side
from ..toml import parse_toml
from .markdown import interval, table

SOURCE = "experiments"  # folder of the entries, beside the result files
KEYS = {"change": str, "expected": str, "baseline": str, "result": str, "kept": bool, "why": str}
ADVICE = f"Give it the entries {', '.join(KEYS)}; baseline and result name result files of the same folder."


def read(folder: Path) -> dict[str, str]:
    """Content of `experiments.json` and `experiments.md`, from FOLDER/experiments/*.toml; nothing where there
    is no such folder.

    Raises:
        InputError: an entry is incomplete, or its two results cannot be paired.
    """
    source = folder / SOURCE
    if not source.is_dir():
        return {}
    entries = [_entry(path) for path in sorted(source.glob("*.toml"))]
    head = ("change", "expected", "measured", "kept", "why", "revision")
    rows = [
        [e["change"], e["expected"], e["measured"], "yes" if e["kept"] else "no", e["why"], e["revision"]]
        for e in entries
    ]
    text = (
        "# Experiments\n\nWritten by `qnetseg report` from `experiments/*.toml` and the result files beside"
        " them. Mean Dice in per cent before and after one change; the difference is paired by patient, with"
        " its 95 % bootstrap interval, which is too narrow for fewer than six patients. A fold that is named"
        " here is scored in the tables, too. The revisions are those of the code that scored before and"
        " after, `unknown` where that was a copy without its git history.\n\n"
    )
    body = table(head, rows) or "None has been recorded yet."
    return {"experiments.json": json.dumps(entries, indent=1) + "\n", "experiments.md": text + body + "\n"}


def _entry(path: Path) -> dict[str, Any]:
    try:
        entry = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError(f"The experiment {path.name} cannot be read ({error}).", ADVICE) from error
    wrong = [key for key, kind in KEYS.items() if not isinstance(entry.get(key), kind)]
    if wrong:
        raise InputError(f"The experiment {path.name} lacks {', '.join(wrong)}.", ADVICE)
    try:
        before, after = (read_side(str(path.parent / entry[key])) for key in ("baseline", "result"))
        paired = compare(after, before)
    except InputError as error:
        raise InputError(f"The experiment {path.name}: {error.message}", error.advice) from error
    baseline, dice = _mean(before), _mean(after)
    overall = paired["mean"]
    patients = "1 patient" if overall["fewest"] == 1 else f"{overall['fewest']} patients"
    measured = f"{baseline:.1f} → {dice:.1f}; {interval(overall)}, {patients}"
    if paired["trained_on_scored_cases"]:
        both = all(
            any(content.get("trained_on_scored_cases") for content in side) for side in (before, after)
        )
        measured += f"; {'both models were' if both else 'a model was'} trained on scored cases"
    return {
        **{key: entry[key] for key in ("change", "expected", "kept", "why")},
        "measured": measured,
        "baseline_dice": baseline,
        "dice": dice,
        "difference": overall["difference"],
        "interval": overall["interval"],
        "revision": " → ".join(dict.fromkeys(_revisions(side) for side in (before, after))),
    }


def _revisions(side: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({content.get("revision", "unknown") for content in side}))


def _mean(side: list[dict[str, Any]]) -> float:
    return float(sum(_structures(content)["mean"]["dice"] for content in side) / len(side))


def _structures(content: dict[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = content["summary"]
    return summary[content["method"]]["structures"] if content["protocol"] == "R3" else summary
