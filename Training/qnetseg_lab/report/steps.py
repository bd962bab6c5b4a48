"""What each step of the search in another patient is worth."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from ..evaluation.whole_volume.aggregate import paired
from ..evaluation.whole_volume.methods import ABLATION, METHODS
from ..evaluation.whole_volume.presence_fit import case_name
from ..evaluation.whole_volume.rows import R3Row
from .markdown import interval, link, section, table
from .overview import OURS
from .runs import Results

EXPLANATION = (
    "Points of Dice that are lost without a step, on the same pairs of patients, with 95 % intervals over"
    " patients: plus where it helps. A step that brings little on one data set may matter on another one."
)

SAME = itemgetter(
    *("dataset", "labels", "support_dataset", "support_labels", "plane", "absent", "examples"),
    *("weights_sha256", "further_weights"),
)
Rows = list[R3Row]


def steps(results: Results) -> str:
    """A section from the results of `qnetseg evaluate r3 --method ablation`; empty without any."""
    ablated = [r for r in results if is_ablation(r)]
    columns = [(r, rows) for r in ablated if (rows := _with_everything(r, results))]
    if not columns:
        return ""
    table_rows = [
        [METHODS[name].title, *(_lost(r, rows, name) for r, rows in columns)]
        for name in ABLATION
        if any(name in r["summary"] for r, _ in columns)
    ]
    head = [f"{case_name(r)}, {len(rows)} results {link(r)}" for r, rows in columns]
    return section("What each step brings", EXPLANATION, table(("left out", *head), table_rows))


def is_ablation(r: dict[str, Any]) -> bool:
    """Whether it is a result of R3 on structures that are there, only of our method without steps."""
    return r.get("protocol") == "R3" and not r["absent"] and set(r["summary"]) <= set(ABLATION)


def _key(row: R3Row) -> tuple[str, str, str]:
    return row["query"], row["support"], row["structure"]


def _with_everything(r: dict[str, Any], results: Results) -> Rows:
    """Rows of our method as it is, from another file, on the pairs of an ablation."""
    wanted = {_key(row) for row in r["rows"]}
    for full in results:
        if full.get("protocol") == "R3" and SAME(full) == SAME(r):
            rows = [row for row in full["rows"] if row["method"] == OURS and _key(row) in wanted]
            if len(rows) == len(wanted):
                return rows
    return []


def _lost(r: dict[str, Any], rows: Rows, name: str) -> str:
    own = [row for row in r["rows"] if row["method"] == name]
    lost = paired(rows, own, r["structures"])
    return interval(lost) if lost else ""
