"""The sections of R1, R2 and R3."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.whole_volume.tables import footnote, tables, where
from .markdown import NONE, link, section, table
from .reliability_plot import RELIABILITY, reliability
from .runs import Results
from .steps import is_ablation, steps
from .verdicts import verdicts

PROTOCOL_TITLES = {
    "R1": "R1: one drawn slice, the same patient's whole volume",
    "R2": "R2: what every further drawn slice is worth",
    "R3": "R3: one drawn slice, another patient's whole volume",
}
EXPLANATIONS = {
    "R1": "The range of the structure is unknown, and every slice is scored but the drawn ones. Mean Dice in"
    " per cent with its 95 % interval over patients; difference of the run's first method to the row's,"
    " paired by patient; surface Dice at the larger of 2 mm and the slice thickness; medians of ends and of"
    " false volume; mean seconds. The kind of a structure follows from the shape of the expert's mask; the"
    " worst tenth is the mean of the worst tenth of the drawings.",
    "R2": "The first method of a run chooses the slices, the others are scored on the same ones. Mean Dice in"
    " per cent of the slices that nobody drew.",
    "R3": "The range of the structure is unknown, and every slice is scored. Mean Dice in per cent with its"
    " 95 % interval over patients; the worst tenth is the mean of the worst tenth of the pairs, spread the"
    " standard deviation over the supports of one patient; doubted are the results with the warning that the"
    " structure may not be there. The weights of that verdict were found on these very results: what it is"
    " worth on others stands under *Is the structure there at all*. Absent: the query holds no slice with the"
    " structure, so all that is found is false. `qnetseg evaluate r3 --gallery FILE` draws the ten worst"
    " results (r1, too); none is kept"
    " here, because it shows patients of data sets whose licences do not allow a copy.",
}


def whole_volumes(results: Results, folder: Path) -> str:
    """A section for each of the protocols that has results. Draws its diagrams into the folder."""
    sections = []
    for protocol, title in PROTOCOL_TITLES.items():
        parts = [EXPLANATIONS[protocol], RELIABILITY] if protocol == "R1" else [EXPLANATIONS[protocol]]
        own = [r for r in results if r.get("protocol") == protocol and not is_ablation(r)]
        for result in own:
            parts.append(f"### {where(result)}")
            parts += [f"{heading}\n\n{table(columns, rows)}" for heading, columns, rows in tables(result)]
            parts += reliability(result, folder)
            parts.append(f"{footnote(result)} {link(result)}")
        if own:
            sections.append(section(title, *parts))
    sections.append(steps(results))
    sections += [verdicts(result, folder) for result in results if result.get("protocol") == "PRESENCE"]
    return "\n\n".join(filter(None, sections)) or NONE
