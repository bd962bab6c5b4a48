"""Whether another patient's volume holds the structure: how right the verdicts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from qnetseg.cli.pictures import save

from .markdown import link, number, section, table

KNOWN = {"WHOLE": "the whole volume", "ALONE": "the drawn slice"}
EXPLANATION = (
    "From the results of R3 with and without the structure: each data set is judged with weights and limits"
    " that were found on the others. A result is refused (the volume stays empty), doubted (a warning with"
    " the reason) or neither. In the diagram the probability is right on the diagonal."
)


def verdicts(result: dict[str, Any], folder: Path) -> str:
    """A section; draws its diagram into the folder."""
    rows = []
    for judge, own in result["judges"].items():
        for row in own["measured"]:
            cells = (
                number(row[f"{kind}_{what}"], 0)
                for kind in ("present", "absent")
                for what in ("refused", "doubted")
            )
            rows.append([KNOWN[judge], row["dataset"], str(row["present"]), str(row["absent"]), *cells])
    picture = "presence-reliability.png"
    _draw(result, folder / picture)
    head = ("known of the drawn patient", "data set", "there", "not there")
    shares = ("there: refused, %", "doubted, %", "not there: refused, %", "doubted, %")
    return section(
        "Is the structure there at all",
        EXPLANATION,
        table((*head, *shares), rows),
        f"![Probability of presence]({picture})",
        link(result),
    )


def _draw(result: dict[str, Any], picture: Path) -> None:
    sheet = Figure(figsize=(4.2, 4), dpi=110, layout="constrained")
    axes = sheet.subplots()
    for judge, own in result["judges"].items():
        counts, likely, there = zip(
            *(point for row in own["measured"] for point in row["reliability"]), strict=True
        )
        axes.scatter(likely, there, [4 * count for count in counts], alpha=0.6, label=KNOWN[judge])
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    axes.set(xlabel="probability of presence", ylabel="share that is there", xlim=(0, 1), ylim=(-0.03, 1.03))
    axes.legend(title="known of the drawn patient")
    save(sheet, picture)
