"""`qnetseg train`: make a model from a recipe."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from qnetseg.cli.common import add_command, add_device, say
from qnetseg.cli.outputs import make_folder
from qnetseg.errors import RecipeError
from qnetseg.models import PROPAGATION, read_catalogue, resolve_model

from .common import add_data

DETAILS = """
The folder receives checkpoints, scalars.csv (and TensorBoard's files), of the propagation network also the
supervoxels of its volumes, and, after the last step, model.safetensors. The same command again goes on after
the last checkpoint.

Several GPUs, or machines that share DIR, train together with
  torchrun --nproc-per-node GPUS -m qnetseg train RECIPE --output DIR"""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "train",
        "train a model from a recipe",
        "qnetseg train default --output runs/default",
        DETAILS,
    )
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a .toml file, or the name of one in Training/recipes"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--fold",
        type=int,
        metavar="N",
        help="leave out the test cases of this fold (default: as in the recipe)",
    )
    parser.add_argument(
        "--scheme",
        choices=("released", "strict"),
        help="folds of the released code, or every patient scored once (default: as in the recipe)",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="number of steps instead of the recipe's")
    parser.add_argument(
        "--start",
        metavar="NAME|FILE",
        help="initial weights instead of the recipe's: radiology, torchvision:<weights>, random, a"
        " model of `qnetseg weights list` to go on from, or a file of either kind",
    )
    add_data(parser)
    add_settings(parser)
    add_device(parser)
    parser.set_defaults(run=run)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The option `--set`."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="another value of a recipe's entry, e.g. model.depth=101; data.KEY is meant for every source,"
        " data.NAME.KEY for one; may be given several times",
    )


def recipe_folder() -> Path:
    """Where recipes lie: beside the package in a checkout, in it where it was installed from a wheel."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package.parent / "recipes", package / "recipes") if folder.is_dir())


def find_recipe(name: str) -> Path:
    """A path as it is, or the recipe of that name in `Training/recipes`. Raises RecipeError."""
    folder = recipe_folder()
    for path in (Path(name), folder / name, folder / f"{name}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in folder.glob("*.toml"))) or "none"
    raise RecipeError(f"There is no recipe '{name}'.", f"Name a .toml file or one of these: {known}.")


def start_of(start: str) -> str:
    """Initial weights as the training reads them: the file of a model that is named. Raises WeightsError."""
    known = {entry.name for entry in read_catalogue().models}
    return str(resolve_model(start)) if start in known and not Path(start).is_file() else start


def run(arguments: argparse.Namespace) -> int:
    """Train to the last step, or on from the last checkpoint."""
    recipe = find_recipe(arguments.recipe)
    from ..training import Trainer, distributed, parse_setting, read_recipe

    overrides = {key: getattr(arguments, key) for key in ("fold", "scheme", "steps", "start")}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    settings = read_recipe(recipe, {**dict(map(parse_setting, arguments.settings)), **overrides})
    settings = replace(settings, start=start_of(settings.start))
    if settings.method != PROPAGATION and settings.start == "random":
        say(
            "warning: The encoder starts from random weights, which takes many times the steps;"
            " --start names others."
        )
    make_folder(arguments.output)
    try:
        with distributed.joined(arguments.device) as (device, warning):
            if warning:
                say(f"warning: {warning}")
            run = Trainer(settings, arguments.output, device, report=lambda line: print(line, flush=True))
            run.run()
            leads = distributed.Processes.current().rank == 0
    except KeyboardInterrupt:
        say("Stopped; the same command goes on after the last checkpoint.")
        return 130
    if leads:
        print(f"model      {arguments.output / 'model.safetensors'}")
    return 0
