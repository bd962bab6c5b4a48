"""Pages from result files: `docs/results/index.md` and `experiments.md` are written here only.

`published` holds the paper's figures, `runs` puts the folds of a run together by their `recipes`, `queue`
reads what waits for a GPU; `tables`, `measures`, `sweep_tables`, `whole_volume` and `benchmarks` make
sections, `experiments` a page of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qnetseg.errors import InputError

from ..evaluation.results import write_text
from .benchmarks import comparisons, correction, inference, result_files, supervoxels, training
from .experiments import write_experiments
from .measures import goals, measures
from .paper_tables import table1, table2
from .queue import read_queue
from .runs import read_results
from .sweep_tables import figure3, figure4, table3
from .whole_volume import r_tables


def write_index(folder: str | Path, queue: str | Path | None = None) -> Path:
    """Write `index.md` and the pictures of Figure 4 and of reliability beside the result files.

    Args:
        folder: with the result files.
        queue: `Training/GPU_QUEUE.md` of a checkout; without it, what is missing is just not run yet.

    Returns:
        Path of `index.md`.

    Raises:
        InputError: a result file or the queue cannot be read.
        OutputError: a page or picture cannot be written.
    """
    folder = Path(folder)
    results = read_results(folder)
    planned = None if queue is None else read_queue(queue)
    try:
        parts = [_head(folder, results), goals(results), table1(results, planned), measures(results)]
        parts += [table2(results, planned)]
        parts += [table3(results, planned), figure3(folder), figure4(results, planned, folder)]
        parts += [r_tables(results, folder)]
        sections = (comparisons, inference, correction, training, supervoxels, result_files)
        parts += [make(results) for make in sections]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(
            f"A result file of {folder} lacks an entry that the tables need ({error!r}).",
            "Make it again with this version, or move it elsewhere.",
        ) from error
    return write_text(folder / "index.md", "\n\n".join(part for part in parts if part) + "\n")


def _head(folder: Path, results: list[dict[str, Any]]) -> str:
    text = f"# Results\n\nWritten by `qnetseg report` from the {len(results)} result files of this folder."
    if (folder / "experiments.md").is_file():
        text += " What was tried to make better weights: [experiments](experiments.md)."
    return text


__all__ = ["read_results", "write_experiments", "write_index"]
