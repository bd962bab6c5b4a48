"""Support slices: what a user drew, with the image it was drawn on, ready for any other patient."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing
from ..errors import InputError, MaskError, OutputError
from ..parsing import number, parse_json, parsing, short_text, whole
from .drawing import DEFAULT_COLOR, Drawing
from .normalise import TOP_PERCENT, normalise
from .npz import Archive, are_too_large
from .orientation import ANATOMICAL_AXES, PLANES, Orientation, array_axes, canonical
from .patient import SPACINGS, Patient
from .volume import MIN_DETERMINANT, Volume

FORMAT = "qnetseg-support"
FORMAT_VERSION = 3  # of 1 the drawn slices; since 2 empty ones, too; since 3 the patient, too

MOST_SLICES = 1_000_000
FARTHEST = 1e7  # mm, ten kilometres


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
    patient: who was drawn on, as a whole; None where only the drawn slices are known.
    """

    slices: tuple[SupportSlice, ...]
    name: str = "structure"
    color: tuple[float, float, float] = DEFAULT_COLOR
    terminology: str = ""
    volume_id: str = ""
    axes: np.ndarray = field(default_factory=ANATOMICAL_AXES.copy)
    strays: tuple[int, ...] = ()
    patient: Patient | None = None

    def __post_init__(self) -> None:
        if not self.filled:
            raise MaskError("The example has no slice.", "Draw the structure on at least one slice.")
        if len({part.plane for part in self.slices}) > 1 or self.plane not in PLANES:
            raise MaskError(f"All slices of an example must be of one plane out of {', '.join(PLANES)}.")
        object.__setattr__(self, "slices", tuple(sorted(self.slices, key=lambda part: part.index)))

    @property
    def filled(self) -> tuple[SupportSlice, ...]:
        """The slices that hold the structure."""
        return tuple(part for part in self.slices if part.mask.any())

    @property
    def plane(self) -> str:
        """The slices' plane: "axial", "coronal" or "sagittal"."""
        return self.slices[0].plane

    @property
    def _version(self) -> int:
        """The oldest version of the format that holds everything, so that older programs can read it."""
        if self.patient is not None:
            return 3
        return 2 if len(self.filled) < len(self.slices) else 1

    def save(self, path: str | os.PathLike[str], mode: int | None = None) -> None:
        """Write everything to one .npz file (no pickle), whole or not at all; OutputError otherwise.

        mode: permissions of the file, see `replacing`.
        """
        header = {
            "format": FORMAT,
            "version": self._version,
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
        arrays: dict[str, Any] = {}
        for n, part in enumerate(self.slices):
            arrays[f"image_{n}"] = np.asarray(part.image, np.float32)
            arrays[f"mask_{n}"] = np.asarray(part.mask, np.uint8)
        if self.patient is not None:
            header["patient"] = self.patient.header()
            arrays |= self.patient.arrays()
        arrays["header"] = np.array(json.dumps(header))
        with replacing(path, ".npz", mode) as temporary:
            np.savez_compressed(temporary, **arrays)
            if are_too_large([array.nbytes for array in arrays.values()], temporary.stat().st_size):
                rows, columns = self.slices[0].image.shape
                raise OutputError(
                    f"'{path}' could not be written: its drawn slices ({len(self.slices)}, of"
                    f" {rows} x {columns} pixels) are larger than a saved example may hold.",
                    "Crop the volume around the structure, and draw on the cropped one.",
                )
            try:
                SupportSet.load(temporary)
            except InputError as error:
                raise OSError("the written file cannot be read back") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SupportSet:
        """Read what `save` wrote; InputError for a missing, damaged or foreign file."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"The example '{path}' does not exist.")
        with (
            parsing(
                path.name,
                InputError,
                f"'{path.name}' is not an example that QNetSegment saved, or it is damaged.",
                "Choose a file that was saved as an example, or save the example again.",
            ),
            Archive(path) as archive,
        ):
            header = parse_json(str(archive.array("header")))
            if header["format"] != FORMAT:
                raise ValueError("another format")
            if whole(header["version"], 1, MOST_SLICES) > FORMAT_VERSION:
                raise InputError(
                    f"The example '{path.name}' was saved by a newer version of QNetSegment.",
                    "Update QNetSegment, or save the example again with this version.",
                )
            if number(header.get("top_percent", TOP_PERCENT), 0, 99) != TOP_PERCENT:
                raise InputError(
                    f"The images of the example '{path.name}' were normalised in another way.",
                    "Save the example again with this version.",
                )
            slices = tuple(
                _loaded_slice(archive.array(f"image_{n}"), archive.array(f"mask_{n}"), header["plane"], entry)
                for n, entry in enumerate(header["slices"])
            )
            if len({part.index for part in slices}) < len(slices):
                raise ValueError("two slices of one index")
            patient = None
            if "patient" in header:
                planes = (archive.array(f"patient_{name}") for name in ("image", "structure"))
                patient = Patient.loaded(header["patient"], *planes)
            red, green, blue = (number(part, 0, 1) for part in header["color"])
            return cls(
                slices,
                short_text(header["name"]),
                (red, green, blue),
                short_text(header["terminology"]),
                short_text(header["volume_id"]),
                _loaded_axes(header["axes"]),
                tuple(whole(index, 0, MOST_SLICES) for index in header.get("strays", ())),
                patient,
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


def pack(drawing: Drawing, image: Volume, orientation: Orientation, fingerprint: str) -> SupportSet:
    """The drawn slices with the image that they were drawn on.

    image: canonical, its array what `normalise` gives. orientation: from the axes that were drawn on to the
    image's. fingerprint: of the volume, see `volume_id`. Raises MaskError for a drawing that lies outside of
    the volume or names a slice that it does not have.
    """
    found = drawing.slices(image, orientation)
    axis = PLANES[found.plane]
    rows, columns = (mm for other, mm in enumerate(image.spacing) if other != axis)
    slices = tuple(
        SupportSlice(
            np.ascontiguousarray(image.array.take(index, axis)),
            found.outline(index),
            found.plane,
            (rows, columns),
            slice_position(image, axis, index),
            index,
            index not in found.unfinished,
        )
        for index in found.outlines
    )
    return SupportSet(
        slices,
        drawing.name,
        drawing.color,
        drawing.terminology,
        fingerprint,
        array_axes(image),
        found.strays,
    )


def support_from_mask(volume: Volume, mask: np.ndarray, **described: Any) -> SupportSet:
    """Pack up what is drawn in a mask (K, J, I) on the volume's own grid.

    described: name, color, terminology, plane and not_here of the `Drawing`. Who has more to do with the
    volume makes a `qnetseg.segment.Query` of it, which packs many drawings without normalising it again.
    Raises what `Drawing.of_mask` and `pack` raise.
    """
    drawing = Drawing.of_mask(mask, volume.shape, **described)
    turned, orientation = canonical(volume)
    image = replace(turned, array=normalise(turned.array))
    return pack(drawing, image, orientation, volume_id(volume))


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
