"""`qnetseg demo`: one drawn slice and a brain scan that comes with a Python package."""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import compute, drawing
from .common import add_command, add_device, add_json, add_model, print_json, print_text, say
from .outputs import make_folder
from .pictures import drawn_last
from .results import in_file_terms
from .streams import ended_by_signals

if TYPE_CHECKING:
    from ..segment import Query

SCAN = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
"""Inside nilearn: the mean brain of 152 people, T1-weighted MR (McConnell Brain Imaging Centre, 2009)."""

DETAILS = """
The scan is the MNI152 brain (1 mm, T1-weighted MR) that the package nilearn ships; nothing is
downloaded. The cerebellum was drawn by hand on one sagittal slice; the propagation network finds it on
the others."""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "demo",
        "segment the cerebellum in a real brain scan from one drawn slice",
        "qnetseg demo --output demo-output",
        DETAILS,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for demo.seg.nrrd and demo.png (default: demo-output)",
    )
    add_model(parser)
    add_device(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def find_scan() -> Path:
    """The scan inside the installed nilearn, which is not imported for it. Raises InputError."""
    for package in ("nilearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"The demonstration needs the Python package {package}.",
                'Install it with: pip install "qnetseg[demo]".',
            )
    spec = importlib.util.find_spec("nilearn")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / SCAN).is_file():
            return Path(folder) / SCAN
    raise InputError(
        "The installed nilearn does not contain the MNI152 scan.",
        'Install another version: pip install "nilearn>=0.10.2".',
    )


def run(arguments: argparse.Namespace) -> int:
    """Segment the scan; write the segmentation and the contact sheet."""
    from ..models import PROPAGATION, weights_for
    from ..segment import Query
    from ..segment.result import Found
    from ..volume import (
        Drawing,
        LabelMap,
        SegmentInfo,
        file_slices,
        read_volume,
        write_labelmap,
    )
    from .contact_sheet import contact_sheet

    began = time.monotonic()
    scan, folder = find_scan(), arguments.output
    weights_for([PROPAGATION], arguments.model)
    make_folder(folder)
    volume = read_volume(scan)
    query = Query.of(volume)
    drawn = Drawing.of_mask(
        query.orientation.back(_drawn_on(query)),
        query.shape,
        name=drawing.STRUCTURE,
        color=drawing.COLOR,
        terminology=drawing.TERMINOLOGY,
        plane="sagittal",
    )
    support = query.pack(drawn)
    say(f"Segmenting the {drawing.STRUCTURE} in {volume.shape[2]} slices from one drawn slice.")
    with ended_by_signals():
        result = Found.of(compute.engine(arguments.model, arguments.device, {})(support, query, None, None))
    info = SegmentInfo(1, drawing.STRUCTURE, drawing.COLOR, drawing.TERMINOLOGY)
    targets = [folder / "demo.seg.nrrd", folder / "demo.png"]
    mask = result.mask.placed(volume.shape).astype("int32")
    write_labelmap(targets[0], LabelMap(mask, volume.ijk_to_ras, (info,)))
    drawn_last(targets[1], lambda path: contact_sheet(volume, result, support, path, "MNI152 brain scan"))
    seconds = time.monotonic() - began
    slices = file_slices(volume, support.plane)
    if arguments.json:
        print_json(
            {
                "scan": str(scan),
                "segmentation": str(targets[0]),
                "picture": str(targets[1]),
                "seconds": seconds,
                "report": in_file_terms(result.report, slices, slices),
            }
        )
        return 0
    for warning in result.report.warnings:
        say(f"warning: {warning}")
    report = result.report
    print_text(f"{report.structure}: {report.volume_ml:.0f} ml")
    print_text(f"{'seconds':13s}{seconds:.1f}, of which {report.seconds:.1f} to segment on {report.device}")
    for name, path in (("picture", targets[1]), ("segmentation", targets[0]), ("scan", scan)):
        print_text(f"{name:13s}{path}")
    return 0


def _drawn_on(query: Query) -> Any:
    """The drawing, if the scan is the one that it was made on."""
    if query.image.shape != drawing.SHAPE:
        raise InputError(
            "The installed nilearn contains another scan than the one that was drawn on.",
            'Install another version: pip install "nilearn>=0.10.2".',
        )
    return drawing.drawn_mask()
