"""Supervoxels: the pseudo-labels that self-supervised training draws its episodes from.

A supervoxel is a connected group of voxels of similar intensity. The default is the efficient
graph-based segmentation of Felzenszwalb and Huttenlocher ("Efficient Graph-Based Image
Segmentation", IJCV 59, 2004), carried from pixels with 8 neighbours to voxels with 26 and made
aware of thick slices as in the pipeline that Q-Net and ADNet train on. Needs the `training` extra.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import relabel_sequential, slic

from ..errors import InputError, RecipeError, VolumeError

try:
    from numba import njit
except ModuleNotFoundError as error:  # pragma: no cover - the tests install numba
    raise RecipeError(
        "Supervoxels are computed with numba, which is not installed.",
        'Install the training extra: pip install "qnetseg[training]".',
    ) from error

_HALF_OF_26 = sorted(
    (step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)),
    key=lambda step: (np.count_nonzero(step), step),
)
"""One (k, j, i) step for every pair of opposite neighbours. Straight ones come first: edges of equal
weight, frequent where intensities are whole numbers, are taken in this order and change the result."""

_SLIC_COMPACTNESS = 0.1


def supervoxels(
    image: NDArray, spacing: tuple[float, float, float], min_size: int, method: str = "felzenszwalb"
) -> NDArray[np.int32]:
    """Divide the body in `image` into supervoxels.

    `image` is a (K, J, I) volume in any intensity unit, `spacing` its (k, j, i) voxel size in mm,
    `min_size` a number of voxels (the paper's pseudo-labels have 5000 for abdominal and 1000 for
    cardiac MR). Returns (K, J, I) labels 1..n, 0 outside `foreground_mask`.
    `method` is "felzenszwalb", whose supervoxels have at least `min_size` voxels before the outside
    is cut away, or "slic" (Achanta et al. 2012), whose supervoxels have about that size.
    Raises VolumeError for an image, and InputError for a parameter, that cannot be used.
    """
    if method == "felzenszwalb":
        labels = felzenszwalb_3d(image, spacing, min_size)
    elif method == "slic":
        _check_parameters(spacing, min_size)
        labels = slic(
            _scaled(image) / 255,
            n_segments=max(1, np.size(image) // min_size),
            compactness=_SLIC_COMPACTNESS,
            spacing=spacing,
            channel_axis=None,
            start_label=1,
        )
    else:
        raise InputError(f'"{method}" is no supervoxel method.', 'Use "felzenszwalb" or "slic".')
    inside, _, _ = relabel_sequential(np.where(foreground_mask(image), labels, 0))
    return inside.astype(np.int32)


def foreground_mask(image: NDArray, threshold: float = 10.0) -> NDArray[np.bool_]:
    """The body: in every slice the largest connected region brighter than `threshold`, holes filled.

    `image` is a (K, J, I) volume; `threshold` counts on its 0..255 scale. Returns (K, J, I) bool.
    """
    mask = np.zeros(np.shape(image), dtype=bool)
    touching = np.ones((3, 3))
    for index, bright in enumerate(_scaled(image) > threshold):
        regions, count = ndimage.label(bright, touching)
        if count:
            largest = 1 + np.argmax(np.bincount(regions.ravel())[1:])
            mask[index] = ndimage.binary_fill_holes(regions == largest)
    return mask


def felzenszwalb_3d(
    image: NDArray,
    spacing: tuple[float, float, float],
    min_size: int,
    scale: float = 1.0,
    sigma: float = 0.0,
) -> NDArray[np.int32]:
    """Segment a volume into connected groups of similar voxels, each of at least `min_size` voxels.

    `image` is (K, J, I) in any intensity unit, `spacing` its (k, j, i) voxel size in mm. Voxels are
    nodes of a graph; an edge weighs the difference of two neighbours on the volume's 0..255 scale,
    times `step_factor`, so that a group does not cross thick slices for free. A larger `scale`
    (k of the paper, on intensities of 0..1) gives larger groups; `sigma` is the width in mm of a
    Gaussian that smooths the image first. Returns (K, J, I) labels 1..n in raster order.
    """
    _check_parameters(spacing, min_size)
    scaled = _scaled(image)
    if sigma > 0:
        scaled = ndimage.gaussian_filter(scaled, [sigma / width for width in spacing])
    weights, order = _sorted_edges(scaled, spacing)
    offsets = np.array([np.dot(step, _strides(scaled.shape)) for step in _HALF_OF_26])
    parent = np.arange(scaled.size)
    size = np.ones(scaled.size, dtype=np.int64)
    _join_similar(order, weights, offsets, parent, size, scale / 255)
    _join_small(order, offsets, parent, size, min_size)
    _, labels = np.unique(_roots(parent), return_inverse=True)
    return (labels + 1).astype(np.int32).reshape(scaled.shape)


def step_factor(step: tuple[int, ...], spacing: tuple[float, float, float]) -> float:
    """Weight of an edge along `step`: its length over that of the same step among in-plane voxels.

    1 within a slice, more across slices that are thicker than the pixels are wide.
    """
    anisotropy = spacing[0] / spacing[1]
    return float(np.linalg.norm((step[0] * anisotropy, step[1], step[2])) / np.linalg.norm(step))


def _check_parameters(spacing: tuple[float, float, float], min_size: int) -> None:
    if len(spacing) != 3 or min(spacing) <= 0:
        raise InputError(f"The spacing {spacing} is not three positive lengths in mm.")
    if min_size < 1:
        raise InputError(f"A supervoxel cannot have a minimum size of {min_size} voxels.")


def _scaled(image: NDArray) -> NDArray[np.float64]:
    """`image` on the scale 0..255 that thresholds and parameters refer to."""
    volume = np.asarray(image, dtype=np.float64)
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise VolumeError("Supervoxels need a 3-D volume without NaN or infinite values.")
    lowest, highest = volume.min(), volume.max()
    if lowest == highest:
        raise VolumeError("Supervoxels need contrast, and all voxels of this volume are equal.")
    # Multiplied before the division: the last bits order edges of otherwise equal weight.
    return 255 * (volume - lowest) / (highest - lowest)


def _strides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Distance in a flattened volume between neighbours along each axis."""
    return shape[1] * shape[2], shape[2], 1


