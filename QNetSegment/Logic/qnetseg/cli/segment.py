"""`qnetseg segment`: from a drawn slice and a volume to a segmentation."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import GeometryError, InputError, MaskError
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
    telling_oddities,
)
from .outputs import require_writable
from .pictures import drawn_last
from .results import combine, in_file_terms, tell, write_results
from .saved import is_saved, read_saved
from .streams import ended_by_signals

if TYPE_CHECKING:
    from ..segment.result import Segmentation
    from ..volume import FileSlices, LabelMap, SegmentInfo, SupportSet, Volume
    from ..worker import WorkerClient

DETAILS = """
MASK is a label image or a Slicer segmentation on the voxels of the support, drawn on one slice or
several; every label in it becomes a segment of the output. Or it is a drawing with its image, saved by
SupportSet.save or the panel's library (.npz). Where one of them is drawn, no other is found;
where two segments claim another voxel, the more confident one gets it. Only .seg.nrrd keeps names, colours
and terminology."""


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
        help="segmentation to write: .nii.gz, .nrrd, .mha or .seg.nrrd",
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
    add_json(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Drawing:
    """One structure of the mask; drawn: (K, J, I) bool on the support's grid."""

    info: SegmentInfo
    drawn: np.ndarray


def run(arguments: argparse.Namespace) -> int:
    """Segment every chosen label and write the results."""
    from ..models import weights_for
    from ..volume.io import require_storable
    from ..worker import WorkerClient

    targets, options = checked_targets(arguments), chosen_options(arguments)
    kinds = asked_networks(arguments)
    weights_for(kinds, arguments.model)
    query, support, drawings, supports, background = read_inputs(arguments)
    for name in ("output", "confidence"):
        if name in targets:
            require_storable(targets[name], query.ijk_to_ras)
    settings = {"model": arguments.model, "device": arguments.device, "options": options}
    picture = targets.pop("picture", None)
    with ended_by_signals():
        with WorkerClient() as client:
            results = segment_all(client, supports, query, background, settings)
        labelmap, confidence, overlap = combine(drawings, results, query)
        report = {
            "qnetseg": __version__,
            "query": arguments.query.name,
            **({"series": query.name} if arguments.query.is_dir() else {}),
            "support": (arguments.mask if support is None else arguments.support or arguments.query).name,
            "mask": arguments.mask.name,
            "outputs": {name: str(path) for name, path in targets.items()},
            "overlapping_voxels": overlap,
            "segments": [
                {"label": drawing.info.label, **in_file_terms(result.report, *counted(query, support, part))}
                for drawing, result, part in zip(drawings, results, supports, strict=True)
            ],
        }
        write_results(targets, labelmap, confidence, report)
    if picture is not None and drawn_last(picture, partial(_picture, query, results[0], supports[0])):
        report["outputs"]["picture"] = str(picture)
    tell(report, arguments.json)
    return 0


def read_inputs(
    arguments: argparse.Namespace,
) -> tuple[Volume, Volume | None, list[Drawing], list[SupportSet], list[np.ndarray | None]]:
    """The query; the volume that was drawn on, None for a saved drawing; what was drawn; the same packed up;
    and what is known to be something else, for each of them.
    """
    from ..volume import read_volume

    with telling_oddities():
        query = read_volume(arguments.query, arguments.series)
    if is_saved(arguments.mask):
        supports = [read_saved(arguments)]
        support = None
        drawings = [drawing_of(supports[0])]
        background: list[np.ndarray | None] = [None]
    else:
        with telling_oddities():
            support = (
                query
                if arguments.support is None
                else read_volume(arguments.support, arguments.support_series)
            )
            drawings = read_drawings(
                arguments.mask, arguments.label, support, own_support=arguments.support is not None
            )
        supports = build_supports(support, drawings, arguments.not_here)
        background = others_of(drawings, on_query=arguments.support is None)
    return query, support, drawings, supports, background


def asked_networks(arguments: argparse.Namespace) -> list[str]:
    """Kinds of the networks that will be needed; they are looked for before anything is computed."""
    from ..models import PROPAGATION, QNET

    if arguments.method == "q-net":
        return [QNET]
    alone = arguments.support is None and not is_saved(arguments.mask)
    return [PROPAGATION] if alone else [PROPAGATION, QNET]


def drawing_of(support: SupportSet) -> Drawing:
    """The structure of a saved drawing; on what voxels it was drawn is not known."""
    from ..volume import SegmentInfo

    return Drawing(
        SegmentInfo(1, support.name, support.color, support.terminology), np.zeros((0, 0, 0), bool)
    )


