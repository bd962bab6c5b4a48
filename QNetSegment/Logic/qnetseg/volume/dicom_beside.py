"""A DICOM segmentation beside another file of the same result, as a batch writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..boxes import Box
from ..errors import OutputError
from ..extras import require_highdicom
from .dicom import source_frames
from .dicom_seg import DICOM_ENDING, PROGRAM, write_dicom_seg
from .folders import is_dicom_series
from .seg_source import seg_source
from .segfile import SegmentInfo
from .volume import Volume


def save_dicom_beside(
    target: Path,
    series: Path,
    grid: Volume,
    segments: Sequence[tuple[SegmentInfo, Box]],
    weights: Mapping[str, str],
) -> Path | None:
    """Write the segments as `<name>.seg.dcm` beside `<name>.seg.nrrd`; None for a study that is not DICOM.

    target: the .seg.nrrd. series: what the study was read from. grid: of the study, (K, J, I) voxels; its
    array is not looked at. segments, weights: see `write_dicom_seg`. Raises InputError and GeometryError as
    `seg_source` does, and OutputError, also for a file in the way that this program has not written.
    """
    if not is_dicom_series(series):
        return None
    require_highdicom()
    path = target.with_suffix(DICOM_ENDING)
    if path.exists() and not _is_ours(path):
        raise OutputError(
            f"The file '{path.name}' is in the way: it was not written by {PROGRAM}.",
            "Move or rename it, or choose another folder for the results.",
        )
    source = seg_source(replace(grid, frames=grid.frames or source_frames(series)))
    write_dicom_seg(path, source, segments, weights)
    return path


def _is_ours(path: Path) -> bool:
    import pydicom

    try:
        header = pydicom.dcmread(path, specific_tags=["ManufacturerModelName"], stop_before_pixels=True)
        return bool(header.get("ManufacturerModelName") == PROGRAM)
    except Exception:  # a file that is no DICOM raises anything
        return False
