"""A synthetic body for tests, benchmarks and self-tests: no patient data, known truth."""

from __future__ import annotations

import numpy as np

from qnetseg.volume import Volume


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
    image, mask = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.uint8)
    places = ((2 * np.arange(count) + 1) / count - 1 for count in shape)
    along, j, i = np.meshgrid(*places, indexing="ij", sparse=True)
    body = (j / 0.75) ** 2 + (i / 0.9) ** 2 < 1
    for index, k in enumerate(along):  # slice by slice: `qnetseg bench` must not measure its own phantom
        organ = (k / 0.6) ** 2 + ((j + 0.1) / 0.3) ** 2 + ((i - 0.4) / 0.25) ** 2 < 1
        other = (k / 0.5) ** 2 + ((j - 0.2) / 0.15) ** 2 + ((i + 0.4) / 0.15) ** 2 < 1
        image[index] = 300 * body + 300 * organ + 500 * other + 20 * rng.standard_normal((1, *shape[1:]))
        mask[index] = organ
    matrix = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(image, matrix, "phantom"), mask


def largest_slice(mask: np.ndarray) -> np.ndarray:
    """The mask with nothing left but its largest slice along the first axis."""
    drawn = np.zeros_like(mask)
    index = int(mask.sum(axis=(1, 2)).argmax())
    drawn[index] = mask[index]
    return drawn
