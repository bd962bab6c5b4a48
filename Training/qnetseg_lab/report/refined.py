"""Results with refinement: a sweep over iterations holds those of every mode, see `sweeps.run_iterations`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from qnetseg.model import Refinement

from .runs import Results


def with_refined(results: Results) -> Results:
    """The results, and for each sweep over iterations one of protocol P for each mode, after its usual steps.

    They have the sweep's file. Structures that protocol P has scored in the same mode are not there twice.
    """
    scored = [content for content in results if content.get("protocol") == "P"]
    there = {(_key(content), name) for content in scored for name in content["summary"]}
    derived = []
    for sweep in results:
        for own in _modes(sweep) if sweep.get("protocol") == "P-iterations" else ():
            names = [name for name in own["summary"] if (_key(own), name) not in there]
            summary = {name: own["summary"][name] for name in names}
            rows = [row for row in own["rows"] if row["structure"] in names]
            if names:
                derived.append({**own, "summary": summary, "rows": rows})
    return [*results, *derived]


def _modes(sweep: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A sweep's content for each mode of the usual numbers, as of protocol P, but with Dice alone."""
    iterations, options = sweep["iterations"], sweep.get("options") or {}
    for number, (mode, curves) in enumerate(sweep["curves"].items()):
        usual, swept = Refinement.usual(mode), sweep["modes"][number]
        if usual.steps in iterations and asdict(replace(usual, steps=swept["steps"])) == swept:
            position = iterations.index(usual.steps)
            column = number * len(iterations) + position  # rows have the modes one after another
            yield {
                **sweep,
                "protocol": "P",
                "options": {**options, "refinement": asdict(usual)},
                "summary": {n: {"dice": curve[position]} for n, curve in curves.items() if n != "mean"},
                "rows": [{**row, "dice": row["dice"][column]} for row in sweep.get("rows", [])],
            }


def _key(content: dict[str, Any]) -> tuple[Any, ...]:
    """What is equal for the same weights on the same cases in the same mode; old files say little."""
    options = content.get("options") or {}
    names = ("weights_sha256", "dataset", "setting", "scheme", "fold")
    return (*map(content.get, names), (options.get("refinement") or {}).get("mode"), options.get("alpha"))
