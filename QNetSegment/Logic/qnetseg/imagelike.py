"""Images of other libraries as volumes: arrays with spacing or affine, SimpleITK's, nibabel's. Imports none.

An image is known by what it can do, so that a library is needed only by who has its images.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import GeometryError, InputError, MaskError
from .volume import LabelMap, Volume, on_grid_of
from .volume.volume import checked_matrix

ARRAY, SITK, NIBABEL, VOLUME = "array", "SimpleITK", "nibabel", "Volume"


@dataclass(frozen=True, eq=False)
class ImageLike:
    """An image as it was given.

    kind: ARRAY, SITK, NIBABEL or VOLUME. turned: whether its own axes are (i, j, k), those of its affine, and
    so run against ours. array: (K, J, I), a view. ijk_to_ras: (4, 4) in mm; None for an array alone.
    """

    kind: str
    turned: bool
    array: np.ndarray
    ijk_to_ras: np.ndarray | None

    def own(self, array: np.ndarray) -> np.ndarray:
        """A (K, J, I) array on the image's own axes."""
        return array.T if self.turned else array


def image_like(image: Any, what: str, spacing: Any = None, affine: Any = None) -> ImageLike:
    """An image of any of the kinds; spacing, affine: of an array, see `qnetseg.arrays.segment`.

    what: what the user calls it. Raises InputError for what is no image or has both or superfluous positions,
    and GeometryError for an impossible spacing.
    """
    if isinstance(image, (str, os.PathLike)):
        raise InputError(
            f"The {what} is a path, not an image.",
            "Read it first, for example with qnetseg.volume.read_volume.",
        )
    kind = _kind(image)
    if kind != ARRAY and (spacing is not None or affine is not None):
        raise InputError(f"The {what} knows its own position.", "Leave spacing and affine out.")
    if kind == SITK:
        from .volume.itk import image_matrix

        _require_sitk_volume(image, what)
        import SimpleITK as sitk

        return ImageLike(kind, False, sitk.GetArrayFromImage(image), image_matrix(image))
    if kind == NIBABEL:
        return ImageLike(kind, True, np.asanyarray(image.dataobj).T, np.array(image.affine, np.float64))
    if kind == VOLUME:
        return ImageLike(kind, False, image.array, image.ijk_to_ras)
    array = _as_array(image, what)
    if spacing is not None and affine is not None:
        raise InputError(f"The {what} has both a spacing and an affine.", "Give one of them.")
    if affine is not None:
        return ImageLike(kind, True, array.T, checked_matrix(affine, f"The {what}"))
    return ImageLike(kind, False, array, None if spacing is None else _spaced(spacing, what))


def volume_of(image: ImageLike, what: str) -> Volume:
    """The image, checked. Raises InputError without a position, and as `Volume.checked`."""
    if image.ijk_to_ras is None:
        raise InputError(
            f"The {what} is an array without a position.",
            "Give its spacing, the mm along each of its axes, or its affine.",
        )
    return Volume.checked(image.array, image.ijk_to_ras, what)


def labels_on(mask: Any, image: ImageLike, grid: Volume) -> np.ndarray:
    """(K, J, I) int32: the labels of a mask on the grid of the image that it was drawn on.

    A mask that is an array has the image's axes; one with a position may have others. Raises MaskError for
    values that are no labels or for another shape, and GeometryError for another grid.
    """
    given = image_like(mask, "mask")
    if given.kind == ARRAY:
        given = ImageLike(ARRAY, image.turned, given.array.T if image.turned else given.array, None)
    labels = _whole(given.array)
    if given.ijk_to_ras is None or image.ijk_to_ras is None:
        if labels.shape != grid.shape:
            shapes = [
                "x".join(map(str, image.own(np.empty(shape, bool)).shape))
                for shape in (labels.shape, grid.shape)
            ]
            raise MaskError(
                f"The mask has {shapes[0]} voxels, the image that it was drawn on {shapes[1]}.",
                "Give a mask with the image's own axes.",
            )
        return labels
    found = on_grid_of(LabelMap(labels, given.ijk_to_ras, ()), grid, crop=False)
    return found.array


def _kind(image: Any) -> str:
    if isinstance(image, Volume):
        return VOLUME
    if all(hasattr(image, name) for name in ("GetDirection", "GetSpacing", "GetOrigin", "GetDimension")):
        return SITK
    if hasattr(image, "affine") and hasattr(image, "dataobj"):
        return NIBABEL
    return ARRAY


def _require_sitk_volume(image: Any, what: str) -> None:
    components = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() != 3 or components != 1:
        raise InputError(
            f"The {what} is a {image.GetDimension()}-D image with {components} values per voxel.",
            "Give a 3-D image with one value per voxel.",
        )


def _as_array(image: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(image)
    except Exception as error:  # whatever an object of another library does when it is asked for an array
        raise InputError(f"The {what} cannot be read as an array: {error}.", "Give a NumPy array.") from error
    if array.dtype.kind not in "biuf" or array.ndim != 3:
        raise InputError(
            f"The {what} is not an image: its type is {array.dtype}, its shape {array.shape}.",
            "Give a 3-D array of numbers, or an image of SimpleITK or nibabel.",
        )
    return array


def _spaced(spacing: Any, what: str) -> np.ndarray:
    """(4, 4) IJK-to-RAS of an array whose axes lead up, back and left, as those of an upright ITK image."""
    try:
        mm = np.asarray(spacing, np.float64)
    except (TypeError, ValueError):
        mm = np.empty(0)
    if mm.shape != (3,) or not (np.isfinite(mm).all() and (mm > 0).all()):
        raise GeometryError(
            f"The spacing of the {what} is not three lengths: {spacing!r:.80}.",
            "Give the mm along each axis of the array, in their order.",
        )
    k, j, i = mm
    return np.diag([-i, -j, k, 1.0])


def _whole(array: np.ndarray) -> np.ndarray:
    """The values as labels."""
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise MaskError(
            f"The mask is not a 3-D array of labels: its type is {array.dtype}, its shape {array.shape}."
        )
    largest = np.iinfo(np.int32).max
    fits = array.size == 0 or (np.isfinite(array).all() and array.min() >= 0 and array.max() <= largest)
    if not fits or (array.dtype.kind == "f" and not (np.rint(array) == array).all()):
        raise MaskError(
            "The mask has values that are not labels.", "Use whole numbers from 0 on; 0 is nothing."
        )
    return array.astype(np.int32)
