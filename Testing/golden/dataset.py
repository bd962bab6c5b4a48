"""A tiny data set in the file layout of the development data."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

SIZE = 32


def supervoxels():
    """(4, 32, 32): 1 on all slices, 2 on the first two, 3 large on the last and small on the one before."""
    labels = np.zeros((4, SIZE, SIZE), np.int32)
    labels[:, 2:12, 2:14] = 1
    labels[:2, 16:28, 3:15] = 2
    labels[3, 14:30, 16:30] = 3
    labels[2, 14:18, 16:20] = 3
    return labels


def organs():
    """(4, 32, 32): liver (1) on slices 0 and 1, spleen (4) on slices 1 and 2."""
    labels = np.zeros((4, SIZE, SIZE), np.int32)
    labels[:2, 4:10, 4:10] = 1
    labels[1:3, 20:26, 20:26] = 4
    return labels


def write_chaos(root, cases=6, with_supervoxels=True):
    """Write CHAOST2 below `root`; images are noise around a level for each supervoxel."""
    images, superpixels = root / "CHAOST2/chaos_MR_T2_normalized", root / "CHAOST2/supervoxels_5000"
    for folder in (images, superpixels):
        folder.mkdir(parents=True)
    for case in range(1, cases + 1):
        image = supervoxels() + np.random.default_rng(case).normal(0, 0.3, (4, SIZE, SIZE))
        _write(images / f"image_{case}.nii.gz", image.astype(np.float32))
        _write(images / f"label_{case}.nii.gz", organs())
        if with_supervoxels:
            _write(superpixels / f"superpix-MIDDLE_{case}.nii.gz", supervoxels())


def _write(path, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.25, 1.25, 7.7))
    sitk.WriteImage(image, str(path))
