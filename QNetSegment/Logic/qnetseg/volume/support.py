"""Support slices: what a user drew, with the image it was drawn on, ready for any other patient."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing
from ..errors import InputError, MaskError
from ..parsing import number, parse_json, parsing, short_text, whole
from .normalise import TOP_PERCENT, normalise
from .npz import Archive
from .orientation import ANATOMICAL_AXES, PLANES, array_axes, canonical
from .strays import count_drawn, sorted_slices
from .volume import MIN_DETERMINANT, Volume

FORMAT = "qnetseg-support"
FORMAT_VERSION = 2

MOST_SLICES = 1_000_000
FARTHEST = 1e7  # mm, ten kilometres
SPACINGS = (1e-6, 1e5)  # mm

DEFAULT_COLOR = (128 / 255, 174 / 255, 128 / 255)
"""Slicer's colour of unspecified tissue."""


@dataclass(frozen=True, eq=False)
class SupportSlice:
    """One drawn slice of a canonical volume, in its native in-plane resolution.

    image: (H, W) float32, normalised with the statistics of its whole volume.
    mask: (H, W) uint8, 0 or 1; all 0 where the user says that the structure is not there.
    plane: "axial", "coronal" or "sagittal".
    spacing: mm of (rows, columns).
    position: mm of the slice's first pixel along the canonical normal, +S, +P or +L.
    index: slice index in the canonical volume it was drawn on.
    finished: whether the user drew just this slice; False for one that was put together from the strips of a
    drawing in a tilted view, which serves as an example but is no result.
    """

    image: np.ndarray
    mask: np.ndarray
    plane: str
    spacing: tuple[float, float]
    position: float
    index: int
    finished: bool = True


