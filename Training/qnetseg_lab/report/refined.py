"""Results with refinement: a sweep over iterations holds those of every mode, see `sweeps.run_iterations`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qnetseg.model import Refinement

from .runs import Results


def with_refined(results: Results) -> Results:
    """The results, and for each sweep over iterations one of protocol P for each mode, after its usual steps.

    They have the sweep's file. What protocol P has scored in the same mode is not there twice.
    """
    there = {_key(content) for content in results if content.get("protocol") == "P"}
    sweeps = [content for content in results if content.get("protocol") == "P-iterations"]
    return [*results, *(own for sweep in sweeps for own in _modes(sweep) if _key(own) not in there)]


def _modes(sweep: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A sweep's content for each of its modes, as of protocol P, but for measures other than Dice."""
    iterations, options = sweep["iterations"], sweep.get("options") or {}
    for number, (mode, curves) in enumerate(sweep["curves"].items()):
        steps = Refinement.usual(mode).steps
        if steps in iterations:
            position = iterations.index(steps)
            column = number * len(iterations) + position  # rows have the modes one after another
            yield {
                **sweep,
                "protocol": "P",
                "options": {**options, "refinement": {"mode": mode, "steps": steps}},
                "summary": {name: {"dice": curve[position]} for name, curve in curves.items()},
                "rows": [{**row, "dice": row["dice"][column]} for row in sweep["rows"]],
            }


def _key(content: dict[str, Any]) -> tuple[Any, ...]:
    """Of the same weights on the same cases in the same mode; old files say little."""
    mode = ((content.get("options") or {}).get("refinement") or {}).get("mode")
    names = ("weights_sha256", "dataset", "setting", "scheme", "fold")
    return (*map(content.get, names), mode)
