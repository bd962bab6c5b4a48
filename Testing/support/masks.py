"""Segments written from masks, as tests of the scene adapter draw them."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnetseg.boxes import Box
from QNetSegmentLib.scene.layers import write_box
from QNetSegmentLib.scene.segments import add_box
from QNetSegmentLib.scene.volumes import lattice_of


def write_segment(node: Any, segment_id: str, mask: np.ndarray, volume: Any) -> None:
    """Replace the voxels of a segment; mask: (K, J, I) on the volume's voxels, set where it is not 0."""
    write_box(node, segment_id, _box(mask, volume), lattice_of(volume))


def add_segment(
    node: Any, mask: np.ndarray, volume: Any, name: str, color: Any, terminology: str = ""
) -> str:
    """A new segment with the voxels of a (K, J, I) mask on the volume; returns its id."""
    return add_box(node, _box(mask, volume), lattice_of(volume), name, color, terminology)


def _box(mask: np.ndarray, volume: Any) -> Box:
    assert np.shape(mask) == lattice_of(volume).shape
    return Box.around(np.asarray(mask))