def counted(
    query: Volume, drawn_on: Volume | None, support: SupportSet
) -> tuple[FileSlices, FileSlices | None]:
    """How the query's file and that of the drawing, if it is known, count the slices of the drawn plane."""
    from ..volume import file_slices, volume_id

    own = file_slices(query, support.plane, support.axes)
    if drawn_on is not None:
        return own, file_slices(drawn_on, support.plane)
    return own, own if support.volume_id == volume_id(query) else None


def _picture(query: Volume, result: Segmentation, support: SupportSet, path: Path) -> None:
    from .contact_sheet import contact_sheet

    contact_sheet(query, result, support, path, query.name)


def checked_targets(arguments: argparse.Namespace) -> dict[str, Path]:
    """Output paths by the name of their option, checked before anything is computed."""
    from ..volume.io import ENDINGS, SEGMENTATION_ENDING

    images = tuple(ending for ending in ENDINGS if ending != SEGMENTATION_ENDING)
    endings = {"output": ENDINGS, "confidence": images, "report": (".json",), "picture": (".png",)}
    targets = {name: getattr(arguments, name) for name in endings if getattr(arguments, name) is not None}
    if "picture" in targets and find_spec("matplotlib") is None:
        raise InputError("A picture needs matplotlib, which is not installed.", "pip install matplotlib.")
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


def read_drawings(path: Path, labels: list[str] | None, support: Volume, own_support: bool) -> list[Drawing]:
    """The chosen structures of a mask, or all that are not empty; else InputError or GeometryError.

    own_support: whether the support was named, so that advice does not name it.
    """
    from ..volume import read_labelmap

    if labels is None:
        maps = [read_labelmap(path, drawn=True)]
    else:  # one by one, because the segments of a file may overlap
        maps = [read_labelmap(path, label, drawn=True) for label in dict.fromkeys(labels)]
    drawings: list[Drawing] = []
    for labelmap in maps:
        if not labelmap.array.any():
            what = (
                f"mask '{path.name}'"
                if labels is None
                else f"segment '{labelmap.segments[0].name}' of '{path.name}'"
            )
            raise MaskError(f"The {what} is empty.", "Draw the structure on at least one slice.")
        labelmap = _on_grid(labelmap, support, own_support)
        for info in labelmap.segments:
            drawn = labelmap.array == info.label
            if drawn.any():
                used = {drawing.info.label for drawing in drawings}
                label = info.label if info.label not in used else max(used) + 1
                drawings.append(Drawing(replace(info, label=label), drawn))
    return drawings


def _on_grid(labelmap: LabelMap, support: Volume, own_support: bool) -> LabelMap:
    """The labels on the support's voxels. Slicer crops what it saves; others have the same voxels."""
    from ..volume import on_grid_of

    try:
        return on_grid_of(labelmap, support, crop=labelmap.described)
    except GeometryError as error:
        if own_support:
            raise
        raise GeometryError(
            error.message, "If it was drawn on another image, name that with --support."
        ) from error


def build_supports(support: Volume, drawings: list[Drawing], not_here: list[int]) -> list[SupportSet]:
    """A support set for every drawing; not_here: slices that hold none of them, by the file's own index."""
    from ..volume import file_slices, support_from_mask

    supports = []
    for drawing in drawings:
        pack = partial(
            support_from_mask,
            support,
            drawing.drawn,
            name=drawing.info.name,
            color=drawing.info.color,
            terminology=drawing.info.terminology,
        )
        packed = pack()
        if not_here:
            slices = file_slices(support, packed.plane)
            packed = pack(plane=packed.plane, not_here=[slices.at(index) for index in not_here])
        supports.append(packed)
    return supports


def others_of(drawings: list[Drawing], on_query: bool) -> list[np.ndarray | None]:
    """For each structure where the others are drawn, (K, J, I) bool; None where it is the only one, and where
    they are drawn on another volume than the query."""
    if len(drawings) < 2 or not on_query:
        return [None] * len(drawings)
    every = np.sum([drawing.drawn for drawing in drawings], axis=0)
    return [(every > 0) & ~drawing.drawn for drawing in drawings]


def segment_all(
    client: WorkerClient,
    supports: list[SupportSet],
    query: Volume,
    background: list[np.ndarray | None],
    settings: dict[str, Any],
) -> list[Segmentation]:
    """One request to the same warm worker for every structure."""
    results = []
    for drawn, others in zip(supports, background, strict=True):
        with Bar(drawn.name) as bar:
            results.append(client.segment(drawn, query, background=others, progress=bar, **settings))
    return results
