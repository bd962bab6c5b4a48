"""The drawing of the demonstration: the cerebellum on one sagittal slice of the MNI152 head.

Drawn by hand for this project on a 12-fold enlarged picture of the slice with a grid of 5 mm: along the
dark line of the tentorium above, along the edge of the brain behind and below, around the flocculus in
front. The cerebellum was chosen because a layman can check it: a ball below the back of the brain with
its own fine stripes and a dark line around it.
"""

from __future__ import annotations

import numpy as np

STRUCTURE = "cerebellum"
COLOR = (0.94, 0.51, 0.19)
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^113305005^Cerebellum~^^~Anatomic codes - DICOM master list~^^~^^"
)

SHAPE = (189, 233, 197)
"""(S, P, L) of the canonical volume that was drawn on, voxels of 1 mm."""

SLICE = 125
"""Sagittal slice: 27 mm left of the midline."""

OUTLINE = (
    (43.0, 129.0), (45.5, 133.0), (48.0, 138.0), (50.0, 144.0), (52.3, 150.0), (53.3, 156.0), (53.5, 162.0),
    (53.3, 168.0), (52.5, 173.0), (51.5, 178.0), (50.0, 183.0), (49.0, 187.0), (46.0, 189.3), (40.0, 189.5),
    (34.0, 188.5), (29.0, 187.0), (24.0, 184.5), (19.0, 181.0), (14.5, 176.0), (11.0, 170.0), (9.3, 164.0),
    (8.8, 158.0), (10.0, 152.0), (12.0, 146.0), (14.5, 140.0), (17.5, 137.0), (22.0, 136.0), (26.5, 136.5),
    (29.5, 138.5), (33.0, 137.0), (36.0, 133.5), (39.0, 130.0),
)  # fmt: skip
"""Corners of the outline as (row, column), that is voxels along S and P."""


def drawn_mask() -> np.ndarray:
    """(S, P, L) uint8 on the canonical volume, 1 inside the outline on the one drawn slice."""
    from skimage.draw import polygon2mask

    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :, SLICE] = polygon2mask(SHAPE[:2], np.array(OUTLINE))
    return mask
