"""Baselines that were scored before: their rows stand beside those of a new run, and are paired with them."""

from __future__ import annotations

import json
from pathlib import Path

from qnetseg.errors import InputError, why
from qnetseg.parsing import parse_json, read_text

from .rows import R1Row
from .runner import WholeVolumeRun

SAME = ("protocol", "dataset", "labels", "fold", "scheme", "cases", "partly_labelled", "plane", "seeds")
"""Settings in which both runs must agree."""


def rows_beside(path: Path, run: WholeVolumeRun) -> tuple[dict[str, str], list[R1Row]]:
    """Rows of all methods of a result file that the run does not score itself, for its choices of slices.

    Returns:
        name and revision of the file, for the new result file; and the rows.

    Raises:
        InputError: it is no such result file, was made with other settings, or adds no method.
    """
    try:
        content = parse_json(read_text(path))
        rows: list[R1Row] = content["rows"]
        scored = [(row["method"], row["choice"], row) for row in rows]
        described = {key: content[key] for key in SAME}
        origin = {"file": path.name, "revision": str(content["revision"])}
    except OSError as error:
        raise InputError(f"The result file {path} cannot be read ({why(error)}).", "Check it.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name} is not a result file of R1.", "Make one with: qnetseg evaluate r1 ... --output DIR."
        ) from error
    own = json.loads(json.dumps(run.described()))
    other = [key for key in SAME if described[key] != own[key]]
    if other:
        raise InputError(
            f"{path.name} was made with another {other[0]}: {described[other[0]]}, not {own[other[0]]}.",
            "Score both with the same settings.",
        )
    chosen = [row for method, choice, row in scored if method not in run.methods and choice in own["choices"]]
    if not chosen:
        raise InputError(f"{path.name} adds no method to this run.", "Leave out --beside.")
    return origin, chosen
