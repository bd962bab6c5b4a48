"""Masks kept where they are not empty: the same voxels as whole arrays, after every operation."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qnetseg.boxes import Box

masks = arrays(bool, st.tuples(*[st.integers(1, 6)] * 3), elements=st.booleans())
sparse = masks.map(lambda mask: mask & (np.arange(mask.size).reshape(mask.shape) % 7 == 0))


@given(masks | sparse)
def test_a_box_holds_the_mask_and_nothing_around_it(mask):
    box = Box.around(mask)
    assert np.array_equal(box.placed(mask.shape), mask)
    assert box.is_empty is not mask.any()
    for axis in range(3):
        if not box.is_empty:
            assert box.mask.take(0, axis).any() and box.mask.take(-1, axis).any()


@given(arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 3)), st.integers(1, 3))
def test_one_label_of_a_shared_label_map_is_taken(labels, label):
    box = Box.around(labels, label, start=(2, -1, 3))
    shifted = Box(box.mask, tuple(a - b for a, b in zip(box.start, (2, -1, 3), strict=True)))
    assert np.array_equal(shifted.placed(labels.shape) if not box.is_empty else labels == 99, labels == label)


@given(sparse, st.tuples(*[st.integers(-7, 7)] * 3))
def test_what_lies_beyond_the_grid_is_clipped_only_when_asked(mask, shift):
    box = Box.around(mask, start=shift)
    whole = np.zeros((20, 20, 20), bool)
    found = np.argwhere(mask) + shift
    inside = found[((found >= 0) & (found < 5)).all(axis=1)]
    whole[tuple(inside.T)] = True
    assert np.array_equal(box.placed((5, 5, 5)), whole[:5, :5, :5])
    assert box.mask.sum() == mask.sum()
    assert box.clipped((5, 5, 5)).mask.sum() == len(inside)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_moving_to_other_axes_moves_every_voxel(order):
    mask = np.random.default_rng(0).random((3, 4, 5)) < 0.4
    for signs in product((1, -1), repeat=3):
        steps = np.zeros((4, 4))
        steps[3, 3] = 1
        for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
            steps[row, column] = sign
        steps[:3, 3] = (10, 20, 30)
        moved = Box.around(mask).moved(steps)
        points = np.argwhere(mask)[:, ::-1]  # i, j, k
        expected = {tuple(p) for p in (points @ steps[:3, :3].T + steps[:3, 3]).astype(int).tolist()}
        found = {tuple(p) for p in (np.argwhere(moved.mask) + moved.start)[:, ::-1].tolist()}
        assert found == expected


@given(sparse, sparse, st.tuples(*[st.integers(-4, 4)] * 3))
def test_joined_boxes_have_the_voxels_of_both(first, second, shift):
    a, b = Box.around(first, start=(4, 4, 4)), Box.around(second, start=tuple(4 + s for s in shift))
    shape = (16, 16, 16)
    assert np.array_equal(a.joined(b).placed(shape), a.placed(shape) | b.placed(shape))


@given(masks, st.integers(0, 2), st.integers(-1, 7))
def test_a_slice_is_taken_out(mask, axis, at):
    box, shape = Box.around(mask), mask.shape
    where = np.arange(shape[axis]).reshape([-1 if other == axis else 1 for other in range(3)]) == at
    assert np.array_equal(box.on_slice(axis, at).placed(shape), mask & where)
    assert np.array_equal(box.placed(shape), mask)
