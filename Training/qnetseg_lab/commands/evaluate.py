"""`qnetseg evaluate`: score models by the protocol of the paper's tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnetseg.cli.common import add_command, add_device, add_json, add_precision, print_json, say
from qnetseg.cli.outputs import make_folder, require_writable
from qnetseg.cli.pictures import drawn_last
from qnetseg.errors import InputError

from . import evaluate_r
from .common import add_data

if TYPE_CHECKING:
    from ..evaluation.protocol_p import ProtocolP

FOLDS = range(5)

DETAILS = """
Protocol P is the paper's: three drawn slices of one patient, Dice over the query's slices that hold
the organ. A run that was stopped goes on when the same
command is called again."""


def add(commands: Any) -> None:
    """Define the command and its protocols."""
    example = "qnetseg evaluate p --dataset chaos --setting 1 --fold 0 --output results"
    parser = add_command(commands, "evaluate", "score a model by a protocol", example, DETAILS)
    protocols = parser.add_subparsers(title="protocols", metavar="PROTOCOL", required=True)

    p = add_command(protocols, "p", "the paper's Tables 1 and 2: Dice by structure", example, DETAILS)
    _add_common(p)
    _add_refinement(p)
    p.add_argument("--alpha", type=float, metavar="A", help="weight of the fine path (default: the model's)")
    p.add_argument(
        "--gallery", type=Path, metavar="FILE", help="PNG to draw (Figure 3): a slice of each structure"
    )
    p.set_defaults(run=run_p)

    alpha = add_command(
        protocols,
        "p-alpha",
        "the paper's Table 3: Dice for a range of alpha",
        _like(example, "p-alpha"),
        DETAILS,
    )
    _add_common(alpha)
    _add_refinement(alpha)
    alpha.set_defaults(run=run_alpha)

    iterations = add_command(
        protocols,
        "p-iterations",
        "the paper's Figure 4: Dice by refinement iterations, for every refinement mode",
        _like(example, "p-iterations"),
        DETAILS,
    )
    _add_common(iterations)
    iterations.add_argument(
        "--iterations", type=int, default=10, metavar="N", help="last number of iterations (default: 10)"
    )
    iterations.set_defaults(run=run_iterations)

    floor = add_command(
        protocols,
        "p-floor",
        "what pasting the drawn masks on the query scores, no image looked at; all folds",
        "qnetseg evaluate p-floor --dataset chaos --output results",
        DETAILS,
    )
    _add_dataset(floor)
    _add_scheme(floor)
    floor.add_argument("--output", type=Path, metavar="DIR", help="folder for the result file")
    add_json(floor)
    floor.set_defaults(run=run_floor)
    evaluate_r.add(protocols)


def _like(example: str, name: str) -> str:
    return example.replace(" p ", f" {name} ")


def _add_common(parser: argparse.ArgumentParser) -> None:
    _add_dataset(parser)
    parser.add_argument(
        "--setting",
        type=int,
        choices=(1, 2),
        required=True,
        help="2: the weights were trained without slices that show the scored structures",
    )
    parser.add_argument(
        "--fold", choices=[*map(str, FOLDS), "all"], required=True, help="test fold; all: one after another"
    )
    _add_scheme(parser)
    parser.add_argument(
        "--structures",
        nargs="+",
        default=[],
        metavar="NAME",
        help="score these only (default: all; in Setting 2 those that training left out)",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[None],
        metavar="NAME|FILE",
        help="names of `qnetseg weights list` or .safetensors files of any method, scored one after another; "
        "{fold} in a path stands for the fold's number (default: the shipped Q-Net)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the result files")
    add_device(parser)
    add_precision(parser)
    add_json(parser)


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NAME|FOLDER",
        help="chaos, cmr, or a folder made by `qnetseg data prepare`",
    )
    add_data(parser)


def _add_scheme(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scheme",
        choices=("released", "strict"),
        default="released",
        help="folds and support of the released code, or disjoint folds with every support (default: "
        "released)",
    )


def _add_refinement(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--refinement",
        choices=("none", "closed_form", "reconstruction", "released"),
        default="none",
        help="refinement of the prototypes at test time (default: none)",
    )


def run_p(arguments: argparse.Namespace) -> int:
    """Score folds and models, and draw them."""
    from ..evaluation import gallery, protocol_p

    if arguments.output is not None:
        make_folder(arguments.output)  # the picture may go there, too
    if arguments.gallery is not None:
        require_writable(arguments.gallery, (".png",))
        if arguments.fold == "all":
            raise InputError("A gallery shows one fold.", "Give --fold a number.")

    contents = _run(arguments, "p", protocol_p.run)
    if len(contents) > 1 and not arguments.json:
        for line in _together(arguments.dataset, contents):
            print(line)
    if arguments.gallery is not None:
        planned = list(_planned(arguments))
        shown = planned[0][0], [weights for _, weights in planned]
        if drawn_last(arguments.gallery, partial(gallery.gallery, *shown)) and not arguments.json:
            print(f"gallery    {arguments.gallery}")
    return 0


def run_alpha(arguments: argparse.Namespace) -> int:
    """Sweep alpha."""
    from ..evaluation import sweeps

    _run(arguments, "p-alpha", sweeps.run_alpha)
    return 0


def run_iterations(arguments: argparse.Namespace) -> int:
    """Sweep the refinement's iterations."""
    from ..evaluation import sweeps

    def run(protocol: ProtocolP, weights: Path, output: Path | None, report: Any) -> dict[str, Any]:
        return sweeps.run_iterations(protocol, weights, output, report, arguments.iterations)

    _run(arguments, "p-iterations", run)
    return 0


