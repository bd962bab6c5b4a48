"""`qnetseg compare`: is one result better than another, patient by patient?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qnetseg.cli.common import add_command, add_json, print_json
from qnetseg.cli.outputs import require_writable
from qnetseg.errors import InputError

METRICS = ("dice", "iou", "surface_dice", "hd95")

DETAILS = """
Both sides are result files of `qnetseg evaluate p` of one data set, setting and scheme, or of
`qnetseg evaluate r3` of one data set and one method each; a pattern in quotes takes the files of several
folds together. Differences are first minus second, paired by case."""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "compare",
        "compare two results case by case",
        "qnetseg compare 'results/p-chaos-setting1-fold*-strict-none-qnet*.json' "
        "'results/p-chaos-setting1-fold*-strict-none-adnet*.json'",
        DETAILS,
    )
    parser.add_argument("files", nargs="+", metavar="FIRST SECOND", help="result file or quoted pattern")
    parser.add_argument("--metric", choices=METRICS, default="dice", help="what is compared (default: dice)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print a table and a sentence."""
    if len(arguments.files) != 2:
        raise InputError(
            f"Two results can be compared, not {len(arguments.files)}.",
            "Put a pattern for several files in quotes.",
        )
    if arguments.output is not None:
        require_writable(arguments.output, (".json",))
    from ..evaluation.comparison import compare, read_side
    from ..evaluation.results import write_json

    first, second = map(read_side, arguments.files)
    content = compare(first, second, arguments.metric)
    if arguments.output is not None:
        write_json(arguments.output, content)
    if arguments.json:
        print_json(content)
        return 0
    print(f"{content['first']} minus {content['second']}, {content['metric']} in {content['unit']}")
    for name, entry in {**content["structures"], "mean": content["mean"]}.items():
        low, high = entry["interval"]
        print(
            f"{name:16s} {entry['difference']:+6.1f}  95 % interval {low:+6.1f} to {high:+6.1f}"
            f"  {entry['patients']} patients"
        )
    if content["unpaired"]:
        print(f"{content['unpaired']} rows have no partner and were left out.")
    if content["trained_on_scored_cases"]:
        print("One of the models was trained on scored cases.")
    print(content["sentence"])
    return 0
