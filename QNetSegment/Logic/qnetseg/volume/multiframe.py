"""DICOM files of many frames: their order, geometry and scaling stand in a header of its own for every frame.

GDCM takes the frames as they come, with the scaling of the first one. Source: DICOM PS3.3, C.7.6.16.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VolumeError, tell_oddity
from .itk import LPS_RAS, RawImage
from .stacking import Placed, Plane, even_step, positions, require_parallel
from .volume import SourceFrame

WHOLE = 0.02  # by which a stored value may be off a whole number after the scaling is undone in float32


@dataclass(frozen=True)
class Frame(Placed):
    """Where a frame lies, and its values = slope * stored value + intercept; index: within the file."""

    index: int
    slope: float
    intercept: float


def ordered_frames(path: Path, raw: RawImage) -> RawImage:
    """What GDCM read from a file of several frames, in spatial order, rightly placed and scaled.

    Raises VolumeError for several volumes in one file or frames without positions, GeometryError for frames
    that are not parallel and evenly spaced.
    """
    what = f"The DICOM file '{path.name}'"
    frames = read_frames(path, what, raw.array.shape)
    if frames is None:
        tell_oddity(
            f"'{path.name}' has {len(raw.array)} frames without positions in space; they were taken in their"
            " order as neighbouring slices."
        )
        return raw
    require_parallel(frames, f"The frames of '{path.name}'")
    groups = positions(frames)
    most = max(map(len, groups))
    if most > 1:
        raise VolumeError(
            f"{what} holds several volumes: {most} frames lie at the same position.",
            "Export one volume (one echo, time or kind of image) alone.",
        )
    ordered = [group[0] for group in groups]
    step = even_step(ordered, f"The frames of '{path.name}'")
    array = _scaled(raw.array, frames, what)[[frame.index for frame in ordered]]
    source = tuple(SourceFrame(path, frame.index + 1) for frame in ordered)
    return RawImage(array, LPS_RAS @ ordered[0].plane.matrix(step), raw.metadata, source)


def read_frames(path: Path, what: str, shape: tuple[int, ...]) -> list[Frame] | None:
    """The frames' headers; None for a file of the older kinds, which have none. VolumeError for damaged ones.

    what: how a sentence about the file begins; shape: (N, rows, columns) of its pixels.
    """
    try:
        import pydicom
    except ImportError as cause:
        raise VolumeError(
            f"{what} has many frames, and the package pydicom, which reads their order, is not installed.",
            "pip install pydicom.",
        ) from cause
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values that do not matter here
            header = pydicom.dcmread(path, stop_before_pixels=True)
            own = header.get("PerFrameFunctionalGroupsSequence")
            if not own:
                return None
            shared = header.get("SharedFunctionalGroupsSequence") or [{}]
            found = [_frame(index, part, shared[0], shape) for index, part in enumerate(own)]
    except Exception as cause:  # a damaged header raises anything
        raise VolumeError(
            f"{what} does not say where its frames lie, or is damaged.", "Export it again."
        ) from cause
    if len(found) != shape[0]:
        raise VolumeError(f"{what} has {shape[0]} frames, but headers for {len(found)}.", "Export it again.")
    return found


def _frame(index: int, own: Any, shared: Any, shape: tuple[int, ...]) -> Frame:
    """The values of one frame; whatever is the same for all of them stands in the shared header."""

    def group(name: str) -> Any:
        return (own.get(name) or shared.get(name))[0]

    orientation = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float)
    rows, columns = (float(mm) for mm in group("PixelMeasuresSequence").PixelSpacing)
    origin = np.array(group("PlanePositionSequence").ImagePositionPatient, float)
    plane = Plane(origin, orientation.reshape(2, 3), (columns, rows), (shape[2], shape[1]))
    if not (np.isfinite(origin).all() and np.isfinite(orientation).all() and min(rows, columns) > 0):
        raise ValueError("impossible geometry")
    name = "PixelValueTransformationSequence"
    if not (own.get(name) or shared.get(name)):
        return Frame(plane, index, 1.0, 0.0)
    values = group(name)
    return Frame(plane, index, float(values.RescaleSlope), float(values.RescaleIntercept))


def _scaled(array: np.ndarray, frames: list[Frame], what: str) -> np.ndarray:
    """(N, H, W) float32 with the scaling of every frame instead of the first one's."""
    scalings = np.array([(frame.slope, frame.intercept) for frame in frames])
    if (scalings == scalings[0]).all():
        return array
    slope, intercept = scalings[0]
    stored = (array.astype(np.float64) - intercept) / slope if slope else array
    if not slope or np.abs(stored - np.rint(stored)).max() > WHOLE:
        raise VolumeError(f"{what} scales every frame differently, in a way that cannot be read.")
    scaled: np.ndarray = np.rint(stored) * scalings[:, :1, None] + scalings[:, 1:, None]
    return scaled.astype(np.float32)
