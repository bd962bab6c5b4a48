"""The patient that was drawn on, in little: enough to find the same place in another one.

It goes with the drawing into a support file. What is kept are planes some 5 mm apart, of 256 x 256 pixels and
8 bits: they show the patient, and have to be kept as private as the volume itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..memory import Memory
from ..parsing import number

MOST_REMEMBERED = 4  # networks by which an image was described, of up to 4 MiB for each plane
SPACINGS = (1e-6, 1e5)  # mm
FARTHEST_VALUE = 1e6  # standard deviations
MOST_ML = 1e6  # a thousand litres

_KNOWN: WeakValueDictionary[bytes, PatientImage] = WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class PatientImage:
    """Planes of a normalised volume in the plane of a drawing, the same way up.

    Attributes:
        planes: (P, N, N) uint8.
        values: the normalised intensities that 0 and 255 stand for.
        spacing: mm from plane to plane, and from pixel to pixel.
        memory: what is made of it for all structures.
    """

    planes: np.ndarray
    values: tuple[float, float]
    spacing: tuple[float, float]
    memory: Memory = field(default_factory=lambda: Memory(MOST_REMEMBERED), repr=False)

    @classmethod
    def of(cls, planes: np.ndarray, spacing: tuple[float, float]) -> PatientImage:
        """From planes (P, N, N) float32."""
        low, high = float(planes.min()), float(planes.max())
        scaled = (planes - low) * (255 / max(high - low, 1e-6))
        return cls.known(scaled.round().astype(np.uint8), (low, high), spacing)

    @classmethod
    def known(
        cls, planes: np.ndarray, values: tuple[float, float], spacing: tuple[float, float]
    ) -> PatientImage:
        """The same object for the same content, so that what was made of one file serves for the next."""
        content = repr((planes.shape, values, spacing)).encode() + planes.tobytes()
        digest = hashlib.sha256(content).digest()
        found = _KNOWN.get(digest)
        if found is None:
            found = _KNOWN[digest] = cls(planes, values, spacing)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: without what was made of it."""
        return PatientImage.known, (self.planes, self.values, self.spacing)

    @property
    def intensities(self) -> np.ndarray:
        """(P, N, N) float32, normalised."""
        low, high = self.values
        return self.planes * np.float32((high - low) / 255) + np.float32(low)


@dataclass(frozen=True, eq=False)
class Patient:
    """A patient and its structure.

    Attributes:
        image: shared by all structures that were drawn on one volume in one plane.
        structure: (P, N, N) uint8, how much of a pixel the whole structure covers; 255 is all of it.
        volume_ml: of the whole structure.
    """

    image: PatientImage
    structure: np.ndarray
    volume_ml: float

    @property
    def covered(self) -> np.ndarray:
        """(P, N, N) float32, 0 to 1: how much of a pixel the structure covers."""
        return self.structure * np.float32(1 / 255)

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by their names in a support file."""
        return {"patient_image": self.image.planes, "patient_structure": self.structure}

    def header(self) -> dict[str, Any]:
        """The rest, as JSON."""
        image = self.image
        return {"values": list(image.values), "spacing": list(image.spacing), "volume_ml": self.volume_ml}

    @classmethod
    def loaded(cls, header: dict[str, Any], image: np.ndarray, structure: np.ndarray) -> Patient:
        """From a file, which may come from anywhere. Raises ValueError, TypeError and KeyError."""
        square = image.ndim == 3 and image.shape[1] == image.shape[2] and image.size > 0
        if not square or image.shape != structure.shape or {image.dtype, structure.dtype} != {np.dtype("u1")}:
            raise ValueError("a patient's arrays of a wrong shape or type")
        low, high = (number(value, -FARTHEST_VALUE, FARTHEST_VALUE) for value in header["values"])
        gap, pixel = (number(mm, *SPACINGS) for mm in header["spacing"])
        if low > high:
            raise ValueError("a patient's values the wrong way round")
        volume_ml = number(header["volume_ml"], 0, MOST_ML)
        return cls(PatientImage.known(image, (low, high), (gap, pixel)), structure, volume_ml)
