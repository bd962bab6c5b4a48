"""Supervoxels: the pseudo-labels that self-supervised training draws its episodes from.

A supervoxel is a connected group of voxels of similar intensity. The default is the efficient
graph-based segmentation of Felzenszwalb and Huttenlocher ("Efficient Graph-Based Image
Segmentation", IJCV 59, 2004), carried from pixels with 8 neighbours to voxels with 26 and made
aware of thick slices as in the pipeline that Q-Net and ADNet train on (https://github.com/sha168/ADNet,
folder `supervoxels`). That pipeline's order of equal edges and its rounding decide where supervoxels end on
images of whole numbers, so both are kept here. Needs the `training` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from skimage.segmentation import relabel_sequential, slic

from qnetseg.errors import InputError, RecipeError

from .body import foreground_mask, scaled

try:
    from numba import njit
except ModuleNotFoundError as error:  # pragma: no cover - the tests install numba
    raise RecipeError(
        "Supervoxels are computed with numba, which is not installed.",
        "Install the laboratory again: pip install qnetseg-lab.",
    ) from error

_HALF_OF_26 = (
    *((0, 1, 0), (0, 1, 1), (0, 0, 1), (0, 1, -1), (1, 1, 0), (1, 1, 1), (1, 0, 1)),
    *((1, -1, 0), (1, -1, -1), (1, 0, -1), (1, 1, -1), (1, -1, 1), (1, 0, 0)),
)
"""One (k, j, i) step for every pair of opposite neighbours, in the order of ADNet's released code: edges of
equal weight, frequent where intensities are whole numbers, are sorted from this order, which decides."""

_INSERTION = 16  # NumPy's quicksort leaves parts this short to an insertion sort

BODY_SHARE = 1 / 200
"""Smallest supervoxel over the body, where no size is given."""

_SLIC_COMPACTNESS = 0.1


def supervoxels(
    image: NDArray,
    spacing: tuple[float, float, float],
    min_size: int | None = None,
    method: str = "felzenszwalb",
) -> NDArray[np.int32]:
    """Divide the body in `image` into supervoxels.

    `image` is a (K, J, I) volume in any intensity unit, `spacing` its (k, j, i) voxel size in mm,
    `min_size` a number of voxels (the paper's pseudo-labels have 5000 for abdominal and 1000 for
    cardiac MR); None takes `BODY_SHARE` of the body. Returns (K, J, I) labels 1..n, 0 outside
    `foreground_mask`.
    `method` is "felzenszwalb", whose supervoxels have at least `min_size` voxels before the outside
    is cut away, or "slic" (Achanta et al. 2012), whose supervoxels have about that size.
    Raises VolumeError for an image, and InputError for a parameter, that cannot be used.
    """
    body = foreground_mask(image)
    if min_size is None:
        min_size = max(1, round(np.count_nonzero(body) * BODY_SHARE))
    if method == "felzenszwalb":
        labels = felzenszwalb_3d(image, spacing, min_size)
    elif method == "slic":
        _check_parameters(spacing, min_size)
        labels = slic(
            scaled(image) / 255,
            n_segments=max(1, np.size(image) // min_size),
            compactness=_SLIC_COMPACTNESS,
            spacing=spacing,
            channel_axis=None,
            start_label=1,
        )
    else:
        raise InputError(f'"{method}" is no supervoxel method.', 'Use "felzenszwalb" or "slic".')
    inside, _, _ = relabel_sequential(np.where(body, labels, 0))
    return inside.astype(np.int32)


def divisions(
    image: NDArray, spacing: tuple[float, float, float], min_sizes: Sequence[int]
) -> list[NDArray[np.int32]]:
    """What `supervoxels` gives for each of several smallest sizes, in little more than the time of one."""
    body = foreground_mask(image)
    for min_size in min_sizes:
        _check_parameters(spacing, min_size)
    groups = _Groups.of(scaled(image), spacing, 1.0)
    found = []
    for min_size in min_sizes:
        inside, _, _ = relabel_sequential(np.where(body, groups.labels(min_size), 0))
        found.append(inside.astype(np.int32))
    return found


def adjusted_rand_index(one: NDArray, other: NDArray) -> float:
    """Agreement of two divisions of the same voxels: 1 for the same, about 0 for unrelated ones.

    Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985. Both are arrays of one shape
    with whole numbers from 0.
    """
    table = coo_matrix((np.ones(one.size), (np.ravel(one), np.ravel(other)))).tocsr()

    def pairs(counts: NDArray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together = pairs(table.data)
    rows, columns = (pairs(np.asarray(table.sum(axis=axis))) for axis in (0, 1))
    chance = rows * columns / max(pairs(np.array([one.size])), 1)
    largest = (rows + columns) / 2
    return 1.0 if largest == chance else (together - chance) / (largest - chance)


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
    volume = scaled(image)
    if sigma > 0:
        volume = ndimage.gaussian_filter(volume, [sigma / width for width in spacing])
    return _Groups.of(volume, spacing, scale).labels(min_size)


@dataclass(frozen=True)
class _Groups:
    """Similar voxels of a volume, joined; groups that are too small are still among them."""

    shape: tuple[int, ...]
    order: NDArray[np.int64]
    offsets: NDArray[np.int64]
    parent: NDArray[np.int64]
    size: NDArray[np.int64]

    @classmethod
    def of(cls, volume: NDArray[np.float64], spacing: tuple[float, float, float], scale: float) -> _Groups:
        """volume: on the scale 0..255. The others as in `felzenszwalb_3d`."""
        weights, order = _sorted_edges(volume, spacing)
        offsets = np.array([np.dot(step, _strides(volume.shape)) for step in _HALF_OF_26])
        parent = np.arange(volume.size)
        size = np.ones(volume.size, dtype=np.int64)
        _join_similar(order, weights, offsets, parent, size, scale / 255)
        return cls(volume.shape, order, offsets, parent, size)

    def labels(self, min_size: int) -> NDArray[np.int32]:
        """(K, J, I) labels 1..n in raster order of groups of at least `min_size` voxels."""
        parent = self.parent.copy()
        _join_small(self.order, self.offsets, parent, self.size.copy(), min_size)
        _, labels = np.unique(_roots(parent), return_inverse=True)
        return (labels + 1).astype(np.int32).reshape(self.shape)


def step_factor(step: tuple[int, ...], spacing: tuple[float, float, float]) -> float:
    """Weight of an edge along `step`: its length over that of the same step among in-plane voxels.

    1 within a slice, more across slices that are thicker than the pixels are wide. The spacing counts to six
    digits, as text headers have it, whether a file stores 7.7 mm in 32 or in 64 bits.
    """
    across, within = (float(f"{width:.6g}") for width in spacing[:2])
    return float(np.linalg.norm((step[0] * across / within, step[1], step[2])) / np.linalg.norm(step))


def _check_parameters(spacing: tuple[float, float, float], min_size: int) -> None:
    if len(spacing) != 3 or min(spacing) <= 0:
        raise InputError(f"The spacing {spacing} is not three positive lengths in mm.")
    if min_size < 1:
        raise InputError(f"A supervoxel cannot have a minimum size of {min_size} voxels.")


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
        weight[here] = np.sqrt(step_factor(step, spacing) ** 2 * (volume[there] - volume[here]) ** 2)
    flat = weights.ravel()
    existing = np.flatnonzero(flat < np.inf)
    return flat, existing[_argsort(flat[existing])]


@njit(nogil=True)
def _argsort(values: np.ndarray) -> np.ndarray:
    """Indices in ascending order of value, equal ones in the order of NumPy's quicksort of before 1.25.

    Newer ones use whatever vector instructions a processor has, and equal values then lie in an order of its
    own. Hoare's partition around the median of the first, middle and last value; short parts are inserted.
    """
    order = np.arange(values.size)
    parts = [(0, values.size - 1)]
    while parts:
        first, last = parts.pop()
        while last - first > _INSERTION:
            middle = first + (last - first) // 2
            _order_two(values, order, first, middle)
            _order_two(values, order, middle, last)
            _order_two(values, order, first, middle)
            pivot = values[order[middle]]
            low, high = first, last - 1
            order[middle], order[high] = order[high], order[middle]
            while True:
                low, high = low + 1, high - 1
                while values[order[low]] < pivot:
                    low += 1
                while pivot < values[order[high]]:
                    high -= 1
                if low >= high:
                    break
                order[low], order[high] = order[high], order[low]
            order[low], order[last - 1] = order[last - 1], order[low]
            if low - first < last - low:
                parts.append((low + 1, last))
                last = low - 1
            else:
                parts.append((first, low - 1))
                first = low + 1
        for index in range(first + 1, last + 1):
            moved, place = order[index], index
            while place > first and values[moved] < values[order[place - 1]]:
                order[place] = order[place - 1]
                place -= 1
            order[place] = moved
    return order


@njit(nogil=True)
def _order_two(values: np.ndarray, order: np.ndarray, here: int, there: int) -> None:
    """Swap two places of `order` unless their values ascend."""
    if values[order[there]] < values[order[here]]:
        order[here], order[there] = order[there], order[here]


@njit(nogil=True)
def _root(parent: np.ndarray, voxel: int) -> int:
    """The voxel that stands for the group of `voxel`; shortens the way there for the next call."""
    while parent[voxel] != voxel:
        parent[voxel] = parent[parent[voxel]]
        voxel = parent[voxel]
    return voxel


@njit(nogil=True)
def _join(parent: np.ndarray, size: np.ndarray, one: int, other: int) -> int:
    """Make one group of two; the first voxel in raster order stands for it. Returns that voxel."""
    first, second = min(one, other), max(one, other)
    parent[second] = first
    size[first] += size[second]
    return first


@njit(nogil=True)
def _join_similar(
    order: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray,
    parent: np.ndarray,
    size: np.ndarray,
    scale: float,
) -> None:
    """Join groups that differ by less than either varies inside, with `scale / size` to spare.

    Edges come in ascending order, so the weight that joins two groups is the largest of the
    minimum spanning tree of their union: its internal difference. The limit for joining is rounded
    to 32 bits as in the released code: in a large group, where `scale / size` is lost, that decides
    between edges of equal weight.
    """
    voxels = parent.size
    variation = np.zeros(voxels)
    for edge in order:
        voxel = edge % voxels
        one = _root(parent, voxel)
        other = _root(parent, voxel + offsets[edge // voxels])
        if one != other:
            weight = weights[edge]
            limit = np.float32(variation[one] + scale / size[one])
            if weight < limit and weight < np.float32(variation[other] + scale / size[other]):
                variation[_join(parent, size, one, other)] = weight


@njit(nogil=True)
def _join_small(
    order: np.ndarray, offsets: np.ndarray, parent: np.ndarray, size: np.ndarray, min_size: int
) -> None:
    """Join each group of fewer than `min_size` voxels to the neighbour across its lightest edge."""
    voxels = parent.size
    for edge in order:
        voxel = edge % voxels
        one = _root(parent, voxel)
        other = _root(parent, voxel + offsets[edge // voxels])
        if one != other and (size[one] < min_size or size[other] < min_size):
            _join(parent, size, one, other)


@njit(nogil=True)
def _roots(parent: np.ndarray) -> np.ndarray:
    """Of every voxel the one that stands for its group."""
    roots = np.empty_like(parent)
    for voxel in range(parent.size):
        roots[voxel] = _root(parent, voxel)
    return roots
