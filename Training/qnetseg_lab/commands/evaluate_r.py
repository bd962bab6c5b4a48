"""`qnetseg evaluate r1|r2|r3`: one drawn slice, the whole volume, beside what a user could do instead."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnetseg.cli.common import (
    add_command,
    add_device,
    add_json,
    add_model,
    add_precision,
    print_json,
    say,
)
from qnetseg.cli.outputs import make_folder, require_writable
from qnetseg.cli.pictures import drawn_last

from .common import add_data

if TYPE_CHECKING:
    from ..evaluation.whole_volume.runner import WholeVolumeRun

DATA = """
The data set is chaos, cmr, sunnybrook, open-ct, open-cord or open-heart, found below the environment
variable QNETSEG_DATA, or a folder of your own with X.nii.gz and X_seg.nii.gz: any anatomy, modality and
geometry. Finished cases are kept in a .part.jsonl file beside the result; after an interruption the same
command goes on there."""

METHODS = """
Methods: qnet (this software: the propagation network, and Q-Net for another patient), qnet-alone (the same
without the volume that was drawn on), qnet-slices (Q-Net slice by slice), copy, ellipsoid, interpolation,
growcut and growcut-ends (Slicer's own; needs slicer-core), random-walker, or all; of R3 also ablation,
ours without each of its steps."""


def add(protocols: Any) -> None:
    """Define the three protocols below `evaluate`, and what is learned from the third."""
    _add_r1(protocols)
    _add_r2(protocols)
    _add_r3(protocols)
    _add_presence(protocols)


def _add_r1(protocols: Any) -> None:
    example = "qnetseg evaluate r1 --dataset chaos --method qnet,growcut --output results"
    parser = add_command(
        protocols, "r1", "one drawn slice, the same patient's whole volume", example, DATA + "\n" + METHODS
    )
    _add_common(parser)
    parser.add_argument(
        "--choice",
        choices=("largest", "random", "both"),
        default="both",
        help="the drawn slice: of the largest area, or random in the structure's middle half (default: both)",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="random slices (default: 3)")
    parser.add_argument(
        "--beside", type=Path, metavar="FILE", help="result file whose other methods are compared, too"
    )
    _add_gallery(parser)
    parser.set_defaults(run=run_r1)


def _add_r2(protocols: Any) -> None:
    example = "qnetseg evaluate r2 --dataset chaos --method qnet,growcut,interpolation --output results"
    parser = add_command(
        protocols, "r2", "what every further drawn slice is worth", example, DATA + "\n" + METHODS
    )
    _add_common(parser)
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="drawn slices (default: 6)")
    parser.add_argument(
        "--pick",
        choices=("worst", "flag", "both"),
        default="both",
        help="the next slice: with the worst Dice, or flagged by the first method (default: both)",
    )
    parser.set_defaults(run=run_r2)


def _add_r3(protocols: Any) -> None:
    example = "qnetseg evaluate r3 --dataset sunnybrook --support-dataset cmr --pairs 40 --output results"
    parser = add_command(
        protocols, "r3", "one drawn slice, another patient's whole volume", example, DATA + "\n" + METHODS
    )
    _add_common(parser)
    parser.add_argument("--pairs", type=int, metavar="N", help="stratified subset of pairs (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the subset (default: 0)")
    parser.add_argument(
        "--support-dataset", metavar="NAME|FOLDER", help="draw on these studies (default: --dataset)"
    )
    parser.add_argument(
        "--support-labels", type=label_values, metavar="NAME=VALUE,...", help="structures of those studies"
    )
    parser.add_argument(
        "--absent", action="store_true", help="crop queries to slices without the structure: false volume"
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=1,
        metavar="N",
        help="patients drawn on for a query (default: 1)",
    )
    _add_gallery(parser)
    parser.set_defaults(run=run_r3)


def _add_presence(protocols: Any) -> None:
    parser = add_command(
        protocols,
        "presence",
        "weigh the signs that a structure is there, and measure how right that is",
        "qnetseg evaluate presence docs/results/r3-*.json --output docs/results",
        "The weights and limits that are printed are those for qnetseg/segment/presence.py.",
    )
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="FILE", help="of R3, with and without --absent"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for presence.json")
    parser.set_defaults(run=run_presence)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="NAME|FOLDER", help="studies to score")
    add_data(parser)
    parser.add_argument(
        "--method", type=names, default=("qnet",), metavar="NAME,...", help="methods (default: qnet)"
    )
    parser.add_argument(
        "--labels",
        type=label_values,
        metavar="NAME=VALUE,...",
        help="structures to score, and what to call them (default: all labels that occur)",
    )
    parser.add_argument("--cases", type=names, default=(), metavar="NAME,...", help="only these studies")
    parser.add_argument(
        "--fold", type=int, choices=range(5), help="only the test cases of a fold of chaos or cmr"
    )
    parser.add_argument(
        "--scheme", choices=("released", "strict"), default="strict", help="of --fold (default: strict)"
    )
    parser.add_argument(
        "--plane",
        choices=("axial", "coronal", "sagittal"),
        help="plane to draw in (default: that of the thickest slices)",
    )
    parser.add_argument(
        "--partly-labelled",
        action="store_true",
        help="in the folder only slices that hold a label were looked at: score no others",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="parallel processes (default: 1)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the result file")
    add_model(parser)
    add_device(parser)
    add_precision(parser)
    add_json(parser)


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gallery", type=Path, metavar="FILE", help="PNG to draw: the first method's ten worst results"
    )


def names(text: str) -> tuple[str, ...]:
    """Names of a list with commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError("names no one")
    return found


def label_values(text: str) -> dict[str, int]:
    """ "liver=1,spleen=4" as a dictionary."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if not name.strip() or not value.strip().isdigit() or int(value) == 0:
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is not of the form name=value")
        found[name.strip()] = int(value)
    if len(set(found.values())) < len(text.split(",")):
        raise argparse.ArgumentTypeError("a name or a value occurs twice")
    return found


def run_r1(arguments: argparse.Namespace) -> int:
    """Score one drawn slice."""
    from ..evaluation.whole_volume import r1
    from ..evaluation.whole_volume.drawn_slices import CHOICES

    choices = CHOICES if arguments.choice == "both" else (arguments.choice,)
    run = r1.R1(**_settings(arguments, "r1"), choices=choices, seeds=arguments.seeds)
    parts = [] if arguments.choice == "both" else [arguments.choice]
    return _execute(arguments, r1, run, parts, beside=arguments.beside)


def run_r2(arguments: argparse.Namespace) -> int:
    """Score corrections."""
    from ..evaluation.whole_volume import r2

    picks = r2.PICKS if arguments.pick == "both" else (arguments.pick,)
    run = r2.R2(**_settings(arguments, "r2"), rounds=arguments.rounds, picks=picks)
    return _execute(arguments, r2, run, [] if arguments.pick == "both" else [arguments.pick])


def run_r3(arguments: argparse.Namespace) -> int:
    """Score pairs of patients."""
    from ..evaluation.whole_volume import r3

    run = r3.R3(
        **_settings(arguments, "r3"),
        support_dataset=arguments.support_dataset,
        support_labels=arguments.support_labels,
        pairs=arguments.pairs,
        seed=arguments.seed,
        absent=arguments.absent,
        examples=arguments.examples,
    )
    parts = [f"from-{Path(arguments.support_dataset).name}"] if arguments.support_dataset else []
    parts += [f"pairs{arguments.pairs}-seed{arguments.seed}"] if arguments.pairs else []
    parts += ["absent"] if arguments.absent else []
    parts += [f"examples{arguments.examples}"] if arguments.examples > 1 else []
    return _execute(arguments, r3, run, parts)


def _settings(arguments: argparse.Namespace, protocol: str) -> dict[str, Any]:
    """The options that all three protocols have."""
    from qnetseg.models import resolve_model

    from ..evaluation.whole_volume.methods import chosen_methods

    methods = chosen_methods(arguments.method, protocol)
    return {
        "dataset": arguments.dataset,
        "methods": methods,
        "weights": None if arguments.model is None else str(resolve_model(arguments.model)),
        "labels": arguments.labels,
        "cases": arguments.cases,
        "fold": arguments.fold,
        "scheme": arguments.scheme,
        "partly_labelled": arguments.partly_labelled,
        "plane": arguments.plane,
        "device": arguments.device,
        "precision": arguments.precision,
    }


def run_presence(arguments: argparse.Namespace) -> int:
    """Weigh the signs of presence."""
    from ..evaluation.results import write_json
    from ..evaluation.whole_volume import presence_fit

    content = presence_fit.fitted(arguments.results)
    for judge, own in content["judges"].items():
        print(f"{judge}: {own['weights']}, {own['limits']}")
        for row in own["measured"]:
            print(f"  {row['dataset']}: {row}")
    if arguments.output is not None:
        make_folder(arguments.output)
        write_json(arguments.output / "presence.json", content)
    return 0


def _execute(
    arguments: argparse.Namespace, protocol: Any, run: WholeVolumeRun, parts: list[str], **more: Any
) -> int:
    """Run a protocol's module, print its table and say where the result file is. more: for its `run`."""
    from ..evaluation.whole_volume.runner import prepared
    from ..evaluation.whole_volume.tables import summary_lines
    from ..evaluation.whole_volume.worst_cases import gallery

    output, picture = None, getattr(arguments, "gallery", None)
    if picture is not None:
        require_writable(picture, (".png",))
    if arguments.output is not None:
        make_folder(arguments.output)
        output = arguments.output / f"{_run_name(run, parts)}.json"
    content = protocol.run(run, output, arguments.jobs, say, **more)
    if picture is not None and not drawn_last(
        picture, partial(gallery, content, partial(protocol.again, prepared(run)))
    ):
        picture = None
    if arguments.json:
        print_json(content)
        return 0
    print("\n".join(summary_lines(content)))
    if output is not None:
        print(f"result     {output}")
    if picture is not None:
        print(f"gallery    {picture}")
    return 0


def _run_name(run: WholeVolumeRun, parts: list[str]) -> str:
    """Name of a result file: what is scored, by whom, with which weights."""
    from ..evaluation.results import run_name

    where = [] if run.fold is None else [f"fold{run.fold}-{run.scheme}"]
    where += ["-".join(run.cases)] if run.cases else []
    methods = run.methods if len(run.methods) <= 2 else (run.methods[0], f"and{len(run.methods) - 1}")
    models = [run_name(path) for path in run.used_weights()[:1]]
    words = [run.protocol, Path(run.dataset).resolve().name, *where, *parts, *methods, *models]
    return "-".join(words).replace(" ", "-")
