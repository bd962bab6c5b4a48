"""What protocol P gives for nothing: the drawn slices' masks pasted on the query, no image looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.model import QNetConfig
from qnetseg.segment.images import model_mask
from qnetseg.segment.matching import thirds
from qnetseg.volume import InPlaneGrid

from ..data import dataset
from ..data.catalogue import FOLDS
from ..provenance import revision
from .metrics import measures
from .protocol_p import (
    SUPPORT_SLICES,
    Pair,
    ProtocolP,
    Report,
    fold_cases,
    occupied_slices,
    pairs,
    support_slice_indices,
)
from .results import write_json
from .summary import PairRow, summarise


def pasted(pair: Pair) -> np.ndarray:
    """(K, J, I) bool: on the query's slices that hold the structure, the mask of their third's drawn one.

    Cases of other sizes or spacings meet in the network's square, centre on centre.
    """
    occupied = occupied_slices(pair.query, pair.label)
    drawn = support_slice_indices(occupied_slices(pair.support, pair.label))
    there, here = _grid(pair.support.image, pair.support.spacing), _grid(pair.query.image, pair.query.spacing)
    square = np.stack([model_mask(pair.support.labels[index] == pair.label, there) for index in drawn])
    mask = np.zeros(pair.query.labels.shape, dtype=bool)
    mask[occupied] = here.to_native(square)[thirds(len(occupied), SUPPORT_SLICES)] > 0.5
    return mask


def _grid(image: np.ndarray, spacing: tuple[float, float, float]) -> InPlaneGrid:
    return InPlaneGrid(image.shape[1:], spacing[1:], QNetConfig.spacing, QNetConfig.size)


def run(name: str, scheme: str, output: str | Path | None = None, report: Report = print) -> dict[str, Any]:
    """Score all folds and write the result file.

    Args:
        name: "chaos", "cmr", or the folder of a prepared data set.
        scheme: "released" or "strict".
        output: JSON file to write; None writes none.
        report: receives a line for each structure.

    Returns:
        The content of the result file.
    """
    labels = dataset(name).labels
    rows: list[PairRow] = []
    for fold in range(FOLDS):
        protocol = ProtocolP(dataset=name, fold=fold, scheme=scheme)
        for pair in pairs(protocol, list(labels), fold_cases(protocol)):
            scores = measures(pasted(pair), pair.target(), pair.query.spacing)
            rows.append({**pair.key(), "fold": fold, **scores})
    summary = summarise(rows, labels)
    content: dict[str, Any] = {
        "protocol": "P-floor",
        "dataset": dataset(name).name,
        "scheme": scheme,
        "method": "paste",
        "revision": revision(),
        "summary": summary,
        "rows": rows,
    }
    for structure, entry in summary.items():
        report(f"{structure:16s} Dice {entry['dice']:.1f}")
    if output is not None:
        write_json(output, content)
    return content
