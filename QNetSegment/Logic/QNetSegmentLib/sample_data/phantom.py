"""A synthetic upper abdomen, like a fat-suppressed T2 MR: no patient, known truth, always the same.

Numpy alone, so that it is there before anything has been installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qnetseg.volume import Volume

SHAPE = (24, 160, 160)  # k, j, i
SPACING = (7.0, 2.2, 2.2)  # mm along k, j, i
EDGE = 1.6  # mm over which one tissue turns into the next
NOISE = 14.0
SEED = 7
OF_THE_ONE_BEFORE = "part"  # a tissue that belongs to the organ painted before it

Field = np.ndarray  # (K, J, I) float32


def abdomen() -> tuple[Volume, dict[str, np.ndarray]]:
    """The image on canonical axes, float32, and its truth: (K, J, I) uint8 masks by the names of the organs.

    The organs are "Liver", "Spleen", "Right kidney" and "Left kidney".
    """
    from qnetseg.volume import Volume

    rng = np.random.default_rng(SEED)
    x, y, z = (axis + 4.0 * _waves(rng, 90.0) for axis in _millimetres())
    image = np.zeros(SHAPE, np.float32)
    truth: dict[str, np.ndarray] = {}
    for name, value, inside in _tissues(rng, x, y, z):
        share = 1 / (1 + np.exp(np.clip(-inside / EDGE, -30, 30)))
        image += share * (value - image)
        if name == OF_THE_ONE_BEFORE:
            continue
        for other in truth.values():  # what is painted later lies in front
            other[share > 0.5] = 0
        if name:
            truth[name] = (share > 0.5).astype(np.uint8)
    image *= 1 + 0.12 * _waves(rng, 260.0)  # the coil's sensitivity
    real, imaginary = (_blurred(rng.standard_normal(SHAPE).astype(np.float32)) * NOISE for _ in range(2))
    image = np.hypot(image + real, imaginary).astype(np.float32)  # the noise of a magnitude image
    k, j, i = SPACING
    matrix = np.diag([-i, -j, k, 1.0])
    matrix[:3, 3] = [i * (SHAPE[2] - 1) / 2, j * (SHAPE[1] - 1) / 2, -k * (SHAPE[0] - 1) / 2]
    return Volume(image, matrix, "QNetSegment phantom"), truth


def largest_slice(mask: np.ndarray) -> np.ndarray:
    """The mask with nothing left but its largest axial slice: what a user would draw."""
    drawn = np.zeros_like(mask)
    index = int(mask.sum(axis=(1, 2)).argmax())
    drawn[index] = mask[index]
    return drawn


def _millimetres() -> tuple[Field, Field, Field]:
    """Distances from the centre to the patient's left, back and head."""
    z, y, x = np.meshgrid(
        *(
            ((np.arange(count) - (count - 1) / 2) * mm).astype(np.float32)
            for count, mm in zip(SHAPE, SPACING, strict=True)
        ),
        indexing="ij",
    )
    return x, y, z


def _tissues(
    rng: np.random.Generator, x: Field, y: Field, z: Field
) -> list[tuple[str, Field | float, Field]]:
    """Name (or none), brightness, and mm inside the surface; each covers the ones before."""

    def ball(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float, tilt: float = 0.0) -> Field:
        """About the distance inside an ellipsoid; tilt: mm to the left for every mm to the head."""
        dx, dy, dz = x - cx - tilt * (z - cz), y - cy, z - cz
        radius = np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2 + np.abs(dz / rz) ** 3)  # blunt ends, as organs have
        return (1 - radius) * min(rx, ry, rz)

    def tube(cx: float, cy: float, rx: float, ry: float) -> Field:
        return (1 - np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)) * min(rx, ry)

    body = tube(0, 0, 158, 112)
    cavity = np.minimum(tube(0, -12, 132, 82), 95 - z)
    liver = np.minimum(
        _joined(ball(-68, -8, 2, 64, 70, 78, tilt=0.1), ball(-14, -38, 22, 66, 40, 40), 14.0), cavity - 2
    )
    lungs = np.minimum(np.maximum(tube(-72, 2, 58, 72), tube(72, 2, 58, 72)), z - 52 - 0.1 * y)
    vessels = _tubes_of(liver, x, y, z)
    bowel = np.minimum(60 * (_waves(rng, 60.0) - 0.12), np.minimum(cavity - 8, 15 - y))
    ribs = np.minimum(6 - np.abs(tube(0, -4, 140, 94)), 5 - np.abs((z + 0.5 * y + 300) % 34 - 17))
    return [
        ("", 95.0, body),
        ("", 150.0, tube(0, -4, 140, 94)),
        ("", 60.0, ribs),
        ("", 70.0, cavity),  # fat, which is suppressed
        ("", 470.0, bowel),
        ("", 35.0, lungs),
        ("Spleen", 420.0, np.minimum(ball(98, 34, 34, 26, 44, 50, tilt=-0.1), cavity)),
        ("", 560.0, np.minimum(ball(58, -30, 46, 38, 30, 34), cavity)),  # the stomach and what is in it
        ("Liver", 290.0, liver),
        (OF_THE_ONE_BEFORE, 345.0, vessels),
        ("", 760.0, ball(-44, -46, -34, 13, 15, 24)),  # the gallbladder
        ("Right kidney", 480.0, ball(-56, 46, -36, 25, 27, 52, tilt=-0.12)),
        (OF_THE_ONE_BEFORE, 580.0, ball(-48, 46, -36, 9, 12, 26, tilt=-0.12)),
        ("Left kidney", 480.0, ball(58, 46, -26, 25, 27, 54, tilt=0.12)),
        (OF_THE_ONE_BEFORE, 580.0, ball(50, 46, -26, 9, 12, 27, tilt=0.12)),
        ("", 170.0, np.minimum(tube(0, 52, 25, 20), 20 - np.abs((z + 300) % 36 - 18))),  # vertebrae and discs
        ("", 80.0, tube(0, 84, 44, 12)),
        ("", 700.0, tube(0, 76, 8, 7)),  # the spinal canal
        ("", 45.0, tube(10, 26, 10, 10)),  # the aorta: flowing blood is dark
        ("", 60.0, tube(-18, 22, 13, 9)),
    ]


def _tubes_of(liver: Field, x: Field, y: Field, z: Field) -> Field:
    """Bent vessels within the liver."""
    first = 4.5 - np.hypot(y + 10 + 12 * np.sin(x / 35), z - 8 + 0.25 * x)
    second = 4.0 - np.hypot(x + 70 + 10 * np.sin(z / 30), y - 8 + 0.3 * z)
    return np.minimum(np.maximum(first, second), liver - 8)


def _joined(first: Field, second: Field, rounding: float) -> Field:
    """Inside of either, with a rounded seam."""
    return rounding * np.logaddexp(first / rounding, second / rounding) - rounding * np.float32(np.log(2)) / 2


def _waves(rng: np.random.Generator, length: float, count: int = 6) -> Field:
    """A smooth random field between -1 and 1; length: of its waves in mm."""
    axes = _millimetres()
    field = np.zeros(SHAPE, np.float32)
    for _ in range(count):
        direction = rng.standard_normal(3)
        direction *= 2 * np.pi / length / np.linalg.norm(direction)
        phase = sum(axis * np.float32(step) for axis, step in zip(axes, direction, strict=True))
        field += np.cos(phase + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    return field / count


def _blurred(noise: Field) -> Field:
    """Noise whose neighbours in a slice resemble each other, of the same strength."""
    for axis in (1, 2):
        noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / np.sqrt(6)
    return noise
