"""Volumes: files, canonical orientation, in-plane resampling, normalisation, drawings, support slices."""

from __future__ import annotations

from .drawing import Drawing
from .folders import volumes_in
from .grid import InPlaneGrid
from .io import read_labelmap, read_volume, write_labelmap, write_volume
from .matching import on_grid_of
from .normalise import normalise
from .orientation import (
    ANATOMICAL_AXES,
    PLANES,
    FileSlices,
    Orientation,
    array_axes,
    canonical,
    file_slices,
    obliqueness,
    plane_name,
)
from .patient import Patient, PatientImage
from .segfile import LabelMap, SegmentInfo
from .support import SupportSet, SupportSlice, pack, support_from_mask, volume_id
from .volume import Volume

__all__ = [
    "ANATOMICAL_AXES",
    "PLANES",
    "Drawing",
    "FileSlices",
    "InPlaneGrid",
    "LabelMap",
    "Orientation",
    "Patient",
    "PatientImage",
    "SegmentInfo",
    "SupportSet",
    "SupportSlice",
    "Volume",
    "array_axes",
    "canonical",
    "file_slices",
    "normalise",
    "obliqueness",
    "on_grid_of",
    "pack",
    "plane_name",
    "read_labelmap",
    "read_volume",
    "support_from_mask",
    "volume_id",
    "volumes_in",
    "write_labelmap",
    "write_volume",
]
