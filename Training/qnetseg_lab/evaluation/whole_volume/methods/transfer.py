"""Another patient's drawing put where it would lie in this one: R3 without looking at the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from .task import Task


def transferred(task: Task) -> Task:
    """The task of R3 as if the other patient's drawing had been made here.

    In the plane the centres of both fields of view are put on each other, in mm; along the normal the
    drawing keeps its share of the stack's length. A drawing that falls outside keeps its pixel nearest to the
    border.
    """
    if task.support is None:
        return task
    source = task.support
    study = task.study.turned_like(source.study)
    shape = study.stack(study.labels).shape
    index = source.filled[0]
    place = round((index + 0.5) / len(source.mask) * shape[0] - 0.5)
    place = min(max(place, 0), shape[0] - 1)
    scale = np.array(study.spacing[1:]) / np.array(source.spacing[1:])
    there, here = (np.array(size, float) - 1 for size in (source.mask.shape[1:], shape[1:]))
    pasted = ndimage.affine_transform(
        source.mask[index].astype(np.float32), scale, there / 2 - scale * here / 2, shape[1:], order=1
    )
    drawn = pasted > 0.5
    if not drawn.any():
        centre = np.array(ndimage.center_of_mass(source.mask[index]))
        pixel = np.clip(np.rint((centre - there / 2) / scale + here / 2), 0, here).astype(int)
        drawn[tuple(pixel)] = True
    mask = np.zeros(shape, bool)
    mask[place] = drawn
    return replace(task, study=study, mask=mask, slices=(place,), support=None)
