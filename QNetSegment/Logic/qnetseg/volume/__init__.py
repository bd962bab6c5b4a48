"""Volumes: files, canonical orientation, in-plane resampling, normalisation, support slices."""

from __future__ import annotations

from .grid import InPlaneGrid
from .io import (
    LabelMap,
    SegmentInfo,
    on_grid_of,
    read_labelmap,
    read_volume,
    require_same_grid,
    write_labelmap,
    write_volume,
)
from .normalise import normalise
from .orientation import ANATOMICAL_AXES, PLANES, Orientation, array_axes, canonical, obliqueness
from .support import SupportSet, SupportSlice, slice_position, support_from_mask, volume_id
from .volume import Volume

__all__ = [
    "ANATOMICAL_AXES",
    "PLANES",
    "InPlaneGrid",
    "LabelMap",
    "Orientation",
    "SegmentInfo",
    "SupportSet",
    "SupportSlice",
    "Volume",
    "array_axes",
    "canonical",
    "normalise",
    "obliqueness",
    "on_grid_of",
    "read_labelmap",
    "read_volume",
    "require_same_grid",
    "slice_position",
    "support_from_mask",
    "volume_id",
    "write_labelmap",
    "write_volume",
]
