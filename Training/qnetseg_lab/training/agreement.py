"""How well our supervoxels match those that the paper's models were trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qnetseg.errors import DatasetError

from ..data import dataset
from ..provenance import revision
from .supervoxels import adjusted_rand_index, supervoxels


def compare_supervoxels(
    name: str, cases: int | None, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Adjusted Rand index of the first `cases` volumes of a data set (None: all), within its own body mask.

    Returns the content of a result file. Raises `DatasetError` where a volume has no supervoxels.
    """
    data, rows = dataset(name), []
    for case_name in data.case_names()[:cases]:
        case = data.load(case_name)
        if case.supervoxels is None or not case.supervoxels.any():
            raise DatasetError(
                f"{data.name} case {case_name} has no supervoxels to compare with.", "Restore the file."
            )
        body = case.supervoxels > 0
        ours = supervoxels(case.image, case.spacing, data.supervoxel_size)
        index = adjusted_rand_index(ours[body], case.supervoxels[body])
        rows.append({"case": case_name, "adjusted_rand_index": index})
        report(f"case {case_name}  {index:.3f}")
    mean = float(np.mean([row["adjusted_rand_index"] for row in rows]))
    return {
        "supervoxels": True,
        "dataset": data.name,
        "method": "felzenszwalb",
        "min_size": data.supervoxel_size,
        "revision": revision(),
        "rows": rows,
        "mean": mean,
    }
