"""What became of each structure of each study: the table at the end of a batch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..atomic import replacing
from ..errors import OutputError
from ..parsing import parse_json, read_text
from .finished import EDITED, read_report
from .studies import Study, StudyState

TABLE = "batch"  # the stem of its files
HEADER = (
    *("study", "state", "structure", "outcome", "volume_ml", "plane", "least_sure_slices"),
    *("seconds", "note"),
)
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes a text for that begins so


@dataclass(frozen=True)
class Row:
    """A structure of a study, or a study without a result.

    Attributes:
        study: its name.
        state: "done", "kept" (an earlier batch has finished it), "failed" or "cancelled".
        structure: what was looked for; empty without a result.
        outcome: "found", "doubtful" or "not here"; empty without a result.
        volume_ml: of the structure.
        plane: of the slices, as people call it.
        least_sure_slices: to be looked at first, by the number that the volume's file gives them, from 0.
        seconds: that the segmentation took.
        note: the warnings, or the error's sentence.
    """

    study: str
    state: str
    structure: str = ""
    outcome: str = ""
    volume_ml: float | None = None
    plane: str = ""
    least_sure_slices: tuple[int, ...] = ()
    seconds: float | None = None
    note: str = ""


def rows_of(study: Study) -> list[Row]:
    """One row for each structure of a finished study, from its report; else one that says what happened."""
    finished = study.state in (StudyState.DONE, StudyState.KEPT)
    report = read_report(study.report) if finished and study.report is not None else None
    try:
        rows = [] if report is None else [_row(study, one, report) for one in report["segments"]]
    except (KeyError, TypeError, ValueError):  # somebody has edited the report
        rows = []
    return rows or [Row(study.name, study.state.value, note=study.detail)]


def _row(study: Study, segment: dict[str, Any], report: dict[str, Any]) -> Row:
    looked_at = segment.get("least_sure", {"plane": segment["plane"], "slices": []})
    notes = [*report.get("oddities", ()), *segment["warnings"]]
    if study.detail == EDITED:
        notes.insert(0, "Edited since; this is what was found.")
    return Row(
        study.name,
        study.state.value,
        str(segment["structure"]),
        str(segment["outcome"]),
        round(float(segment["volume_ml"]), 3),
        str(looked_at["plane"]),
        tuple(int(part["index"]) for part in looked_at["slices"]),
        round(float(segment["seconds"]), 1),
        " ".join(map(str, notes)),
    )


def write_table(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write batch.csv and batch.json into the folder; their paths.

    Raises OutputError, also for a file of these names that no batch wrote.
    """
    require_own_table(folder)
    as_csv, as_json = _paths(folder)
    with replacing(as_csv) as staged:
        staged.write_text(_csv(rows), encoding="utf-8", newline="")
    content = {"qnetseg": __version__, "rows": [asdict(row) for row in rows]}
    with replacing(as_json) as staged:
        staged.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return [as_csv, as_json]


def require_own_table(folder: Path) -> None:
    """Raise OutputError where the table would take the place of a file that no batch wrote."""
    as_csv, as_json = _paths(folder)
    if as_csv.exists() and not _begins_with_header(as_csv):
        foreign = as_csv
    elif as_json.exists() and not _is_table(as_json):
        foreign = as_json
    else:
        return
    raise OutputError(
        f"The file '{foreign.name}' is in the way: it was not written by a batch.",
        "Move or rename it, or choose another folder for the results.",
    )


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / f"{TABLE}.csv", folder / f"{TABLE}.json"


def _begins_with_header(path: Path) -> bool:
    try:
        return read_text(path).startswith(",".join(HEADER))
    except (OSError, ValueError):
        return False


def _is_table(path: Path) -> bool:
    try:
        content = parse_json(read_text(path))
        return isinstance(content, dict) and {"qnetseg", "rows"} <= set(content)
    except (OSError, ValueError):
        return False


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows([_plain(cell) for cell in _cells(row)] for row in rows)
    return text.getvalue()


def _plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: names of files and segments come from anywhere."""
    return f"'{cell}" if cell.startswith(FORMULAS) else cell


def _cells(row: Row) -> list[str]:
    found = {**asdict(row), "least_sure_slices": " ".join(map(str, row.least_sure_slices))}
    return ["" if found[name] is None else str(found[name]) for name in HEADER]


def table_text(rows: Sequence[Row]) -> str:
    """The table for a terminal, its columns aligned; a note in a line of its own."""
    titles = ["study", "structure", "outcome", "ml", "look at slices", "s"]
    lines = [titles] + [_shown(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    right = {titles.index("ml"), titles.index("s")}

    def aligned(line: list[str]) -> str:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    text = [aligned(titles)]
    for row, line in zip(rows, lines[1:], strict=True):
        text.append(aligned(line))
        if row.note:
            text.append(f"    {row.note}")
    return "\n".join(text)


def _shown(row: Row) -> list[str]:
    outcome = row.outcome or row.state
    if row.outcome and row.state == StudyState.KEPT.value:
        outcome += " (earlier)"
    volume = "" if row.volume_ml is None else f"{row.volume_ml:.1f}"
    slices = ", ".join(map(str, row.least_sure_slices))
    where = f"{row.plane} {slices}" if slices else ""
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    return [row.study, row.structure, outcome, volume, where, seconds]


def line_of(study: Study, rows: Sequence[Row]) -> str:
    """A study's end in one line, for a log; rows: its own."""
    if not rows[0].structure:
        return f"{study.name}: {study.state.value}: {study.detail}".rstrip(": ")
    volumes = ", ".join(
        f"{row.structure} {row.outcome}" + (f" {row.volume_ml:.1f} ml" if row.volume_ml else "")
        for row in rows
    )
    seconds = sum(row.seconds or 0.0 for row in rows)
    kept = study.state is StudyState.KEPT
    return f"{study.name}: {volumes} ({study.detail if kept else f'{seconds:.1f} s'})"
