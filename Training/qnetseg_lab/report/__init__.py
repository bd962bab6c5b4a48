"""Pages from result files: the Markdown of `docs/results` and the README's key figures are written here only.

`published` holds the paper's figures, `refined` takes rows with refinement from sweeps, `runs` puts the folds
of a run together by their `recipes`, `overview` makes the first page; `budgets` says once what rows have in
common, `pairings` compares runs for `lessons`; the other modules make sections, `experiments` a page of its
own.
"""

from __future__ import annotations

from pathlib import Path

from qnetseg.errors import InputError, why

from ..evaluation.results import write_text
from . import experiments
from .benchmarks import (
    another_patient,
    comparisons,
    correction,
    inference,
    result_files,
    supervoxels,
    training,
    training_propagation,
)
from .lessons import lessons
from .measures import goals, measures
from .overview import overview, readme
from .paper_tables import table1, table2
from .refined import with_refined
from .runs import Results, read_results
from .sweep_tables import figure3, figure4, table3
from .whole_volume import whole_volumes

DETAILS = {
    "details-volumes.md": "Whole volumes: by structure, by shape, confidence",
    "details-paper.md": "The paper's protocol: all measures, comparisons, result files",
    "details-benchmarks.md": "Benchmarks, and agreement of the supervoxels",
}
BEGIN, END = "<!-- key figures: written by qnetseg report -->", "<!-- end of key figures -->"


def write_report(folder: str | Path, readme_file: str | Path | None = None) -> list[Path]:
    """Write all pages and pictures beside the result files, no page where one of the files cannot be used.

    Args:
        folder: with the result files.
        readme_file: a page whose key figures, between its two markers, are written, too.

    Returns:
        Paths of the pages.

    Raises:
        InputError: a result file cannot be read, or the page has no markers.
        OutputError: a page or picture cannot be written.
    """
    folder = Path(folder)
    results = read_results(folder)
    tried = {folder / name: text for name, text in experiments.read(folder).items()}
    try:
        texts = {folder / name: text for name, text in _pages(results, folder).items()}
        key_figures = readme(results)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(
            f"A result file of {folder} lacks an entry that the tables need ({error!r}).",
            "Make it again with this version, or move it elsewhere.",
        ) from error
    if readme_file is not None:
        texts[Path(readme_file)] = _between_markers(Path(readme_file), key_figures)
    return [write_text(path, text) for path, text in (texts | tried).items()]


def _pages(results: Results, folder: Path) -> dict[str, str]:
    """Name and text of each page of result files; draws its pictures."""
    links = [f"- [{title}]({name})" for name, title in DETAILS.items()]
    if (folder / experiments.SOURCE).is_dir():
        links.append("- [What was tried to make better weights](experiments.md)")
    head = (
        f"Written by `qnetseg report` from the {len(results)} result files of this folder. First what a user"
        " gets, then the tables and figures of the paper. Details:\n\n" + "\n".join(links)
    )
    scored = with_refined(results)
    details = (
        (whole_volumes(results, folder),),
        (goals(scored), measures(scored), comparisons(results), result_files(results)),
        (
            *(correction(results), another_patient(results), inference(results)),
            *(training(results), training_propagation(results)),
            supervoxels(results),
        ),
    )
    pages: dict[str, tuple[str, ...]] = {
        "index.md": (
            *("# Results", head, overview(results), table1(scored), table2(scored), table3(results)),
            *(lessons(scored), figure3(folder), figure4(results, folder)),
        )
    }
    for (name, title), sections in zip(DETAILS.items(), details, strict=True):
        pages[name] = (f"# {title}", "Written by `qnetseg report`. [Summary](index.md)", *sections)
    return {name: "\n\n".join(filter(None, parts)) + "\n" for name, parts in pages.items()}


def _between_markers(path: Path, text: str) -> str:
    """A page with its key figures replaced. Raises `InputError` where it has no place for them."""
    try:
        page = path.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        _, after = rest.split(END)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({why(error)}).", "Name the README.") from error
    except ValueError as error:
        raise InputError(
            f"{path.name} has no place for the key figures.", f"Put the lines {BEGIN} and {END} there, once."
        ) from error
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


__all__ = ["read_results", "write_report"]
