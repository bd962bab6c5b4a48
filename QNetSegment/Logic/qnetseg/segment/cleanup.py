"""What belongs to the structure in 3-D, and how sure each slice is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

DOUBT = 0.7  # of the drawn slices' expected Dice, below which the structure ends; chosen on training cases
FAINT = 0.05  # probability below it is noise in a sum over a whole slice
# Share of the expected Dice that holds at and beside an end of the structure, where whole slices are right or
# wrong: found slices from the end inward, empty ones outward, one for every STEP mm or thicker slice.
# Chosen on 10 CHAOST2 and 12 CMR patients, between what would suit either.
INWARD, OUTWARD, STEP = (0.55, 0.8, 0.9, 0.95, 1.0), (0.7, 0.9, 1.0), 10.0
KEEP_FRACTION = 0.2  # of the largest component's weight: a second part this big is no accident


def connected_parts(probability: np.ndarray, drawn: np.ndarray | None, connect: float = 0.5) -> np.ndarray:
    """3-D components of the foreground that belong to the structure.

    Args:
        probability: (S, H, W) float32.
        drawn: (S, H, W) bool, what the user drew on this very volume; None on another patient.

    Returns:
        (S, H, W) bool. With a drawing: the components that touch it. Without: the component with the
        most probability above one half, and any other of at least `KEEP_FRACTION` of it.
    """
    foreground = probability > connect
    if drawn is not None:
        slices = drawn.any(axis=(1, 2))
        foreground[slices] = drawn[slices]  # what was left blank there is background and connects nothing
    labels, count = ndimage.label(foreground)
    if count == 0:
        return foreground
    if drawn is not None:
        kept = np.unique(labels[drawn])
    else:
        weight = np.asarray(ndimage.sum_labels(probability - 0.5, labels, np.arange(1, count + 1)))
        kept = 1 + np.flatnonzero(weight >= KEEP_FRACTION * weight.max())
    chosen = np.zeros(count + 1, dtype=bool)
    chosen[kept] = True
    chosen[0] = False
    return np.asarray(chosen[labels])  # `np.isin` would make more arrays of the volume's size


def within_reach(mask: np.ndarray, probability: np.ndarray, drawn: np.ndarray | None) -> np.ndarray:
    """The mask without what lies beyond a doubtful slice: running past a structure's end shows as doubt.

    Args:
        mask: (S, H, W) bool.
        probability: (S, H, W) float32.
        drawn: (S, H, W) bool, what the user drew on this very volume; None on another patient, where the
            slice with the most of the structure is taken for certain.

    Returns:
        (S, H, W) bool: the slices that can be reached from a certain one over slices whose expected Dice is
        at least `DOUBT` of that with which the certain ones are predicted themselves.
    """
    likely = (probability * mask).sum(axis=(1, 2))
    certain = drawn.any(axis=(1, 2)) if drawn is not None else likely == likely.max()
    own = np.mean([expected_dice(without_noise(p), p > 0.5, 1.0) for p in probability[certain]])
    scores = [
        expected_dice(without_noise(p), m, 1.0) if m.any() else -1.0
        for p, m in zip(probability, mask, strict=True)
    ]
    runs, _ = ndimage.label(certain | (np.array(scores) >= DOUBT * own))
    return mask & np.isin(runs, runs[certain])[:, None, None]


def without_noise(probability: np.ndarray) -> np.ndarray:
    """Probabilities with the faintest set to 0, which would count for much in a sum over a whole slice."""
    return np.where(probability > FAINT, probability, 0)


def expected_dice(probability: np.ndarray, mask: np.ndarray, typical_area: float) -> float:
    """Dice that the probabilities of one slice predict for its mask, 0 to 1.

    For a slice left empty it is what remains of 1 when the probability that was turned down is compared
    with a typical area of the structure in pixels.
    """
    total = float(probability.sum())
    if mask.any():
        return 2 * float(probability[mask].sum()) / (total + float(mask.sum()))
    return typical_area / (typical_area + total)


def sure_of_ends(occupied: np.ndarray, thickness: float) -> np.ndarray:
    """(S,) share of its expected Dice that holds for each slice, by its distance to where the structure ends.

    Args:
        occupied: (S,) bool, slices on which the structure was found.
        thickness: mm between slices.
    """
    if not occupied.any():
        return np.ones(len(occupied))
    step = min(1.0, thickness / STEP)
    inside = ndimage.distance_transform_edt(np.pad(occupied, 1))[1:-1] - 1
    outside = np.maximum(ndimage.distance_transform_edt(~occupied) - 1, 0)
    sure = np.interp(step * inside, np.arange(len(INWARD)), INWARD)
    return np.where(occupied, sure, np.interp(step * outside, np.arange(len(OUTWARD)), OUTWARD))
