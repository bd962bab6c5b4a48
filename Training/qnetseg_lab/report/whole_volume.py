"""The sections of R1, R2 and R3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..evaluation.whole_volume.tables import footnote, tables, where
from .benchmarks import link
from .markdown import section, table
from .reliability_plot import reliability

PROTOCOL_TITLES = {
    "R1": "R1: one drawn slice, the same patient's whole volume",
    "R2": "R2: what every further drawn slice is worth",
    "R3": "R3: one drawn slice, another patient's whole volume",
}
EXPLANATIONS = {
    "R1": "Range unknown, every slice scored but the drawn ones. Mean Dice in per cent with its 95 % interval"
    " over patients; difference of the run's first method to the row's, paired by patient; surface Dice at"
    " max(2 mm, slice thickness); ends and false volume are medians; seconds are means. The kind of a"
    " structure is told from the shape of the expert's mask; its worst tenth is the mean of the worst tenth"
    " of the drawings.",
    "R2": "The first method of a run chooses the slices, the others are scored on the same ones. Mean Dice in"
    " per cent of the slices that nobody drew.",
    "R3": "Range unknown, every slice scored. Mean Dice in per cent with its 95 % interval over patients;"
    " worst tenth is the mean of the worst tenth of the pairs, spread the standard deviation over the"
    " supports of one patient; doubted are the results that come with the warning that the structure may not"
    " be there. Absent: the query holds no slice with the structure, so every voxel is false."
    " `qnetseg evaluate r3 --gallery FILE` draws the ten worst results (r1, too); none is kept here, because"
    " it shows patients of data sets whose licences do not allow a copy.",
}


def r_tables(results: list[dict[str, Any]], folder: Path) -> str:
    """A section for each of the protocols that has results; "" where none has. Draws the reliability diagrams
    into the folder where matplotlib is installed."""
    sections = []
    for protocol, title in PROTOCOL_TITLES.items():
        parts = [EXPLANATIONS[protocol]]
        for result in (r for r in results if r.get("protocol") == protocol):
            parts.append(f"### {where(result)}")
            parts += [f"{heading}\n\n{table(columns, rows)}" for heading, columns, rows in tables(result)]
            parts += reliability(result, folder)
            parts.append(f"{footnote(result)} {link(result)}")
        if len(parts) > 1:
            sections.append(section(title, *parts))
    return "\n\n".join(sections)
