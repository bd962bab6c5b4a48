"""In-plane resampling between native slices and the network's image, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import GeometryError

# Spacings count as equal when they drift apart by less than this many pixels over a slice: files
# store float32, and a needless interpolation would blur.
DRIFT_TOLERANCE = 0.02


@dataclass(frozen=True)
class InPlaneGrid:
    """Native slices (H, W) and the network's square image, sharing their centre.

    native_shape: (H, W) in pixels; native_spacing: mm of (rows, columns).
    spacing: mm of the network's isotropic image; size: its edge in pixels.
    """

    native_shape: tuple[int, int]
    native_spacing: tuple[float, float]
    spacing: float = 1.25
    size: int = 256

    def __post_init__(self) -> None:
        if min(*self.native_shape, self.size) < 1:
            raise GeometryError(f"Slices of {self.native_shape} pixels cannot be resampled to {self.size}.")
        if not all(0.0 < mm < np.inf for mm in (*self.native_spacing, self.spacing)):
            raise GeometryError("Slices cannot be resampled: a pixel spacing is not a positive number.")

    def to_model(self, stack: np.ndarray, order: int = 1, fill: float = 0.0) -> np.ndarray:
        """(N, H, W) native slices -> (N, size, size) float32.

        order 1 is linear, with a Gaussian low-pass along axes that become coarser; order 0 takes the
        nearest pixel (masks). Pixels outside the native field get `fill`. Where the grids agree the
        values are copied bit for bit.
        """
        self._require(stack, self.native_shape)
        rows, columns = (
            _Resampling.along(scale * np.arange(self.size) + offset, count, order, scale if order else 1.0)
            for count, scale, offset in self._axes()
        )
        return _resample(stack, rows, columns, fill)

    def to_native(self, stack: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """(N, size, size) -> (N, H, W) float32, linear; native pixels outside the image get `fill`."""
        self._require(stack, (self.size, self.size))
        rows, columns = (
            _Resampling.along((np.arange(count) - offset) / scale, self.size, 1, 1.0)
            for count, scale, offset in self._axes()
        )
        return _resample(stack, rows, columns, fill)

    def _axes(self) -> Iterator[tuple[int, float, float]]:
        """(pixels, scale, offset) of rows and columns: native index = scale * model index + offset."""
        for count, mm in zip(self.native_shape, self.native_spacing, strict=True):
            scale = self.spacing / mm
            if abs(scale - 1.0) * max(count, self.size) < DRIFT_TOLERANCE:
                # Crop or pad by whole pixels: half a pixel off centre costs nothing, interpolation blurs.
                yield count, 1.0, float((count - self.size) // 2)
            else:
                yield count, scale, (count - 1) / 2 - scale * (self.size - 1) / 2

    @staticmethod
    def _require(stack: np.ndarray, shape: tuple[int, int]) -> None:
        if stack.ndim != 3 or stack.shape[1:] != shape:
            raise GeometryError(f"A stack of slices of shape {shape} was expected, not {stack.shape}.")


@dataclass(frozen=True)
class _Resampling:
    """One axis: `weights` (targets, sources) float32, and the targets that lie outside the source."""

    weights: np.ndarray
    outside: np.ndarray

    @classmethod
    def along(cls, positions: np.ndarray, count: int, order: int, coarsening: float) -> _Resampling:
        """Weights for sampling `count` source pixels at `positions` (in source pixels)."""
        if order not in (0, 1):
            raise ValueError(f"order must be 0 or 1, not {order}")
        # The field of view ends at the outer edges of the border pixels, half a pixel past their centres.
        outside = (positions < -0.5 - 1e-6) | (positions > count - 0.5 + 1e-6)
        inside = np.clip(positions, 0, count - 1)
        low = np.floor(inside if order else inside + 0.5 - 1e-9).astype(int)
        high = np.minimum(low + 1, count - 1)
        fraction = inside - low if order else np.zeros_like(inside)
        targets = np.arange(len(positions))
        weights = np.zeros((len(positions), count))
        np.add.at(weights, (targets, low), 1.0 - fraction)
        np.add.at(weights, (targets, high), fraction)
        if coarsening > 1.0:
            weights = weights @ _low_pass(count, (coarsening - 1.0) / 2.0)
        return cls(weights.astype(np.float32), outside)

    @property
    def is_identity(self) -> bool:
        rows, columns = self.weights.shape
        return rows == columns and bool((np.diagonal(self.weights) == 1.0).all())


def _low_pass(count: int, sigma: float) -> np.ndarray:
    """(count, count) Gaussian smoothing matrix with rows of sum 1."""
    pixels = np.arange(count)
    kernel = np.exp(-0.5 * ((pixels[:, None] - pixels[None, :]) / sigma) ** 2)
    smoothing: np.ndarray = kernel / kernel.sum(axis=1, keepdims=True)
    return smoothing


def _resample(stack: np.ndarray, rows: _Resampling, columns: _Resampling, fill: float) -> np.ndarray:
    """Apply the two separable resamplings; the identity is skipped, so it stays bit-exact."""
    # Contiguous, because sums depend on the memory order and results must not.
    out = np.ascontiguousarray(stack, dtype=np.float32)
    if not columns.is_identity:
        out = out @ columns.weights.T
    if not rows.is_identity:
        out = rows.weights @ out
    if np.may_share_memory(out, stack):
        out = out.copy()
    out[:, rows.outside, :] = fill
    out[:, :, columns.outside] = fill
    return out
