"""What belongs to the structure in 3-D, and how far to trust each slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .confidence import expected_overlap
from .scenes import Known
from .slice_by_slice import Prediction

DOUBT = 0.7  # of the drawn slices' expected Dice, below which the structure ends; chosen on training cases
KEEP_FRACTION = 0.2  # of the largest component's weight: a second part this big is no accident


def decided(predicted: Prediction, drawing: Known | None, clean_up: bool) -> tuple[np.ndarray, np.ndarray]:
    """The mask, (S, H, W) bool, and the probability, (S, H, W) float32, of what was predicted.

    Drawn slices are kept as they were drawn, and the structure ends where one was drawn as empty.
    drawing: of this very volume; None where another patient's was drawn on. clean_up: drop what is not
    connected with the drawing.
    """
    probability, drawn = predicted.probability, None
    if drawing is not None:
        drawn = np.zeros(probability.shape, bool)
        for index, mask in drawing.masks.items():
            drawn[index] = mask
        probability[~_reached(drawing, len(probability))] = 0
    mask = probability > 0.5
    if clean_up:
        mask = connected_parts(probability, drawn)
        if predicted.trust is None:
            mask = within_reach(mask, probability, drawn)
    if drawing is not None and drawn is not None:
        slices = list(drawing.masks)
        mask[slices] = drawn[slices]
        probability[slices] = drawn[slices]
    return mask, probability


def _reached(drawing: Known, count: int) -> np.ndarray:
    """(S,) bool: slices that no slice drawn as empty cuts off from one that holds the structure."""
    empty = np.zeros(count, bool)
    empty[[index for index, mask in drawing.masks.items() if not mask.any()]] = True
    runs, _ = ndimage.label(~empty)
    return np.isin(runs, runs[drawing.filled])


def slice_scores(predicted: Prediction, mask: np.ndarray, typical_area: float) -> np.ndarray:
    """(S,) float, 0 to 1: the Dice to be expected of each slice of the mask.

    mask: (S, H, W) bool. typical_area: of the drawings, pixels.
    """
    if predicted.trust is not None:
        return predicted.trust.scores(predicted.probability, mask, typical_area)
    pairs = zip(predicted.probability, mask, strict=True)
    return np.array([expected_overlap(*each, typical_area) for each in pairs])


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
    if not foreground.any():
        return foreground
    box = ndimage.find_objects(foreground.view(np.uint8))[0]  # labels of a large volume would fill the memory
    labels, count = ndimage.label(foreground[box])
    if drawn is not None:
        kept = np.unique(labels[drawn[box]])
    else:
        weight = np.asarray(ndimage.sum_labels(probability[box] - 0.5, labels, np.arange(1, count + 1)))
        kept = 1 + np.flatnonzero(weight >= KEEP_FRACTION * weight.max())
    chosen = np.zeros(count + 1, dtype=bool)
    chosen[kept] = True
    chosen[0] = False
    foreground[box] = chosen[labels]
    return foreground


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
    own = np.mean([expected_overlap(p, p > 0.5, 1.0) for p in probability[certain]])
    scores = [
        expected_overlap(p, m, 1.0) if m.any() else -1.0 for p, m in zip(probability, mask, strict=True)
    ]
    runs, _ = ndimage.label(certain | (np.array(scores) >= DOUBT * own))
    return mask & np.isin(runs, runs[certain])[:, None, None]