@dataclass(frozen=True, eq=False)
class SupportSet:
    """One or more support slices of one plane, sorted by index, and the structure they show.

    color: red, green, blue from 0 to 1. terminology: a Slicer terminology entry, or empty.
    volume_id: fingerprint of the volume that was drawn on (see `volume_id`), or empty.
    axes: (3, 3) float64, rows are the RAS directions of that canonical volume's array axes; a query turned by
    `canonical(query, support.axes)` shows the structure the same way up, also between oblique volumes.
    strays: indices of slices that hold a few drawn voxels and do not count as drawn.
    """

    slices: tuple[SupportSlice, ...]
    name: str = "structure"
    color: tuple[float, float, float] = DEFAULT_COLOR
    terminology: str = ""
    volume_id: str = ""
    axes: np.ndarray = field(default_factory=ANATOMICAL_AXES.copy)
    strays: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.filled:
            raise MaskError("The support set has no slice.", "Draw the structure on at least one slice.")
        if len({part.plane for part in self.slices}) > 1 or self.plane not in PLANES:
            raise MaskError(f"All support slices must be of one plane out of {', '.join(PLANES)}.")
        object.__setattr__(self, "slices", tuple(sorted(self.slices, key=lambda part: part.index)))

    @property
    def filled(self) -> tuple[SupportSlice, ...]:
        """The slices that hold the structure."""
        return tuple(part for part in self.slices if part.mask.any())

    @property
    def plane(self) -> str:
        """The slices' plane: "axial", "coronal" or "sagittal"."""
        return self.slices[0].plane

    def save(self, path: str | os.PathLike[str], mode: int | None = None) -> None:
        """Write everything to one .npz file (no pickle), whole or not at all; OutputError otherwise.

        mode: permissions of the file, see `replacing`.
        """
        header = {
            "format": FORMAT,
            # Versions before 2 knew no empty slices; a file without any is theirs, too.
            "version": FORMAT_VERSION if len(self.filled) < len(self.slices) else 1,
            "name": self.name,
            "color": [float(part) for part in self.color],
            "terminology": self.terminology,
            "volume_id": self.volume_id,
            "plane": self.plane,
            "axes": np.asarray(self.axes).tolist(),
            "strays": list(self.strays),
            "top_percent": TOP_PERCENT,
            "slices": [
                {
                    "spacing": list(part.spacing),
                    "position": part.position,
                    "index": part.index,
                    "finished": part.finished,
                }
                for part in self.slices
            ],
        }
        arrays: dict[str, Any] = {"header": np.array(json.dumps(header))}
        for n, part in enumerate(self.slices):
            arrays[f"image_{n}"] = np.asarray(part.image, np.float32)
            arrays[f"mask_{n}"] = np.asarray(part.mask, np.uint8)
        with replacing(path, ".npz", mode) as temporary:
            np.savez_compressed(temporary, **arrays)
            try:
                SupportSet.load(temporary)
            except InputError as error:
                raise OSError("the written file cannot be read back") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SupportSet:
        """Read what `save` wrote; InputError for a missing, damaged or foreign file."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"The support file '{path}' does not exist.")
        with (
            parsing(
                path.name,
                InputError,
                f"'{path.name}' is not a support file of QNetSegment, or it is damaged.",
                "Choose a file that was saved as a support, or save the support again.",
            ),
            Archive(path) as archive,
        ):
            header = parse_json(str(archive.array("header")))
            if header["format"] != FORMAT:
                raise ValueError("another format")
            if whole(header["version"], 1, MOST_SLICES) > FORMAT_VERSION:
                raise InputError(
                    f"The support file '{path.name}' was written by a newer version of QNetSegment.",
                    "Update QNetSegment, or save the support again with this version.",
                )
            if number(header.get("top_percent", TOP_PERCENT), 0, 99) != TOP_PERCENT:
                raise InputError(
                    f"The images of the support file '{path.name}' were normalised in another way.",
                    "Save the support again with this version.",
                )
            slices = tuple(
                _loaded_slice(archive.array(f"image_{n}"), archive.array(f"mask_{n}"), header["plane"], entry)
                for n, entry in enumerate(header["slices"])
            )
            if len({part.index for part in slices}) < len(slices):
                raise ValueError("two slices of one index")
            red, green, blue = (number(part, 0, 1) for part in header["color"])
            return cls(
                slices,
                short_text(header["name"]),
                (red, green, blue),
                short_text(header["terminology"]),
                short_text(header["volume_id"]),
                _loaded_axes(header["axes"]),
                tuple(whole(index, 0, MOST_SLICES) for index in header.get("strays", ())),
            )


def _loaded_axes(values: Any) -> np.ndarray:
    """(3, 3) unit vectors from a file."""
    axes = np.array([[number(part, -2, 2) for part in row] for row in values])
    if axes.shape != (3, 3) or not np.allclose(np.linalg.norm(axes, axis=1), 1.0, atol=1e-3):
        raise ValueError("wrong axes")
    if abs(np.linalg.det(axes)) < MIN_DETERMINANT:
        raise ValueError("axes in one plane")
    return axes


def _loaded_slice(image: np.ndarray, mask: np.ndarray, plane: str, entry: dict[str, Any]) -> SupportSlice:
    """A slice from a file, its arrays and entries checked because the file may come from anywhere."""
    fits = image.ndim == 2 and image.shape == mask.shape and image.size > 0
    if not fits or image.dtype != np.float32 or mask.dtype != np.uint8:
        raise ValueError("arrays of a wrong shape or type")
    if not np.isfinite(image).all() or mask.max() > 1:
        raise ValueError("arrays of wrong values")
    rows, columns = (number(mm, *SPACINGS) for mm in entry["spacing"])
    finished = entry.get("finished", True)
    if not isinstance(finished, bool):
        raise ValueError("neither finished nor not")
    position, index = number(entry["position"], -FARTHEST, FARTHEST), whole(entry["index"], 0, MOST_SLICES)
    return SupportSlice(image, mask, plane, (rows, columns), position, index, finished)


def support_from_mask(
    volume: Volume,
    mask: np.ndarray,
    *,
    name: str = "structure",
    color: tuple[float, float, float] = DEFAULT_COLOR,
    terminology: str = "",
    plane: str | None = None,
    not_here: Sequence[int] = (),
) -> SupportSet:
    """Find the drawn slices of a mask and pack them up.

    mask: (K, J, I) on the volume's own native grid, drawn where it is not 0.
    plane: taken from the mask if None: the canonical axis with the fewest drawn slices is the normal,
    between equals the one with the thickest slices. However many slices are drawn, each becomes a support
    slice; strays do not, and strips of a tilted drawing become one together (see `strays`).
    not_here: slices of the canonical volume, along the plane's normal, on which the user says that the
    structure is not; those that are drawn on are left out.
    Raises MaskError for a mask that is empty, not finite, of another shape or of several labels, InputError
    for an unknown plane.
    """
    mask = np.asarray(mask)
    if mask.shape != volume.shape:
        raise MaskError(
            f"The drawing has the shape {mask.shape} but the volume {volume.shape} (k, j, i).",
            "Use a mask that was drawn on this volume.",
        )
    if mask.dtype.kind not in "biuf":
        raise MaskError(f"The drawing has values of type {mask.dtype}, which is not a real number.")
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise MaskError("The drawing contains values that are not finite numbers.")
    _require_one_label(mask)
    turned, orientation = canonical(volume)
    drawn = orientation.apply(mask != 0)
    plane, occupied = occupied_slices(drawn, turned.spacing, plane)
    axis = PLANES[plane]
    image = normalise(turned.array)
    rows, columns = (mm for other, mm in enumerate(turned.spacing) if other != axis)
    along = np.moveaxis(drawn, axis, 0)
    sorts = sorted_slices(along, occupied, (turned.spacing[axis], rows, columns))
    outlines = {index: along[index] for index in sorts.finished}
    together = dict(_put_together(along, run) for run in sorts.tilted)
    empty = sorted(set(not_here) - set(outlines) - set(together))
    if empty and not 0 <= empty[0] <= empty[-1] < turned.shape[axis]:
        raise MaskError(
            f"A slice without the structure is named that the volume does not have: it has the slices 0 to"
            f" {turned.shape[axis] - 1}.",
            "Name slices of this volume.",
        )
    outlines |= together | {index: np.zeros_like(along[0]) for index in empty}
    slices = tuple(
        SupportSlice(
            np.ascontiguousarray(image.take(index, axis)),
            np.ascontiguousarray(outline, dtype=np.uint8),
            plane,
            (rows, columns),
            slice_position(turned, axis, index),
            index,
            index not in together,
        )
        for index, outline in outlines.items()
    )
    identity = volume_id(volume)
    return SupportSet(slices, name, color, terminology, identity, array_axes(turned), sorts.strays)


def _require_one_label(mask: np.ndarray) -> None:
    """MaskError for a mask of several labels: merged they would be a structure that nobody drew."""
    values = mask[mask != 0]
    if values.size and values.min() != values.max():
        raise MaskError(
            f"The drawing has several labels, from {values.min():g} to {values.max():g}.",
            "Give one structure at a time, for example mask == 1.",
        )


def _put_together(along: np.ndarray, run: tuple[int, ...]) -> tuple[int, np.ndarray]:
    """The middle one of slices that hold strips of one drawing, and the whole outline (H, W)."""
    areas = [int(along[index].sum()) for index in run]
    return round(float(np.average(run, weights=areas))), np.any([along[index] for index in run], axis=0)


def occupied_slices(
    drawn: np.ndarray, spacing: tuple[float, float, float], plane: str | None = None
) -> tuple[str, np.ndarray]:
    """(plane, indices of its occupied slices) of a drawing on canonical axes.

    drawn: (K, J, I) bool, the whole canonical volume or any box around the drawing. spacing: mm of (k, j, i).
    plane: found by the rule of `support_from_mask` if None. Raises MaskError for an empty drawing,
    InputError for an unknown plane.
    """
    if plane is not None and plane not in PLANES:
        raise InputError(f"The plane '{plane}' is unknown.", f"Choose one of {', '.join(PLANES)}.")
    others = [tuple({0, 1, 2} - {axis}) for axis in range(3)]
    occupied = [np.flatnonzero(drawn.any(axis=other)) for other in others]
    if not len(occupied[0]):
        raise MaskError("The drawing is empty.", "Draw the structure on at least one slice.")
    counts = [len(slices) for slices in occupied]
    if plane is None and min(counts) > 1:  # clicks must not decide
        counts = [count_drawn(np.count_nonzero(drawn, axis=other)) for other in others]
    if plane is None:
        plane = min(PLANES, key=lambda p: (counts[PLANES[p]], -spacing[PLANES[p]]))
    return plane, occupied[PLANES[plane]]


def slice_position(canonical_volume: Volume, axis: int, index: int) -> float:
    """mm along +S, +P or +L of the first pixel of slice `index` of a canonical volume's array axis."""
    ijk = np.zeros(3)
    ijk[2 - axis] = index
    origin = canonical_volume.ijk_to_ras[:3, :3] @ ijk + canonical_volume.ijk_to_ras[:3, 3]
    return float(ANATOMICAL_AXES[axis] @ origin)


def volume_id(volume: Volume) -> str:
    """SHA-256 fingerprint of shape, matrix and values, the same for every axis order and flip.

    It is taken on the canonical volume. The matrix counts in steps of 0.1 mm, offset by an irrational part
    so that round numbers, on which float rounding would decide, never sit on the edge of a step.
    """
    turned, _ = canonical(volume)
    digest = hashlib.sha256()
    digest.update(np.array(turned.shape, "<i8").tobytes())
    digest.update(np.floor(turned.ijk_to_ras[:3] * 10.0 + 0.6180339887).astype("<i8").tobytes())
    for start in range(0, turned.shape[0], 16):  # 16 float32 fill a cache line, whichever axis is fastest
        digest.update(np.ascontiguousarray(turned.array[start : start + 16], dtype="<f4").data)
    return digest.hexdigest()
