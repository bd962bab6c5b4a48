"""Which steps would one choose without having seen a data set, and what do they score on it?

From ablations on several data sets: for each of them the variant of our method that is best on all others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..whole_volume.rivals import ABLATED, METHODS
from .markdown import table

EXPLANATION = (
    "### Leaving one data set out\n\nAll steps, or all but one, whichever is best in the mean over the other"
    " data sets: chosen there, scored here (mean Dice in per cent). It is behind what would have been chosen"
    " on the data set itself by as much as the choice does not generalise."
)


def left_out(results: list[dict[str, Any]]) -> str:
    """The table, from ablations by R1; "" where no two data sets have one with the same drawings."""
    dice = _dice_of_variants(results)
    rows = []
    for choice in dict.fromkeys(choice for _, choice in dice):
        of = {name: variants for (name, own), variants in dice.items() if own == choice}
        if len(of) < 2:
            continue
        common = [name for name in next(iter(of.values())) if all(name in own for own in of.values())]
        for name, own in of.items():
            others = [variants for other, variants in of.items() if other != name]
            chosen = max(common, key=lambda variant: np.mean([variants[variant] for variants in others]))
            best = max(common, key=lambda variant: own[variant])
            cells = [f"{own[variant]:.1f}" for variant in (chosen, best, common[0])]
            rows.append([name, choice, _title(chosen), cells[0], _title(best), cells[1], cells[2]])
    if not rows:
        return ""
    head = ("data set", "drawn slice", "chosen on the others", "Dice", "best here", "Dice", "all steps")
    return f"{EXPLANATION}\n\n{table(head, rows)}"


def _dice_of_variants(results: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    """(data set, choice of the drawn slice) -> variant -> mean Dice; all steps come first."""
    found = {}
    for result in results:
        if result.get("protocol") == "R1" and set(ABLATED) & set(result["methods"]):
            for choice, methods in result["summary"].items():
                variants = {name: entry["structures"]["mean"]["dice"] for name, entry in methods.items()}
                found[result["dataset"], choice] = variants
    return found


def _title(variant: str) -> str:
    return METHODS[variant].title if variant in ABLATED else "all steps"
