"""`qnetseg evaluate`: score a model by a published protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import evaluate_r
from .common import add_command, add_device, add_json, add_model, add_precision, print_json, say
from .outputs import make_folder

if TYPE_CHECKING:
    from ..evaluation.protocol_p import ProtocolP

DETAILS = """
Protocol P is the paper's: three drawn slices of one patient, Dice over the query's slices that hold
the organ. The data are found below the environment variable QNETSEG_DATA."""


def add(commands: Any) -> None:
    """Define the command and its protocols."""
    parser = add_command(
        commands,
        "evaluate",
        "score a model by a protocol",
        "qnetseg evaluate p --dataset chaos --setting 1 --fold 0 --output results",
        DETAILS,
    )
    protocols = parser.add_subparsers(title="protocols", metavar="PROTOCOL", required=True)
    p = add_command(
        protocols,
        "p",
        "the paper's tables: one fold of one data set",
        "qnetseg evaluate p --dataset chaos --setting 1 --fold 0 --output results",
        DETAILS,
    )
    p.add_argument("--dataset", choices=("chaos", "cmr"), required=True)
    p.add_argument(
        "--setting",
        type=int,
        choices=(1, 2),
        required=True,
        help="2: the weights were trained without slices that show the test classes",
    )
    p.add_argument("--fold", type=int, choices=range(5), required=True)
    p.add_argument(
        "--scheme",
        choices=("released", "strict"),
        default="released",
        help="folds and support of the released code, or disjoint folds with every support (default: "
        "released)",
    )
    p.add_argument(
        "--refinement",
        choices=("none", "closed_form", "reconstruction", "released"),
        default="none",
        help="refinement of the prototypes at test time (default: none)",
    )
    p.add_argument("--output", type=Path, metavar="DIR", help="folder for the result file")
    add_model(p)
    add_device(p)
    add_precision(p)
    add_json(p)
    p.set_defaults(run=run_p)
    evaluate_r.add(protocols)


def run_p(arguments: argparse.Namespace) -> int:
    """Score one fold."""
    from ..evaluation import protocol_p
    from ..model import Refinement
    from ..models import resolve_model

    protocol = protocol_p.ProtocolP(
        dataset=arguments.dataset,
        setting=arguments.setting,
        fold=arguments.fold,
        scheme=arguments.scheme,
        refinement=Refinement.usual(arguments.refinement),
        device=arguments.device,
        precision=arguments.precision,
    )
    weights = resolve_model(arguments.model)
    output = None
    if arguments.output is not None:
        make_folder(arguments.output)
        output = arguments.output / f"{_run_name(protocol, weights)}.json"
    content = protocol_p.run(protocol, weights, output, report=say if arguments.json else print)
    if arguments.json:
        print_json(content)
    elif output is not None:
        print(f"result     {output}")
    return 0


def _run_name(protocol: ProtocolP, weights: Path) -> str:
    """Name of a result file; weights are told apart by their run's folder where training named the file."""
    model = weights.resolve().parent.name if weights.stem == "model" else weights.stem
    where = f"{protocol.dataset}-setting{protocol.setting}-fold{protocol.fold}-{protocol.scheme}"
    return f"p-{where}-{protocol.refinement.mode}-{model}"
