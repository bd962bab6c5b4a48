"""Undo of what the panel does to single slices of a drawing."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    BED,
    add_volume,
    blob,
    draw,
    empty_scene,  # noqa: F401
    linear,
    put_under,
    random_mask,
)

# isort: split

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import MaskError
from QNetSegmentLib.scene.drawings import clear_slice, copy_slice, drawn_slices, is_blank
from QNetSegmentLib.scene.segments import new_segmentation, remove_node, segment_mask
from support.masks import write_segment

masks = st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.05, 0.5]))


@given(masks, st.booleans(), st.booleans())
@settings(max_examples=25)
def test_undo_of_a_removed_slice_is_exact_and_keeps_what_was_drawn_since(first, shared, moved):
    BED.reset()
    volume = add_volume(parent=linear())
    before = random_mask(seed=first[0], share=first[1])
    node, (a, b) = draw(volume, before, ~before)
    if shared:
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
    indices = [part.index for part in drawn_slices(node, volume, "axial") if part.segment_id == a]
    if not indices:
        return
    undo = clear_slice(node, a, volume, "axial", indices[0])
    removed = before & ~segment_mask(node, a, volume)
    later = random_mask(seed=first[0] + 1, share=0.2) & ~before
    write_segment(node, a, segment_mask(node, a, volume) | later, volume)
    if moved:
        put_under(node, None)
        put_under(volume, None)
    undo()
    assert removed.any()
    assert np.array_equal(segment_mask(node, a, volume), before | later)
    assert np.array_equal(segment_mask(node, b, volume), ~before)


@given(masks, masks)
@settings(max_examples=25)
def test_undo_of_a_copied_slice_takes_out_what_was_copied_and_nothing_else(found, drawn):
    BED.reset()
    volume = add_volume()
    node, (a, b) = draw(
        volume, random_mask(seed=found[0], share=found[1]), random_mask(seed=drawn[0], share=drawn[1])
    )
    before = segment_mask(node, b, volume)
    slices = [part.index for part in drawn_slices(node, volume, "coronal") if part.segment_id == a]
    if not slices:
        return
    undo = copy_slice(node, a, node, b, volume, "coronal", slices[0])
    copied = segment_mask(node, b, volume) & ~before
    later = random_mask(seed=99, share=0.2) & ~before & ~copied
    write_segment(node, b, segment_mask(node, b, volume) | later, volume)
    undo()
    assert np.array_equal(segment_mask(node, b, volume), before | later)


def test_undo_brings_back_what_lay_outside_of_the_volume():
    volume, larger = add_volume(np.eye(4)), add_volume(np.eye(4), (9, 9, 9))
    mask = random_mask((9, 9, 9))
    node, (segment_id,) = draw(larger, mask)
    undo = clear_slice(node, segment_id, volume, "axial", 0)
    undo()
    assert np.array_equal(segment_mask(node, segment_id, larger), mask)


def test_a_blank_drawing_is_told_from_one_outside_of_the_volume():
    volume = add_volume()
    node = new_segmentation(volume, "drawing")
    segment_id = node.GetSegmentation().AddEmptySegment("", "structure")
    assert is_blank(node)
    write_segment(node, segment_id, blob(), volume)
    assert not is_blank(node)


def test_undo_of_a_segment_that_is_gone_says_so():
    volume = add_volume()
    node, (segment_id,) = draw(volume, blob())
    undo = clear_slice(node, segment_id, volume, "axial", drawn_slices(node, volume, "axial")[0].index)
    node.GetSegmentation().RemoveSegment(segment_id)
    with pytest.raises(MaskError, match="no longer"):
        undo()
    remove_node(node)
    with pytest.raises(MaskError):
        undo()
