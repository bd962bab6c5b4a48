"""The slice of another patient that is predicted most surely, and its outline: it stands for a drawn one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from ..volume import SupportSet
from .confidence import expected_overlap
from .query import Stack

# Log-odds at which the outline may be drawn. Q-Net's threshold is that of its training data: on another
# scanner the right one differs. Chosen on 6 pairs of CMR patients and 10 from CMR to Sunnybrook.
THRESHOLDS = tuple(x / 2 for x in range(-6, 3))


def usual_area(support: SupportSet, stack: Stack) -> float:
    """Mean area of the drawings in pixels of the stack."""
    areas = [part.mask.sum() * part.spacing[0] * part.spacing[1] for part in support.filled]
    return float(np.mean(areas)) / (stack.spacing[1] * stack.spacing[2])


def slice_confidence(probability: np.ndarray, mask: np.ndarray, usual: float) -> float:
    """Expected Dice of an (H, W) bool mask, less where its area is another than the usual one in pixels."""
    area = float(mask.sum())
    if area == 0:
        return 0.0
    alike = min(area / usual, usual / area)
    return alike**0.5 * expected_overlap(probability, mask, usual)


def outlined(probability: np.ndarray, mask: np.ndarray, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """A slice as sure as it can be made by another threshold.

    Args:
        probability: (H, W) float32.
        mask: (H, W) bool, the structure at even odds, not empty.
        usual: area of the drawings in pixels.

    Returns:
        Probability and mask with the threshold at one half: those parts at the best threshold that meet the
        mask.
    """
    odds = logit(np.clip(probability, 1e-4, 1 - 1e-4))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for threshold in THRESHOLDS:
        shifted = expit(odds - threshold).astype(np.float32)
        parts, _ = ndimage.label(shifted > 0.5)
        kept = np.unique(parts[mask])
        found.append((shifted, np.isin(parts, kept[kept > 0])))
    return max(found, key=lambda each: slice_confidence(each[0], each[1], usual))
