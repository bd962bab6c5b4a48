"""`qnetseg data`: prepare one's own studies, check a data set, compare supervoxels with the paper's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qnetseg.cli.common import add_command, add_json, print_json, say
from qnetseg.cli.outputs import make_folder
from qnetseg.errors import InputError

from .common import add_data

PREPARE = """
Takes NIfTI, NRRD and MHA files and folders with a DICOM series, at any depth. Labels of X.nii.gz are
X_seg.nii.gz or X.seg.nrrd beside it, those of a series' folder X lie beside the folder. The result is a
data set for training: write its folder as the name of [[data]] in a recipe. The same command again goes
on where it stopped and prepares only what is new."""
VALIDATE = """
Says in one line a file what would stop or spoil a training, and ends with code 1 if there is anything."""
SUPERVOXELS = """
Divides every volume anew and reports the adjusted Rand index against the paper's supervoxels."""


def add(commands: Any) -> None:
    """Define the command and its parts."""
    example = "qnetseg data prepare studies --output prepared"
    parser = add_command(commands, "data", "prepare and check training data", example)
    kinds = parser.add_subparsers(title="what to do", metavar="KIND", required=True)
    prepare = add_command(kinds, "prepare", "make a data set of a folder of studies", example, PREPARE)
    prepare.add_argument("folder", type=Path, metavar="DIR", help="folder with the studies")
    prepare.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the data set")
    prepare.add_argument(
        "--spacing",
        type=float,
        default=1.25,
        metavar="MM",
        help="pixel size in a slice, which is model.spacing of the recipe (default: 1.25)",
    )
    prepare.add_argument(
        "--supervoxel-size",
        type=int,
        metavar="N",
        help="smallest supervoxel in voxels (default: 1/200 of the body, about that of the paper)",
    )
    prepare.add_argument(
        "--label",
        action="append",
        type=_label,
        metavar="NAME=VALUE",
        help="a structure and its value in the label files, repeatable (default: as the files say)",
    )
    add_json(prepare)
    prepare.set_defaults(run=run_prepare)
    validate = add_command(
        kinds, "validate", "say what is wrong with a data set", "qnetseg data validate prepared", VALIDATE
    )
    validate.add_argument("dataset", metavar="DIR|NAME", help="a prepared folder, chaos or cmr")
    validate.add_argument(
        "--min-pixels",
        type=int,
        default=200,
        metavar="N",
        help="pixels of a usable supervoxel on a slice, as in the recipe (default: 200)",
    )
    add_data(validate)
    add_json(validate)
    validate.set_defaults(run=run_validate)
    compare = add_command(
        kinds,
        "supervoxels",
        "compare our supervoxels with the paper's",
        "qnetseg data supervoxels --dataset cmr --output docs/results",
        SUPERVOXELS,
    )
    compare.add_argument("--dataset", required=True, choices=("chaos", "cmr"), help="which data set")
    compare.add_argument("--cases", type=int, metavar="N", help="the first N cases only (default: all)")
    compare.add_argument("--output", type=Path, metavar="DIR", help="folder for the result file")
    add_data(compare)
    add_json(compare)
    compare.set_defaults(run=run_supervoxels)


def _label(text: str) -> tuple[str, int]:
    name, _, value = text.rpartition("=")
    if not name or not value.isdigit() or int(value) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not like liver=1")
    return name, int(value)


def run_prepare(arguments: argparse.Namespace) -> int:
    """Prepare all studies; code 1 where some could not be used."""
    from ..training.own_studies import find_studies
    from ..training.preparation import Preparation, prepare_studies

    source, output = arguments.folder.resolve(), arguments.output.resolve()
    if output == source or source in output.parents:
        raise InputError("The data set would lie among the studies.", "Choose a folder outside of theirs.")
    settings = Preparation(spacing=arguments.spacing, supervoxel_size=arguments.supervoxel_size)
    studies = find_studies(arguments.folder)
    make_folder(arguments.output)
    report = say if arguments.json else print
    labels = dict(arguments.label) if arguments.label else None
    result = prepare_studies(studies, arguments.output, settings, labels, report)
    if arguments.json:
        print_json({"ready": result.ready, "kept": result.kept, "problems": list(result.problems)})
    else:
        print(f"studies    {result.ready} ready ({result.kept} from before), {len(result.problems)} left out")
        for problem in result.problems:
            print(f"left out   {problem}")
        print(f"data set   {arguments.output}")
    return 1 if result.problems else 0


def run_validate(arguments: argparse.Namespace) -> int:
    """List the problems of a data set; code 1 where there are any."""
    from ..data import dataset
    from ..training.checks import dataset_problems
    from ..training.recipe import EpisodeRecipe

    data = dataset(arguments.dataset)
    problems = list(dataset_problems(data, EpisodeRecipe(min_pixels=arguments.min_pixels)))
    if arguments.json:
        print_json({"dataset": data.name, "cases": len(data.case_names()), "problems": problems})
    else:
        for problem in problems:
            print(problem)
        print(f"{data.name}: {len(data.case_names())} cases, {len(problems)} problems")
    return 1 if problems else 0


def run_supervoxels(arguments: argparse.Namespace) -> int:
    """Adjusted Rand index of every case against the supervoxels that came with the data."""
    from ..evaluation.results import write_json
    from ..training.agreement import compare_supervoxels

    if arguments.output is not None:
        make_folder(arguments.output)
    report = say if arguments.json else print
    content = compare_supervoxels(arguments.dataset, arguments.cases, report)
    if arguments.output is not None:
        write_json(arguments.output / f"supervoxels-{arguments.dataset}.json", content)
    if arguments.json:
        print_json(content)
    else:
        print(f"mean       {content['mean']:.3f} of {len(content['rows'])} cases")
    return 0
