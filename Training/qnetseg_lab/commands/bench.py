"""`qnetseg bench`: measure speed and memory on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qnetseg.cli.common import (
    add_command,
    add_device,
    add_json,
    add_model,
    add_precision,
    add_threads,
    print_json,
    say,
)
from qnetseg.cli.outputs import make_folder

from .train import add_settings, find_recipe

EXAMPLE = "qnetseg bench inference --slices 36 --output results"
DETAILS = """
Segments a synthetic volume of 256 x 256 slices with Q-Net, slice by slice, and compares, in the same run,
with the paper's arithmetic: ResNet-101, the support encoded for every slice, seven refinement steps."""

CORRECTION = "qnetseg bench correction --slices 300 --size 512 --output results"
CORRECTION_DETAILS = """
Segments a synthetic volume from one drawn slice, then again with a second one, with the propagation network;
the same again beside a busy process on every core, and, in a process of its own, with Slicer's grow-cut
(needs slicer-core). Everything is run three times, and the least seconds count."""

ACROSS = "qnetseg bench another-patient --output results"
ACROSS_DETAILS = """
Segments one structure in other synthetic volumes, the same body with other noise, after one drawn slice whose
patient is known and kept: in a first one, with which the example is readied and Q-Net read, and in three
later ones, of which the quickest counts; beside the drawn volume itself, the quickest of three."""

TRAINING = "qnetseg bench training --recipe default --steps 10 --output results"
TRAINING_DETAILS = """
Trains a network from random weights on synthetic slices of 256 x 256, as the recipe says, and compares, in
the same run, with one episode a step in float32; also with the rate of a large matrix product. Of the
propagation network's recipes it says how long a step's windows take, and how long the network."""


def add(commands: Any) -> None:
    """Define the command and its benchmarks."""
    parser = add_command(commands, "bench", "measure speed and memory", EXAMPLE, DETAILS)
    kinds = parser.add_subparsers(title="benchmarks", metavar="KIND", required=True)
    inference = add_command(kinds, "inference", "time Q-Net slice by slice", EXAMPLE, DETAILS)
    _add_volume(inference)
    inference.set_defaults(run=run_inference)
    for name, title, example, details, run in (
        ("correction", "time a correction", CORRECTION, CORRECTION_DETAILS, run_correction),
        ("another-patient", "time another patient's volume", ACROSS, ACROSS_DETAILS, run_another_patient),
    ):
        volume = add_command(kinds, name, title, example, details)
        _add_volume(volume)
        volume.add_argument(
            "--size",
            type=_positive,
            default=256,
            metavar="N",
            help="pixels along a slice's edge (default: 256)",
        )
        add_precision(volume)
        add_threads(volume)
        volume.set_defaults(run=run)
    training = add_command(kinds, "training", "time the steps of a recipe", TRAINING, TRAINING_DETAILS)
    training.add_argument(
        "--recipe",
        default="default",
        metavar="RECIPE",
        help="a .toml file, or the name of one in the project's Training/ (default: default)",
    )
    training.add_argument(
        "--steps", type=_positive, default=10, metavar="N", help="timed steps of each side (default: 10)"
    )
    training.add_argument("--output", type=Path, metavar="DIR", help="folder for the result file")
    add_settings(training)
    add_device(training)
    add_json(training)
    training.set_defaults(run=run_training)


def _add_volume(parser: argparse.ArgumentParser) -> None:
    """What is segmented, with what, and where the figures go."""
    parser.add_argument(
        "--slices", type=_positive, default=36, metavar="N", help="slices of the volume (default: 36)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the result file")
    add_model(parser)
    add_device(parser)
    add_json(parser)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def run_inference(arguments: argparse.Namespace) -> int:
    """Time Q-Net against the paper's arithmetic."""
    from qnetseg.models import QNET, weights_for

    from ..evaluation import speed as bench

    (weights,) = weights_for([QNET], arguments.model)
    output = _result_file(arguments, f"inference-{arguments.device}-{weights.stem}")
    content = bench.inference(
        weights, slices=arguments.slices, device=arguments.device, output=output, report=_report(arguments)
    )
    return _told(arguments, content, output)


def run_correction(arguments: argparse.Namespace) -> int:
    """Time one drawn slice and a correction."""
    from qnetseg.models import PROPAGATION, weights_for

    from ..evaluation import speed as bench

    (weights,) = weights_for([PROPAGATION], arguments.model)
    output = _result_file(arguments, f"correction-{_where(arguments)}-{weights.stem}")
    content = bench.correction(weights, **_volume(arguments), output=output, report=_report(arguments))
    return _told(arguments, content, output)


def run_another_patient(arguments: argparse.Namespace) -> int:
    """Time another patient's volume."""
    from qnetseg.models import PROPAGATION, QNET, weights_for

    from ..evaluation import speed_across as bench

    propagation, qnet = weights_for([PROPAGATION, QNET], arguments.model)
    names = f"{propagation.stem}-{qnet.stem}"
    output = _result_file(arguments, f"another-patient-{_where(arguments)}-{names}")
    content = bench.another_patient(
        propagation, qnet, **_volume(arguments), output=output, report=_report(arguments)
    )
    return _told(arguments, content, output)


def _where(arguments: argparse.Namespace) -> str:
    """What a volume's benchmark ran on, as a part of a file's name."""
    threads = f"-threads{arguments.threads}" if arguments.threads else ""
    size = f"{arguments.slices}x{arguments.size}"
    return f"{arguments.device}-{arguments.precision}{threads}-{size}"


def _volume(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a volume's benchmark is called with."""
    from qnetseg.segment import SegmentOptions

    options = SegmentOptions(
        device=arguments.device, precision=arguments.precision, threads=arguments.threads
    )
    return {"slices": arguments.slices, "size": arguments.size, "options": options}


def _result_file(arguments: argparse.Namespace, name: str) -> Path | None:
    """The file in the folder that is asked for, which is made; None where none is."""
    if arguments.output is None:
        return None
    make_folder(arguments.output)
    return Path(arguments.output / f"bench-{name}.json")


def _report(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Where the lines of a summary go."""
    return say if arguments.json else print


def _told(arguments: argparse.Namespace, content: dict[str, Any], output: Path | None) -> int:
    """Print what was asked for; the exit code."""
    if arguments.json:
        print_json(content)
    elif output is not None:
        print(f"result     {output}")
    return 0


def run_training(arguments: argparse.Namespace) -> int:
    """Time the steps of a recipe; of one for episodes, against one episode a step in float32."""
    from qnetseg.segment.device import choose_device

    from ..evaluation.results import describe_run, write_json
    from ..training import PropagationRecipe, parse_setting, read_recipe
    from ..training import propagation_throughput as bench_propagation
    from ..training import throughput as bench

    recipe = read_recipe(find_recipe(arguments.recipe), dict(map(parse_setting, arguments.settings)))
    device, warning = choose_device(arguments.device)
    if warning:
        say(f"warning: {warning}")
    if isinstance(recipe, PropagationRecipe):
        figures = bench_propagation.propagation_training(recipe, device, arguments.steps, _report(arguments))
    else:
        figures = bench.training(recipe, device, steps=arguments.steps, report=_report(arguments))
    content = {**figures, **describe_run(None, device.type, recipe.seed)}
    output = _result_file(arguments, f"training-{device.type}-{recipe.name}-{figures['precision']}")
    if output is not None:
        write_json(output, content)
    return _told(arguments, content, output)
