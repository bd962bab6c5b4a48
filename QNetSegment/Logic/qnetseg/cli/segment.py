"""`qnetseg segment`: from a drawn slice and a volume to a segmentation."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import InputError
from . import compute, elsewhere
from .common import (
    add_command,
    add_device,
    add_json,
    add_method,
    add_model,
    add_precision,
    add_threads,
    chosen_options,
)
from .dicom_output import DicomOutput, is_dicom, require_no_image
from .elsewhere import add_worker
from .inputs import Inputs, read_inputs
from .outputs import require_writable
from .pictures import drawn_last
from .results import combine, in_file_terms, tell, write_results
from .saved import is_saved
from .streams import ended_by_signals

if TYPE_CHECKING:
    from ..segment.result import Found
    from ..volume import FileSlices, SupportSet, Volume

DETAILS = """
MASK is a label image or a Slicer segmentation on the voxels of the support, drawn on one slice or
several; every label in it becomes a segment of the output. Or it is a saved example (.npz), of the panel's
library or of SupportSet.save: a drawing and its image. Where one of them is drawn, no other is found;
where two segments claim another voxel, the more confident one gets it. Only .seg.nrrd and .dcm keep names,
colours and terminology. A .dcm, a DICOM SEG object, refers to the images of QUERY, which has to be a DICOM
series; it keeps voxels that two segments claim in both."""


def add(commands: Any) -> None:
    """Define the command."""
    parser = add_command(
        commands,
        "segment",
        "segment a volume from a drawn slice",
        "qnetseg segment scan.nii.gz --mask drawing.seg.nrrd --output liver.seg.nrrd --report liver.json",
        DETAILS,
    )
    parser.add_argument(
        "query", type=Path, metavar="QUERY", help="volume to segment: NIfTI, NRRD, MHA, MHD or a DICOM folder"
    )
    parser.add_argument(
        "--support",
        type=Path,
        metavar="IMAGE",
        help="volume that MASK was drawn on, for example of another patient (default: QUERY)",
    )
    parser.add_argument(
        "--series", metavar="NAME", help="of QUERY's DICOM folder: description, number or UID of the series"
    )
    parser.add_argument(
        "--support-series", metavar="NAME", help="the same of IMAGE, where that is a DICOM folder"
    )
    parser.add_argument("--mask", type=Path, required=True, help="the drawing, on the voxels of the support")
    parser.add_argument(
        "--label",
        action="append",
        metavar="N",
        help="number or name of a label of MASK; may be repeated (default: all of them)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="segmentation to write: .nii.gz, .nrrd, .mha, .seg.nrrd or .dcm (DICOM SEG)",
    )
    parser.add_argument(
        "--confidence", type=Path, metavar="C", help="write the confidence (0 to 1) of every voxel"
    )
    parser.add_argument("--report", type=Path, metavar="R.json", help="write the scores of every slice")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="P.png",
        help="draw the slices of the first segment (needs matplotlib)",
    )
    parser.add_argument(
        "--not-here",
        type=int,
        nargs="+",
        default=[],
        metavar="SLICE",
        help="slices of the drawn plane on which none of the structures is, by their index in the file, as in"
        " the report and in viewers (the first is 0)",
    )
    add_method(parser)
    add_model(parser)
    add_device(parser)
    add_precision(parser)
    add_threads(parser)
    add_worker(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Segment every chosen label and write the results."""
    from ..models import weights_for
    from ..volume.io import require_storable

    targets, options = checked_targets(arguments), chosen_options(arguments)
    weights = []
    if arguments.worker is None:
        weights = weights_for(asked_networks(arguments), arguments.model)
    inputs = read_inputs(arguments)
    grid, structures = inputs.query.grid, inputs.structures
    dicom = DicomOutput.of(inputs.volume, weights) if is_dicom(targets["output"]) else None
    for name in ("output", "confidence"):
        if name in targets and not is_dicom(targets[name]):
            require_storable(targets[name], grid.ijk_to_ras)
    picture = targets.pop("picture", None)
    keep_confidence = "confidence" in targets
    with ended_by_signals(), _engine(arguments, inputs, options, keep_confidence) as segment:
        found, confidence = segment_all(segment, inputs, keep_confidence)
        labelmap, overlap = combine(structures, found, grid)
        report = {
            "qnetseg": __version__,
            "query": arguments.query.name,
            **({"series": grid.name} if arguments.query.is_dir() else {}),
            "support": (
                arguments.mask if inputs.drawn_on is None else arguments.support or arguments.query
            ).name,
            "mask": arguments.mask.name,
            "outputs": {name: str(path) for name, path in targets.items()},
            "overlapping_voxels": overlap,
            "segments": [
                {
                    "label": structure.info.label,
                    **in_file_terms(one.report, *counted(inputs, structure.support)),
                }
                for structure, one in zip(structures, found, strict=True)
            ],
        }
        write_dicom = None if dicom is None else partial(dicom.write, structures=structures, found=found)
        write_results(targets, labelmap, confidence, report, write_dicom)
    if picture is not None and drawn_last(
        picture, partial(_picture, inputs.volume, found[0], structures[0].support)
    ):
        report["outputs"]["picture"] = str(picture)
    tell(report, arguments.json)
    return 0


