"""A synthetic body for tests, benchmarks and self-tests: no patient data, known truth."""

from __future__ import annotations

import numpy as np

from ..volume import Volume


def body_phantom(
    shape: tuple[int, int, int] = (36, 256, 256),
    spacing: tuple[float, float, float] = (7.7, 1.25, 1.25),
    seed: int = 0,
) -> tuple[Volume, np.ndarray]:
    """An elliptic body with two bright organs and noise.

    Args:
        shape: voxels along (k, j, i).
        spacing: mm along (k, j, i).
        seed: of the noise.

    Returns:
        The volume, float32 on canonical axes, and the mask (K, J, I) uint8 of the larger organ.
    """
    rng = np.random.default_rng(seed)
    k, j, i = np.meshgrid(*((2 * np.arange(count) + 1) / count - 1 for count in shape), indexing="ij")
    body = (j / 0.75) ** 2 + (i / 0.9) ** 2 < 1
    organ = (k / 0.6) ** 2 + ((j + 0.1) / 0.3) ** 2 + ((i - 0.4) / 0.25) ** 2 < 1
    other = (k / 0.5) ** 2 + ((j - 0.2) / 0.15) ** 2 + ((i + 0.4) / 0.15) ** 2 < 1
    image = 300 * body + 300 * organ + 500 * other + 20 * rng.standard_normal(shape)
    matrix = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(image.astype(np.float32), matrix, "phantom"), organ.astype(np.uint8)


def largest_slice(mask: np.ndarray) -> np.ndarray:
    """The mask with nothing left but its largest slice along the first axis."""
    drawn = np.zeros_like(mask)
    index = int(mask.sum(axis=(1, 2)).argmax())
    drawn[index] = mask[index]
    return drawn
