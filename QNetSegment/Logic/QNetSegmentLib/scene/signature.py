"""Whether a segmentation is still what it was: a fingerprint of its voxels and marks."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from qnetseg.errors import MaskError

from .layers import own_box, require_segment, segment_ids_of
from .marks import tag_text


def signature(node: Any) -> str:
    """Another text whenever a segment gets other voxels or marks; names, colours and display do not count.

    Raises MaskError for a node that is gone.
    """
    digest = hashlib.sha256()
    for segment_id in segment_ids_of(node):
        segment = require_segment(node, segment_id)
        digest.update(f"{segment_id} {tag_text(segment)} ".encode())
        try:
            box, lattice = own_box(node, segment_id)
        except MaskError:  # surfaces
            digest.update(str(segment.GetMTime()).encode())
            continue
        if not box.is_empty:  # an empty one has no place
            digest.update(f"{box.start} {box.mask.shape}".encode())
            digest.update(np.round(lattice.ijk_to_local, 3).tobytes())
            digest.update(np.packbits(box.mask).tobytes())
    return digest.hexdigest()