def run_floor(arguments: argparse.Namespace) -> int:
    """Score the pasted masks."""
    from ..data import dataset
    from ..evaluation import floor

    output = None
    if arguments.output is not None:
        make_folder(arguments.output)
        output = arguments.output / f"p-floor-{dataset(arguments.dataset).name}-{arguments.scheme}.json"
    report = say if arguments.json else print
    content = floor.run(arguments.dataset, arguments.scheme, output, report)
    if arguments.json:
        print_json(content)
    elif output is not None:
        print(f"result     {output}")
    return 0


def _run(
    arguments: argparse.Namespace, form: str, score: Callable[..., dict[str, Any]]
) -> list[dict[str, Any]]:
    """Score every planned fold and model; all weights are looked for before the first is scored."""
    if arguments.output is not None:
        make_folder(arguments.output)
    contents = []
    for protocol, weights in list(_planned(arguments)):
        output = None
        if arguments.output is not None:
            output = arguments.output / f"{result_name(form, protocol, weights)}.json"
        content = score(protocol, weights, output, report=say if arguments.json else print)
        contents.append(content)
        if output is not None and not arguments.json:
            print(f"result     {output}")
    if arguments.json:
        print_json(contents[0] if len(contents) == 1 else contents)
    return contents


def _planned(arguments: argparse.Namespace) -> Iterator[tuple[ProtocolP, Path]]:
    """Folds and weights in the order of scoring."""
    from qnetseg.model import Refinement
    from qnetseg.models import QNET, resolve_model

    from ..evaluation.protocol_p import ProtocolP

    for model in arguments.model:
        for fold in FOLDS if arguments.fold == "all" else [int(arguments.fold)]:
            protocol = ProtocolP(
                dataset=arguments.dataset,
                setting=arguments.setting,
                fold=fold,
                scheme=arguments.scheme,
                refinement=Refinement.usual(getattr(arguments, "refinement", "none")),
                alpha=getattr(arguments, "alpha", None),
                structures=tuple(arguments.structures),
                device=arguments.device,
                precision=arguments.precision,
            )
            yield protocol, resolve_model(model and model.replace("{fold}", str(fold)), QNET)


def _together(chosen: str, contents: list[dict[str, Any]]) -> Iterator[str]:
    """Lines on all files of each method: means over all rows, every patient once."""
    from ..data import dataset
    from ..evaluation.summary import summarise

    for method in dict.fromkeys(content["method"] for content in contents):
        own = [content for content in contents if content["method"] == method]
        rows = [row for content in own for row in content["rows"]]
        if len(own) > 1:
            yield f"{method}, {len(own)} result files together"
            for structure, entry in summarise(rows, dataset(chosen).labels).items():
                low, high = entry["interval"]
                yield (
                    f"{structure:16s} Dice {entry['dice']:.1f}  95 % interval {low:.1f} to {high:.1f}"
                    f"  {entry['patients']} patients"
                )


def result_name(form: str, protocol: ProtocolP, weights: Path) -> str:
    """Name of a result file without its ending. form: "p", "p-alpha" or "p-iterations"."""
    from ..data import dataset
    from ..evaluation.results import run_name

    name = dataset(protocol.dataset).name
    parts = [f"{form}-{name}-setting{protocol.setting}-fold{protocol.fold}-{protocol.scheme}"]
    if form != "p-iterations":  # which has every mode
        parts.append(protocol.refinement.mode)
    if protocol.alpha is not None:
        parts[-1] += f"-alpha{protocol.alpha:g}"
    if protocol.structures:
        parts.append("only-" + "-".join(structure.replace(" ", "_") for structure in protocol.structures))
    return "-".join([*parts, run_name(weights)])
