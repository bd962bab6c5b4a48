"""Which slices pair up for an episode, and which ones Setting 2 removes. Needs no torch."""

from __future__ import annotations

import numpy as np


def excluded_slices(labels: np.ndarray, values: list[int], rule: str) -> np.ndarray:
    """Which slices Setting 2 removes: (K,) bool from (K, H, W) labels; rule "any" or "all"."""
    present = np.stack([(labels == value).any(axis=(1, 2)) for value in values])
    combine = np.any if rule == "any" else np.all
    return np.asarray(combine(present, axis=0))


def adjacent_pairs(supervoxels: np.ndarray, min_pixels: int) -> dict[int, list[int]]:
    """For each supervoxel of (K, H, W) labels the lower slices k of its usable pairs.

    Slices k and k + 1 both hold it, and one of them at least `min_pixels` of it.
    """
    area = _areas(supervoxels)
    return _listed((area[:-1] > 0) & (area[1:] > 0) & (np.maximum(area[:-1], area[1:]) >= min_pixels))


def same_slices(supervoxels: np.ndarray, min_pixels: int) -> dict[int, list[int]]:
    """For each label of (K, H, W) the slices that hold at least `min_pixels` of it."""
    return _listed(_areas(supervoxels) >= min_pixels)


def _areas(labels: np.ndarray) -> np.ndarray:
    """Pixels of every label on every slice: (K, labels from 0 to the largest)."""
    flat = labels.reshape(len(labels), -1)
    return np.stack([np.bincount(plane, minlength=flat.max() + 1) for plane in flat])


def _listed(usable: np.ndarray) -> dict[int, list[int]]:
    """Of (slices, labels) bool the slices of every label but 0 that has one."""
    usable[:, 0] = False
    return {
        int(label): np.flatnonzero(usable[:, label]).tolist() for label in np.flatnonzero(usable.any(axis=0))
    }
