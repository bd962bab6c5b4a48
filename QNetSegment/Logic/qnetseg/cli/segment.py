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
from .results import in_file_terms, tell, write_results
from .saved import is_saved, read_saved
from .streams import ended_by_signals

if TYPE_CHECKING:
    from ..segment.overlap import Overlay
    from ..segment.result import Report, Segmentation
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
    """One structure of the mask, of which only the box around what is drawn is kept.

    shape: of the support's grid (K, J, I). box: of the drawing in it. cut: bool, what is drawn in the box.
    """

    info: SegmentInfo
    shape: tuple[int, ...]
    box: tuple[slice, ...]
    cut: np.ndarray

    @classmethod
    def of(cls, info: SegmentInfo, drawn: np.ndarray) -> Drawing:
        """drawn: (K, J, I) bool on the support's grid."""
        extents = (np.flatnonzero(drawn.any(tuple({0, 1, 2} - {axis}))) for axis in range(3))
        box = tuple(slice(int(one[0]), int(one[-1]) + 1) if one.size else slice(0) for one in extents)
        return cls(info, drawn.shape, box, drawn[box].copy())

    @property
    def drawn(self) -> np.ndarray:
        """(K, J, I) bool on the support's grid."""
        whole = np.zeros(self.shape, bool)
        whole[self.box] = self.cut
        return whole


@dataclass
class Inputs:
    """What a command was given.

    query: the volume to segment. drawn_on: the one that was drawn on, which may be the query; None for a
    saved drawing. drawings: what is drawn; supports: the same packed up.
    """

    query: Volume
    drawn_on: Volume | None
    drawings: list[Drawing]
    supports: list[SupportSet]

    @property
    def apart(self) -> Volume | None:
        """The volume that was drawn on, if it is known and another one than the query."""
        return None if self.drawn_on is self.query else self.drawn_on

    def forget_images(self) -> None:
        """Everybody who needs them has seen them; the query's grid stays."""
        self.query, self.drawn_on = replace(self.query, array=np.empty(0, np.float32)), None


def run(arguments: argparse.Namespace) -> int:
    """Segment every chosen label and write the results."""
    from ..models import weights_for
    from ..segment.overlap import Overlay
    from ..volume.io import require_storable
    from ..worker import WorkerClient

    targets, options = checked_targets(arguments), chosen_options(arguments)
    kinds = asked_networks(arguments)
    weights_for(kinds, arguments.model)
    inputs = read_inputs(arguments)
    for name in ("output", "confidence"):
        if name in targets:
            require_storable(targets[name], inputs.query.ijk_to_ras)
    settings = {"model": arguments.model, "device": arguments.device, "options": options}
    picture = targets.pop("picture", None)
    overlay = Overlay(keep_highest="confidence" in targets)
    with ended_by_signals():
        with WorkerClient() as client:
            reports, shown = segment_all(client, inputs, overlay, settings, keep_first=picture is not None)
        report = account(arguments, targets, inputs, reports, overlay.contested)
        if shown is None:
            inputs.forget_images()
        segments = [drawing.info for drawing in inputs.drawings]
        write_results(targets, overlay, segments, inputs.query, report)
    if picture is not None and shown is not None:
        draw = partial(_picture, inputs.query, shown, inputs.supports[0])
        if drawn_last(picture, draw):
            report["outputs"]["picture"] = str(picture)
    tell(report, arguments.json)
    return 0


def account(
    arguments: argparse.Namespace,
    targets: dict[str, Path],
    inputs: Inputs,
    reports: list[Report],
    contested: int,
) -> dict[str, Any]:
    """What the report's file says; contested: voxels that several segments claimed."""
    query, saved = inputs.query, inputs.drawn_on is None
    return {
        "qnetseg": __version__,
        "query": arguments.query.name,
        **({"series": query.name} if arguments.query.is_dir() else {}),
        "support": (arguments.mask if saved else arguments.support or arguments.query).name,
        "mask": arguments.mask.name,
        "outputs": {name: str(path) for name, path in targets.items()},
        "overlapping_voxels": contested,
        "segments": [
            {"label": drawing.info.label, **in_file_terms(found, *counted(query, inputs.drawn_on, part))}
            for drawing, found, part in zip(inputs.drawings, reports, inputs.supports, strict=True)
        ],
    }


def read_inputs(arguments: argparse.Namespace) -> Inputs:
    """Read what the arguments name."""
    from ..volume import read_volume

    with telling_oddities():
        query = read_volume(arguments.query, arguments.series)
    if is_saved(arguments.mask):
        saved = read_saved(arguments)
        return Inputs(query, None, [drawing_of(saved)], [saved])
    own = arguments.support is None
    with telling_oddities():
        support = query if own else read_volume(arguments.support, arguments.support_series)
        drawings = read_drawings(arguments.mask, arguments.label, support, own_support=not own)
    return Inputs(query, support, drawings, build_supports(support, drawings, arguments.not_here))


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

    info = SegmentInfo(1, support.name, support.color, support.terminology)
    return Drawing.of(info, np.zeros((0, 0, 0), bool))


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

    drawings: list[Drawing] = []
    for wanted in [None] if labels is None else dict.fromkeys(labels):  # the segments of a file may overlap
        labelmap = read_labelmap(path, wanted, drawn=True)
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
                drawings.append(Drawing.of(replace(info, label=label), drawn))
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


def others_of(drawing: Drawing, drawings: list[Drawing]) -> np.ndarray | None:
    """Where the other structures are drawn, (K, J, I) bool; None where it is the only one."""
    if len(drawings) < 2:
        return None
    found = np.zeros(drawing.shape, bool)
    for other in drawings:
        found[other.box] |= other.cut
    found[drawing.box] &= ~drawing.cut
    return found


def segment_all(
    client: WorkerClient, inputs: Inputs, overlay: Overlay, settings: dict[str, Any], keep_first: bool
) -> tuple[list[Report], Segmentation | None]:
    """One request to the same warm worker for every structure; each result goes into the overlay at once.

    Returns all reports and, if it is to be kept, the first result without its confidence.
    """
    reports: list[Report] = []
    first = None
    for drawing, support in zip(inputs.drawings, inputs.supports, strict=True):
        others = others_of(drawing, inputs.drawings) if inputs.drawn_on is inputs.query else None
        with Bar(support.name) as bar:
            result = client.segment(
                support, inputs.query, background=others, drawn_on=inputs.apart, progress=bar, **settings
            )
        overlay.add(result)
        reports.append(result.report)
        if keep_first and first is None:
            first = replace(result, confidence=np.empty(0, np.float32))
        del result, others  # or both would be there when the next ones come
    return reports, first
