"""Label maps, and how Slicer describes their segments in a .seg.nrrd file.

The format: https://github.com/Slicer/Slicer/blob/main/Docs/developer_guide/modules/segmentations.md
"""

from __future__ import annotations

import colorsys
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from ..errors import MaskError, tell_oddity
from .nifti import Placement

TERMINOLOGY_TAG = "TerminologyEntry"
REPRESENTATION = "Binary labelmap"
SEGMENT_KEY = re.compile(r"Segment(\d+)_(?:ID|Name|LabelValue)")

# How Slicer turns the label map into surfaces; its own defaults.
CONVERSION_PARAMETERS = (
    "Collapse labelmaps|1|Merge the labelmaps into as few shared labelmaps as possible "
    "1 = created labelmaps will be shared if possible without overwriting each other.&"
    "Joint smoothing|0|Perform joint smoothing.&"
    "Smoothing factor|0.5|Smoothing factor. Range: 0.0 (no smoothing) to 1.0 (strong smoothing).&"
)


@dataclass(frozen=True)
class SegmentInfo:
    """One structure of a label map; color is red, green, blue from 0 to 1."""

    label: int
    name: str
    color: tuple[float, float, float]
    terminology: str = ""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels of the voxels of an image.

    array: (K, J, I) int32, 0 outside; ijk_to_ras: (4, 4) float64 in mm; segments: what the labels mean.
    placement: of a NIfTI file that programs place differently, or None. described: whether the file is a
    segmentation as Slicer writes it, which may be cropped to its segments.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    segments: tuple[SegmentInfo, ...]
    placement: Placement | None = None
    described: bool = False


def plain_segment(label: int) -> SegmentInfo:
    """The description of a label about which a file says nothing; hues a golden angle apart."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.6180339887 % 1.0, 0.6, 0.9)
    return SegmentInfo(label, f"label {label}", (red, green, blue))


@dataclass(frozen=True)
class _Stored:
    """A segment as a file stores it: its label within one of the layers."""

    layer: int
    info: SegmentInfo


def _stored_segments(metadata: dict[str, str], layers: int) -> list[_Stored]:
    """The segments that the header lists, in its order.

    Before Slicer 4.11 there were neither LabelValue nor Layer: each segment was a layer of 0 and 1.
    """
    numbers = {int(found[1]) for key in metadata if (found := SEGMENT_KEY.fullmatch(key))}
    stored = []
    for position, number in enumerate(sorted(numbers)):
        entry = {
            key: metadata.get(f"Segment{number}_{key}", "")
            for key in ("ID", "Name", "Color", "LabelValue", "Layer", "Tags")
        }
        label = _whole_number(entry["LabelValue"] or "1")
        layer = _whole_number(entry["Layer"] or (str(position) if layers > 1 else "0"))
        if not 0 <= layer < layers or label == 0:
            raise ValueError(f"label {label} in layer {layer} of {layers}")
        tags = dict(tag.split(":", 1) for tag in entry["Tags"].split("|") if ":" in tag)
        plain = plain_segment(label)
        name = text_of(entry["Name"]) or text_of(entry["ID"]) or plain.name
        color = _color(entry["Color"]) or plain.color
        stored.append(_Stored(layer, SegmentInfo(label, name, color, text_of(tags.get(TERMINOLOGY_TAG, "")))))
    return stored


def is_described(metadata: dict[str, str]) -> bool:
    """Whether a header says that the file is a segmentation."""
    return any(SEGMENT_KEY.fullmatch(key) or key.startswith("Segmentation_") for key in metadata)


def _whole_number(text: str) -> int:
    """A whole number, also one that was written as 1.0; ValueError for anything else."""
    number = float(text)
    if not number.is_integer():  # infinite ones are refused, too
        raise ValueError(f"{text} is not a whole number")
    return int(number)


def _color(text: str) -> tuple[float, float, float] | None:
    """Red, green and blue from 0 to 1, or None where the header has none; Slicer opens such files."""
    try:
        red, green, blue = (float(part) for part in text.split())
    except ValueError:
        return None
    return (red, green, blue) if all(0.0 <= part <= 1.0 for part in (red, green, blue)) else None


def text_of(stored: str) -> str:
    """Text of a file's header on one line; bytes that are not UTF-8 are taken for Latin-1."""
    raw = stored.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return " ".join(unicodedata.normalize("NFC", text).split())


