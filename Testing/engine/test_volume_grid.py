"""In-plane resampling: exact where the grids agree, faithful where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import GeometryError
from qnetseg.volume import InPlaneGrid

RNG = np.random.default_rng(3)


def stack_of(shape: tuple[int, int], count: int = 2) -> np.ndarray:
    return RNG.normal(size=(count, *shape)).astype(np.float32)


def centred(count: int, mm: float) -> np.ndarray:
    """Distances in mm of `count` pixels from the centre of their field."""
    return (np.arange(count) - (count - 1) / 2) * mm


@pytest.mark.parametrize("spacing", [1.25, 1.2500000186, 1.25 * (1 + 5e-8)])
def test_agreeing_grids_copy_bit_for_bit(spacing):
    grid = InPlaneGrid((64, 64), (spacing, 1.25), spacing=1.25, size=64)
    stack = stack_of((64, 64))
    for out in (grid.to_model(stack), grid.to_native(stack), grid.to_model(stack, order=0)):
        assert out.tobytes() == stack.tobytes()
        assert not np.shares_memory(out, stack)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50)
def test_equal_spacing_crops_and_pads_whole_pixels(height, width, size):
    grid = InPlaneGrid((height, width), (2.0, 2.0), spacing=2.0, size=size)
    stack = stack_of((height, width))
    model = grid.to_model(stack, fill=-7.0)
    assert model.shape == (2, size, size) and model.dtype == np.float32
    back = grid.to_native(model, fill=9.0)
    kept = back != 9.0
    assert np.array_equal(back[kept], stack[kept])
    assert kept[0].sum() == min(height, size) * min(width, size)
    assert (model == -7.0).sum() == 2 * (size * size - min(height, size) * min(width, size))


def test_cropping_keeps_the_centre():
    grid = InPlaneGrid((6, 8), (1.0, 1.0), spacing=1.0, size=4)
    stack = stack_of((6, 8))
    assert np.array_equal(grid.to_model(stack), stack[:, 1:5, 2:6])


spacings = st.floats(0.3, 4.0)
sides = st.integers(8, 48)


@given(sides, sides, spacings, spacings, spacings, sides, st.floats(-100, 100))
@settings(max_examples=60)
def test_constants_survive_and_the_field_is_kept(height, width, row_mm, column_mm, mm, size, value):
    grid = InPlaneGrid((height, width), (row_mm, column_mm), spacing=mm, size=size)
    constant = np.full((1, height, width), value, np.float32)
    model = grid.to_model(constant, fill=value)
    assert np.allclose(model, value, rtol=1e-5, atol=1e-6)
    assert np.allclose(grid.to_native(model, fill=value), value, rtol=1e-5, atol=1e-6)
    native_side = grid.native_shape[0] * row_mm
    filled = grid.to_model(constant, order=0, fill=value + 1)
    rows = int((filled[0, :, size // 2] == np.float32(value)).sum())
    assert rows <= size and abs(rows * mm - min(native_side, size * mm)) <= 2 * mm + 1e-6


@given(st.integers(20, 48), spacings, spacings)
@settings(max_examples=60)
def test_linear_images_keep_their_positions(count, native_mm, mm):
    """A ramp in mm is the same ramp on both grids, away from borders that the low-pass touches."""
    grid = InPlaneGrid((count, count), (native_mm, native_mm), spacing=mm, size=64)
    ramp = np.broadcast_to(centred(count, native_mm)[:, None], (1, count, count)).astype(np.float32)
    # Equal spacing may shift the centre by half a pixel, never more.
    model = grid.to_model(ramp)[0, :, 32]
    position = centred(64, mm)
    margin = 3.0 * max(native_mm, mm)
    inner = np.abs(position) < count * native_mm / 2 - margin
    assert np.allclose(model[inner], position[inner], atol=0.5 * mm + 1e-3 if native_mm == mm else 1e-2 * mm)
    back = grid.to_native(grid.to_model(ramp))[0, :, count // 2]
    place = centred(count, native_mm)
    inner = (np.abs(place) < count * native_mm / 2 - 2 * margin) & (np.abs(place) < 32 * mm - margin)
    assert np.allclose(back[inner], place[inner], atol=0.02 * max(native_mm, mm))


def test_coarsening_does_not_alias():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 128)[None, None].repeat(256, axis=1)
    grid = InPlaneGrid((256, 256), (0.5, 0.5), spacing=2.0, size=64)
    assert np.abs(grid.to_model(stripes)[0, 8:-8, 8:-8] - 0.5).max() < 0.02


def test_masks_stay_binary_with_order_zero():
    mask = (RNG.random((3, 50, 40)) > 0.5).astype(np.uint8)
    out = InPlaneGrid((50, 40), (1.7, 0.6), spacing=1.1, size=48).to_model(mask, order=0)
    assert out.dtype == np.float32 and set(np.unique(out)) <= {0.0, 1.0}


def test_a_disc_returns_to_where_it_was():
    y, x = np.meshgrid(centred(120, 0.8), centred(90, 1.1), indexing="ij")
    disc = ((y - 10) ** 2 + (x + 12) ** 2 < 15**2).astype(np.float32)[None]
    grid = InPlaneGrid((120, 90), (0.8, 1.1))
    back = grid.to_native(grid.to_model(disc)) > 0.5
    dice = 2 * (back & (disc > 0)).sum() / (back.sum() + disc.sum())
    assert dice > 0.97


def test_views_and_other_types_are_taken():
    stack = stack_of((32, 24)).transpose(0, 2, 1)[:, ::-1]
    grid = InPlaneGrid((24, 32), (1.0, 1.3), spacing=1.5, size=20)
    assert np.array_equal(grid.to_model(stack), grid.to_model(np.ascontiguousarray(stack)))
    assert grid.to_model((stack * 10).astype(np.int16)).dtype == np.float32


def test_wrong_use_is_refused():
    grid = InPlaneGrid((10, 12), (1.0, 1.0), size=8)
    for shape in [(10, 12), (1, 12, 10), (1, 8, 8)]:
        with pytest.raises(GeometryError, match="expected"):
            grid.to_model(np.zeros(shape, np.float32))
    with pytest.raises(GeometryError, match="expected"):
        grid.to_native(np.zeros((1, 10, 12), np.float32))
    with pytest.raises(ValueError, match="order"):
        grid.to_model(np.zeros((1, 10, 12), np.float32), order=3)
    for shape, mm in [
        ((0, 5), (1.0, 1.0)),
        ((5, 5), (0.0, 1.0)),
        ((5, 5), (1.0, np.nan)),
        ((5, 5), (np.inf, 1.0)),
    ]:
        with pytest.raises(GeometryError):
            InPlaneGrid(shape, mm)
