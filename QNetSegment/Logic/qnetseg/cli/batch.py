"""`qnetseg batch`: the same structures in every study of a folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch import (
    Plan,
    Row,
    Study,
    StudyState,
    folder_studies,
    line_of,
    plan_targets,
    require_own_table,
    require_writable,
    rows_of,
    table_text,
    write_table,
)
from ..batch.plan import real_engine
from ..batch.run_study import absolute
from ..errors import Cancelled, InputError
from ..extras import require_highdicom
from .common import (
    Bar,
    add_command,
    add_device,
    add_json,
    add_method,
    add_model,
    add_precision,
    add_threads,
    chosen_options,
    print_json,
    print_text,
    say,
)
from .examples import read_examples
from .streams import Ended, ended_by_signals

if TYPE_CHECKING:
    from ..batch.run_study import Endings

SOME_FAILED = 3
"""Exit code where studies failed and others did not, or all did."""

DETAILS = f"""
FOLDER directly holds image files (NIfTI, NRRD, MHA, MHD), or one folder for each DICOM series.
EXAMPLE is a saved example (.npz), which is a drawing and its image, or two files: the IMAGE that was drawn on
and its MASK (a label image, a Slicer segmentation, or an .npz). The IMAGE helps to find the place, so name it
where you have it. Examples of one structure, by the name of segment or label, are used together; every other
name is a further structure.
Each study gets OUT/NAME.seg.nrrd and a report, OUT/NAME.seg.json. Called again, the command keeps what is
finished with the same examples, model and options, and runs the rest. A study that fails stops no other.
OUT/batch.csv and OUT/batch.json hold the table that is printed at the end.
exit code {SOME_FAILED}: studies failed; the others are done.

--cluster local:N starts N workers of Dask on this machine, KIND:FILE starts jobs of a queueing system (KIND
is slurm, pbs, lsf, sge, htcondor, oar or moab), tcp://HOST:PORT is a scheduler that runs already. FILE (YAML)
holds the arguments of dask-jobqueue's class for KIND, and `jobs`, how many to ask for. It needs
pip install 'qnetseg[cluster]'; all machines need the same paths to the files."""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "batch",
        "segment every study of a folder after the same examples",
        "qnetseg batch studies --support patient1.nii.gz patient1-liver.seg.nrrd --output results --jobs 2",
        DETAILS,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the studies")
    parser.add_argument(
        "--support",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="EXAMPLE",
        help="EXAMPLE.npz, IMAGE MASK or IMAGE EXAMPLE.npz, as many as you like",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="OUT", help="folder of the results, made when needed"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="studies at a time on this machine (default: 1)"
    )
    where.add_argument("--cluster", metavar="CLUSTER", help="run the studies on a Dask cluster, see above")
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="write OUT/NAME.seg.dcm of each DICOM series, too (needs highdicom)",
    )
    parser.add_argument("--redo", action="store_true", help="run studies again that are finished")
    add_method(parser)
    add_model(parser)
    add_device(parser)
    add_precision(parser)
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Segment all studies, print and write the table."""
    if arguments.dicom:
        require_highdicom()
    if arguments.jobs < 1:
        raise InputError("--jobs must be a number from 1.", "Say how many studies to run at a time.")
    options = {**chosen_options(arguments), "clean_up": True}
    if not arguments.threads and (local := _local_processes(arguments)) > 1:
        options["threads"] = max(1, (os.cpu_count() or 1) // local)
    model = _checked_model(arguments)
    studies = folder_studies(arguments.folder)
    if not studies:
        raise InputError(
            f"There is no study in the folder '{arguments.folder}'.",
            "Name a folder that directly holds image files, or one folder for each DICOM series.",
        )
    plan_targets(studies, arguments.output)
    studies = [absolute(study) for study in studies]
    require_writable(studies)
    require_own_table(arguments.output)
    examples = read_examples(arguments.support)
    how = (model, arguments.device, options, arguments.redo, arguments.dicom)
    plan = Plan(examples, *how, real_engine)
    return _finish(studies, *_run_all(plan, studies, arguments), arguments)


def _finish(
    studies: Sequence[Study], code: int, rows: dict[int, Sequence[Row]], arguments: argparse.Namespace
) -> int:
    """Write and print the table; the exit code. rows: of the studies that have ended, by their index."""
    if code:
        for study in studies:
            if study.state is StudyState.WAITING:
                study.state = StudyState.CANCELLED
    table = [row for index, study in enumerate(studies) for row in rows.get(index) or rows_of(study)]
    paths = write_table(arguments.output, table)
    if arguments.json:
        print_json({"rows": [asdict(row) for row in table]})
    else:
        counts = Counter(study.state.value for study in studies)
        summary = ", ".join(f"{count} {state}" for state, count in counts.items())
        print_text(f"{table_text(table)}\n\n{len(studies)} studies: {summary}")
        for path in paths:
            print_text(str(path))
    some_failed = any(study.state is StudyState.FAILED for study in studies)
    return SOME_FAILED if some_failed and not code else code


def _local_processes(arguments: argparse.Namespace) -> int:
    """How many processes of this machine share its cores; 1 where that is not known."""
    kind, _, count = (arguments.cluster or "").partition(":")
    if kind == "local" and count.isdecimal():
        return int(count)
    return 1 if arguments.cluster else int(arguments.jobs)


def _checked_model(arguments: argparse.Namespace) -> str | None:
    """The model of choice, a file by its absolute path. Raises WeightsError for weights that are missing."""
    from ..models import PROPAGATION, QNET, weights_for

    kinds = [QNET] if arguments.method == "q-net" else [PROPAGATION, QNET]
    weights_for(kinds, arguments.model)
    chosen: str | None = arguments.model
    return os.path.abspath(chosen) if chosen is not None and os.path.isfile(chosen) else chosen


def _run_all(
    plan: Plan, studies: Sequence[Study], arguments: argparse.Namespace
) -> tuple[int, dict[int, Sequence[Row]]]:
    """Run the studies and follow them: rows of those that have ended, and before them 0, or the exit code
    where the user or the system has stopped it."""
    rows: dict[int, Sequence[Row]] = {}
    try:
        with (
            ended_by_signals(),
            Bar("batch", "study", len(studies)) as bar,
            closing(_endings(plan, studies, arguments)) as endings,
        ):
            for index, ended in endings:
                study = studies[index]
                study.state, study.detail = ended.state, ended.detail
                rows[index] = ended.rows or rows_of(study)
                if ended.log and arguments.debug:
                    say(ended.log)
                if sys.stderr.isatty():
                    bar.show(len(rows), len(studies), study.name)
                else:  # a log
                    say(f"{len(rows)} of {len(studies)}: {line_of(study, rows[index])}")
    except KeyboardInterrupt as stopped:
        say(
            f"Stopped after {len(rows)} of {len(studies)} studies. What is finished is kept: the same command"
            " goes on with the rest."
        )
        return (128 + stopped.number if isinstance(stopped, Ended) else Cancelled.exit_code), rows
    return 0, rows


def _endings(plan: Plan, studies: Sequence[Study], arguments: argparse.Namespace) -> Endings:
    if arguments.cluster:
        from ..batch.dask_cluster import run_on_cluster

        return run_on_cluster(plan, studies, arguments.cluster, say)
    from ..batch.local_processes import run_in_processes

    return run_in_processes(plan, studies, arguments.jobs)