def _engine(
    arguments: argparse.Namespace, inputs: Inputs, options: dict[str, Any], keep_confidence: bool
) -> AbstractContextManager[compute.Segment]:
    """In this process, or in the one that --worker starts."""
    how = (arguments.model, arguments.device, options)
    if arguments.worker is None:
        return nullcontext(compute.engine(*how))
    return elsewhere.engine(arguments.worker, inputs, *how, keep_confidence)


def segment_all(
    segment: compute.Segment, inputs: Inputs, keep_confidence: bool
) -> tuple[list[Found], Volume | None]:
    """What is found of every structure, and the highest confidence of any, if that is to be kept.

    Each result is folded in as it comes, so that many structures need no more memory than one.
    """
    from ..segment.result import Found
    from ..volume import Volume

    query, found = inputs.query, []
    highest = np.zeros(query.shape, np.float32) if keep_confidence else None
    for structure in inputs.structures:
        result = segment(structure.support, query, inputs.others_than(structure), inputs.another)
        found.append(Found.of(result))
        if highest is not None:
            np.maximum(highest, result.confidence, out=highest)
    if highest is None:
        return found, None
    return found, Volume(highest, query.grid.ijk_to_ras, "confidence", query.grid.placement)


def asked_networks(arguments: argparse.Namespace) -> list[str]:
    """Kinds of the networks that will be needed; they are looked for before anything is computed."""
    from ..models import PROPAGATION, QNET

    if arguments.method == "q-net":
        return [QNET]
    alone = arguments.support is None and not is_saved(arguments.mask)
    return [PROPAGATION] if alone else [PROPAGATION, QNET]


def counted(inputs: Inputs, support: SupportSet) -> tuple[FileSlices, FileSlices | None]:
    """How the query's file and that of the drawing, if it is known, count the slices of the drawn plane."""
    from ..volume import file_slices

    own = file_slices(inputs.query.grid, support.plane, support.axes)
    if inputs.drawn_on is not None:
        return own, file_slices(inputs.drawn_on.grid, support.plane)
    return own, own if support.volume_id == inputs.query.fingerprint else None


def _picture(volume: Volume, found: Found, support: SupportSet, path: Path) -> None:
    from .contact_sheet import contact_sheet

    contact_sheet(volume, found, support, path, volume.name)


def checked_targets(arguments: argparse.Namespace) -> dict[str, Path]:
    """Output paths by the name of their option, checked before anything is computed."""
    from ..extras import require_highdicom
    from ..volume.dicom_seg import DICOM_ENDING
    from ..volume.io import ENDINGS, SEGMENTATION_ENDING

    images = tuple(ending for ending in ENDINGS if ending != SEGMENTATION_ENDING)
    endings = {
        "output": (*ENDINGS, DICOM_ENDING),
        "confidence": images,
        "report": (".json",),
        "picture": (".png",),
    }
    targets = {name: getattr(arguments, name) for name in endings if getattr(arguments, name) is not None}
    if "picture" in targets and find_spec("matplotlib") is None:
        raise InputError("A picture needs matplotlib, which is not installed.", "pip install matplotlib.")
    if is_dicom(targets["output"]):
        require_highdicom()
        require_no_image(targets["output"])
    inputs = [path for path in (arguments.query, arguments.support, arguments.mask) if path is not None]
    taken = {path.resolve() for path in inputs}
    for name, path in targets.items():
        require_writable(path, endings[name], (SEGMENTATION_ENDING,) if name == "confidence" else ())
        if path.resolve() in taken:
            raise InputError(
                f"The file '{path}' would be written twice or is an input.",
                f"Choose another name for --{name}.",
            )
        taken.add(path.resolve())
    return targets