def segment_metadata(labelmap: LabelMap) -> dict[str, str]:
    """The header entries from which Slicer rebuilds the segmentation."""
    entries = {
        "Segmentation_MasterRepresentation": REPRESENTATION,  # the name that Slicer writes
        "Segmentation_SourceRepresentation": REPRESENTATION,  # the name in its documentation
        "Segmentation_ContainedRepresentationNames": f"{REPRESENTATION}|",
        "Segmentation_ConversionParameters": CONVERSION_PARAMETERS + _reference_geometry(labelmap),
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, segment in enumerate(labelmap.segments):
        tags = f"{TERMINOLOGY_TAG}:{segment.terminology}|" if segment.terminology else ""
        entries |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": " ".join(segment.name.split()),
            f"Segment{number}_NameAutoGenerated": "0",
            f"Segment{number}_Color": " ".join(f"{part:.6g}" for part in segment.color),
            f"Segment{number}_ColorAutoGenerated": "0",
            f"Segment{number}_LabelValue": str(segment.label),
            f"Segment{number}_Layer": "0",
            f"Segment{number}_Extent": _extent(labelmap.array == segment.label),
            f"Segment{number}_Tags": f"Segmentation.Status:completed|{tags}",
        }
    return entries


def _reference_geometry(labelmap: LabelMap) -> str:
    """The whole grid; without it Slicer keeps only the box around the segments."""
    k, j, i = labelmap.array.shape
    numbers = (*map(float, labelmap.ijk_to_ras.ravel()), 0, i - 1, 0, j - 1, 0, k - 1)
    return "Reference image geometry|" + "".join(f"{number!r};" for number in numbers) + "|&"


def _extent(mask: np.ndarray) -> str:
    """First and last voxel along i, j, k; -1 as the last if there is none."""
    bounds = []
    for axis in (2, 1, 0):
        occupied = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        bounds += [str(occupied[0]), str(occupied[-1])] if len(occupied) else ["0", "-1"]
    return " ".join(bounds)


def merge_layers(
    array: np.ndarray, metadata: dict[str, str], segment: str | int | None
) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
    """(K, J, I) or (K, J, I, layers) integer array with its header -> one int32 label array and its segments.

    Segments of different layers may share a label; the later one then gets a free label. With `segment`
    (a name or a label) only that one is kept. Raises MaskError if it is not there, if voxels belong to two
    segments, which one label map cannot hold, or if the voxels are not labels but fractions; ValueError
    for a header that contradicts the image.
    """
    for key in ("Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation"):
        if (stored_as := metadata.get(key, REPRESENTATION)) != REPRESENTATION:
            raise MaskError(
                f"The segmentation is stored as '{stored_as}', not as '{REPRESENTATION}'.",
                "Convert it in Slicer's Segmentations module.",
            )
    layers = array.shape[3] if array.ndim == 4 else 1
    stacked = array.reshape(*array.shape[:3], layers)
    stored = _stored_segments(metadata, layers)
    if layers > 1 and not stored:
        raise ValueError("several layers without segments")
    known = [(part.layer, part.info.label) for part in stored]
    for layer in range(layers):
        for label in labels_of(stacked[..., layer]):
            if known.count((layer, label)) > 1:
                raise MaskError(
                    f"{known.count((layer, label))} segments have the same label {label} in the file.",
                    "Save the segmentation again in Slicer.",
                )
            if label and (layer, label) not in known:
                stored.append(_Stored(layer, plain_segment(label)))
    if segment is not None:
        stored = [_chosen(stored, segment)]
    if layers == 1 and segment is None:
        return stacked[..., 0].astype(np.int32), tuple(part.info for part in stored)
    return _merged(stacked, stored)


def labels_of(array: np.ndarray) -> list[int]:
    """The values of a (K, J, I) array in order; slice by slice, which is faster and lean."""
    return sorted(set().union(*(np.unique(part).tolist() for part in array)))


def _chosen(stored: list[_Stored], segment: str | int) -> _Stored:
    """The segment of that name, or else of that label; a number is a label."""
    wanted = text_of(str(segment))
    named = [part for part in stored if part.info.name == wanted and not isinstance(segment, int)]
    labelled = [part for part in stored if str(part.info.label) == wanted]
    if named and labelled and named != labelled:
        tell_oddity(
            f"'{wanted}' is the name of a segment and the label of the segment '{labelled[0].info.name}';"
            " the name counts."
        )
    for matches in (named, labelled):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise MaskError(
                f"There are {len(matches)} segments called '{wanted}'.",
                "Rename them, or choose one by its label.",
            )
    names = ", ".join(f"'{part.info.name}' ({part.info.label})" for part in stored) or "none"
    raise MaskError(f"There is no segment '{wanted}'.", f"Segments in the file: {names}.")


def _merged(stacked: np.ndarray, stored: list[_Stored]) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
    merged = np.zeros(stacked.shape[:3], np.int32)
    segments: list[SegmentInfo] = []
    for part in stored:
        info = part.info
        used = {other.label for other in segments}
        label = info.label if info.label not in used else max(used | {p.info.label for p in stored}) + 1
        mask = stacked[..., part.layer] == info.label
        if (merged[mask] != 0).any():
            raise MaskError(
                f"The segment '{info.name}' overlaps another one, so they do not fit into one label map.",
                "Choose one segment by name.",
            )
        merged[mask] = label
        segments.append(SegmentInfo(label, info.name, info.color, info.terminology))
    return merged, tuple(segments)
