"""Windows: where they lie, and that what they sample comes back to its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.segment.window import DEPTH, FEWEST, LEAST_SIDE, SIDE, WHOLE, Window, averaged


def disc(shape, centre, radius):
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 90),
    share=st.floats(0, 1),
    radius=st.floats(1.5, 60),
    thick=st.floats(0.3, 12),
    pixel=st.floats(0.3, 3),
)
def test_a_window_holds_the_drawing_and_has_the_network_s_shape(count, share, radius, thick, pixel):
    mask = disc((150, 140), (70, 66), radius)
    anchor = min(int(share * count), count - 1)
    window = Window.around({anchor: mask}, count, (thick, pixel, pixel))
    assert window.side % 16 == 0 and LEAST_SIDE <= window.side <= SIDE
    assert len(window.planes) % 4 == 0 and len(window.planes) <= WHOLE
    assert anchor in window.planes
    assert window.side * window.pixel >= 2 * radius * pixel  # it fits
    if len(window.planes) != DEPTH:
        assert window.planes[0] <= 0 and window.planes[-1] >= count - 1
    assert window.pixel <= pixel or window.radius >= FEWEST * 0.7 or radius < FEWEST


def test_what_a_window_samples_comes_back_to_its_pixels():
    rows, columns = np.indices((80, 90)).astype(np.float32)
    smooth = torch.from_numpy(np.stack([rows + 2 * columns, 3 * rows - columns]))
    window = Window((41.0, 40.0), 1.5, 64, np.array([0, 1, 2, 3]), 10.0, 2.0)
    sampled = window.sample(smooth, (1.0, 2.0))
    assert sampled.shape == (4, 64, 64)
    assert torch.equal(sampled[1], sampled[3])  # beyond the stack its last slice is repeated
    native, ((top, bottom), (left, right)) = window.native(sampled[:2], (80, 90), (1.0, 2.0))
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert native.shape == (2, bottom - top, right - left)
    assert torch.allclose(native[inner], smooth[:, top:bottom, left:right][inner], atol=0.05)


def test_a_window_knows_what_lies_outside_the_stack():
    window = Window((0.0, 45.0), 1.0, 64, np.array([-1, 0, 1, 2]), 10.0, 2.0)
    inside = window.inside((2, 80, 90), (1.0, 1.0))
    assert inside.shape == (4, 64, 64)
    assert not inside[0].any() and not inside[3].any()
    assert not inside[1, :31].any() and inside[1, 33:].all()


def test_a_window_moves_on_and_aside():
    window = Window((10.0, 20.0), 1.0, 64, np.arange(0, 64, 2), 10.0, 2.0)
    moved = window.moved(16, 3, -2)
    assert moved.centre == (13.0, 18.0) and moved.planes[0] == 32 and moved.step == 2
    assert moved.turned().step == -2 and moved.turned().planes[0] == moved.planes[-1]


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 100])
def test_averaging_keeps_the_field_of_view_and_the_mean(factor):
    planes = torch.arange(2 * 20 * 23, dtype=torch.float32).reshape(2, 20, 23)
    assert averaged(planes, factor).shape == planes.shape
    assert torch.allclose(averaged(torch.ones_like(planes), factor), torch.ones_like(planes))