def _sorted_edges(
    volume: NDArray[np.float64], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Weights of all edges, and the edges that exist in ascending order of weight.

    Edge `d * volume.size + v` goes from voxel `v` along step `d`; it is endless where that leaves
    the volume. Ends of edges need no memory this way, which matters for 30 million of them.
    """
    weights = np.full((len(_HALF_OF_26), *volume.shape), np.inf)
    for weight, step in zip(weights, _HALF_OF_26, strict=True):
        here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, volume.shape, strict=True))
        there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, volume.shape, strict=True))
        weight[here] = np.abs(volume[there] - volume[here]) * step_factor(step, spacing)
    flat = weights.ravel()
    existing = np.count_nonzero(flat < np.inf)
    return flat, np.argsort(flat, kind="stable")[:existing]


@njit
def _root(parent, voxel):
    """The voxel that stands for the group of `voxel`; shortens the way there for the next call."""
    while parent[voxel] != voxel:
        parent[voxel] = parent[parent[voxel]]
        voxel = parent[voxel]
    return voxel


@njit
def _join(parent, size, one, other):
    """Make one group of two; the first voxel in raster order stands for it. Returns that voxel."""
    first, second = min(one, other), max(one, other)
    parent[second] = first
    size[first] += size[second]
    return first


@njit
def _join_similar(order, weights, offsets, parent, size, scale):
    """Join groups that differ by less than either varies inside, with `scale / size` to spare.

    Edges come in ascending order, so the weight that joins two groups is the largest of the
    minimum spanning tree of their union: its internal difference.
    """
    voxels = parent.size
    variation = np.zeros(voxels)
    for edge in order:
        voxel = edge % voxels
        one = _root(parent, voxel)
        other = _root(parent, voxel + offsets[edge // voxels])
        if one != other:
            weight = weights[edge]
            if weight < min(variation[one] + scale / size[one], variation[other] + scale / size[other]):
                variation[_join(parent, size, one, other)] = weight


@njit
def _join_small(order, offsets, parent, size, min_size):
    """Join each group of fewer than `min_size` voxels to the neighbour across its lightest edge."""
    voxels = parent.size
    for edge in order:
        voxel = edge % voxels
        one = _root(parent, voxel)
        other = _root(parent, voxel + offsets[edge // voxels])
        if one != other and (size[one] < min_size or size[other] < min_size):
            _join(parent, size, one, other)


@njit
def _roots(parent):
    """Of every voxel the one that stands for its group."""
    roots = np.empty_like(parent)
    for voxel in range(parent.size):
        roots[voxel] = _root(parent, voxel)
    return roots
