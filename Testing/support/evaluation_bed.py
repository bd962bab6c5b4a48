"""What the tests of the protocols share: phantoms in the files of the development data."""

from __future__ import annotations

import numpy as np
import SimpleITK

from qnetseg.data import CATALOGUE
from qnetseg.evaluation.phantom import body_phantom

SHAPE, SPACING = (10, 64, 64), (8.0, 4.0, 4.0)


def write_chaos_like(root, cases=20):
    """Phantoms in CHAOST2's files; the organ is the liver (1), the other labels are single slices of it."""
    for number in range(1, cases + 1):
        volume, organ = body_phantom(SHAPE, SPACING, seed=number)
        labels = organ.astype(np.int16)
        for value in (2, 3, 4):
            labels[2 * value - 1][organ[2 * value - 1] > 0] = value
        write_case(root, "chaos", number, volume.array, labels)


def write_case(root, dataset, number, image, labels, spacing=SPACING):
    """One case of a data set, its supervoxels being what is bright."""
    data = CATALOGUE[dataset]
    for pattern, array in (
        (data.images, image),
        (data.images.replace("image_", "label_"), labels),
        (data.supervoxels, (image > 150).astype(np.int16)),
    ):
        path = root / pattern.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = SimpleITK.GetImageFromArray(array)
        written.SetSpacing(spacing[::-1])
        SimpleITK.WriteImage(written, str(path))


class Handmade:
    """A scorer whose predictions are given: what is left of the protocol is choice of slices and measures.

    conditioned: list of what `condition` was asked; predictions: {(query, label): (K, J, I) bool}.
    """

    def __init__(self, predictions):
        self.predictions = predictions
        self.conditioned = []

    def condition(self, case, label, slices):
        self.conditioned.append((case.name, label, slices.tolist()))
        return case.name, label

    def masks(self, conditioned, query, slices, predict):
        return self.predictions[query.name, conditioned[1]][None, slices]
