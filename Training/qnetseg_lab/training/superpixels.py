"""Superpixels: pseudo-labels on single slices, for episodes of a slice and its augmented self.

Ouyang et al., "Self-Supervision with Superpixels: Training Few-shot Medical Image Segmentation without
Annotation" (ECCV 2020). Parameters are those of the released code, `data/pseudolabel_gen.ipynb` of
https://github.com/cheng-01037/Self-supervised-Fewshot-Medical-Image-Segmentation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from .body import foreground_mask

MIN_SIZE = 400  # pixels
SIGMA = 1.0  # pixels


def superpixels(image: NDArray, min_size: int = MIN_SIZE) -> NDArray[np.int32]:
    """Divide the body on every slice of `image` into superpixels.

    `image` is a (K, J, I) volume in any intensity unit, `min_size` a number of pixels before the outside is
    cut away. Returns (K, J, I) labels, 0 outside `foreground_mask`, none on two slices. Raises VolumeError.
    """
    body = foreground_mask(image)
    labels = np.zeros(body.shape, np.int32)
    for plane, inside, pixels in zip(labels, body, image, strict=True):
        if inside.any():
            # As in the released code on intensities as stored: against their scale k is next to nothing, and
            # `min_size` alone decides.
            found = felzenszwalb(np.asarray(pixels, np.float64), scale=1, sigma=SIGMA, min_size=min_size)
            plane[inside] = 1 + labels.max() + np.unique(found[inside], return_inverse=True)[1]
    return labels
