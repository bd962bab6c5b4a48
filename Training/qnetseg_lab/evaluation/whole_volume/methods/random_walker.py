"""Random walker of scikit-image (Grady 2006) from the drawn slices."""

from __future__ import annotations

import math

import numpy as np
from skimage.segmentation import random_walker
from skimage.transform import downscale_local_mean, resize

from .task import Answer, Task

LIMIT = 300_000  # voxels; the linear system of a full volume takes minutes and gigabytes
TOLERANCE = 1e-3  # of the conjugate gradients
OUTSIDE = 0.1  # by which probabilities may then leave [0, 1] without a warning; only one half matters here


def walk(task: Task) -> Answer:
    """Where a walker reaches the drawing before the background of the drawn slices.

    The stack is averaged over blocks in its plane until it has at most `LIMIT` voxels, and the probability is
    interpolated back; slices are never joined. Every pixel of a drawn slice is a seed.
    """
    factor = max(1, math.ceil(math.sqrt(task.mask.size / LIMIT)))
    block = (1, factor, factor)
    image = downscale_local_mean(task.image, block, cval=float(task.image.min()))
    coverage = downscale_local_mean(task.mask.astype(np.float32), block)
    seeds = np.zeros(image.shape, np.int32)
    for index in task.slices:
        level = min(0.5, float(coverage[index].max()))  # a drawing smaller than a block keeps its core
        seeds[index] = np.where((coverage[index] >= level) & (coverage[index] > 0), 1, 2)
    if not (seeds == 2).any():
        return Answer(task.as_drawn(np.ones_like(task.mask)))
    spacing = (task.spacing[0], task.spacing[1] * factor, task.spacing[2] * factor)
    probability = random_walker(
        image,
        seeds,
        mode="cg_j",
        tol=TOLERANCE,
        prob_tol=OUTSIDE,
        spacing=spacing,
        return_full_prob=True,
    )[0]
    fine = (len(image), image.shape[1] * factor, image.shape[2] * factor)
    full = resize(probability, fine, order=1, preserve_range=True)
    return Answer(task.as_drawn(full[:, : task.mask.shape[1], : task.mask.shape[2]] > 0.5))
