"""The list of drawn slices, supports made of them, and clearing and copying."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    BED,
    LIVER,
    SHAPE,
    add_volume,
    axis_orders,
    blob,
    development_volume,
    draw,
    empty_scene,  # noqa: F401
    inventory,
    linear,
    oblique,
    put_under,
    random_mask,
    support_sets,
    volume_at,
    volume_of,
    warped,
)

# isort: split

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import InputError, MaskError, VolumeError
from qnetseg.volume import PLANES, canonical, support_from_mask
from QNetSegmentLib.scene.drawings import (
    clear_slice,
    copy_slice,
    drawn_slices,
    further_slice,
    position_text,
)
from QNetSegmentLib.scene.segments import new_segmentation, segment_mask
from QNetSegmentLib.scene.volumes import pair_of
from support.masks import write_segment


def on_slices(volume, plane, *indices, shape=SHAPE):
    """(K, J, I) mask of irregular pixels on canonical slices of a volume node."""
    _, orientation = canonical(volume_of(volume))
    turned = orientation.apply(np.zeros(shape, bool)).copy()
    where = [slice(None)] * 3
    for index in indices:
        where[PLANES[plane]] = index
        part = turned[tuple(where)]
        part[1:4, 1:4] = np.random.default_rng(index).random(part[1:4, 1:4].shape) < 0.6
        part[2, 2] = True
    return orientation.back(turned)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("number", range(0, 48, 3))
def test_the_list_says_what_the_engine_takes_as_support(number, plane):
    volume = add_volume(axis_orders()[number])
    mask = on_slices(volume, plane, 1, 3)
    node, (segment_id,) = draw(volume, mask)
    expected = support_from_mask(volume_of(volume), mask)
    found = drawn_slices(node, volume)
    assert [(part.plane, part.index) for part in found] == [(p.plane, p.index) for p in expected.slices]
    for listed, part in zip(found, expected.slices, strict=True):
        assert (listed.segment_id, listed.structure) == (segment_id, "liver")
        assert listed.area_mm2 == pytest.approx(part.mask.sum() * np.prod(part.spacing))


@given(st.integers(0, 47), st.integers(0, 99), st.sampled_from([0.01, 0.05, 0.3, 1.0]))
@settings(max_examples=60)
def test_any_drawing_is_listed_as_the_engine_reads_it(number, seed, share):
    BED.reset()
    volume = add_volume(axis_orders()[number])
    mask = random_mask(seed=seed, share=share)
    node, _ = draw(volume, mask)
    for plane in (None, *PLANES):
        found = [(part.plane, part.index, part.area_mm2) for part in drawn_slices(node, volume, plane)]
        if not mask.any():
            assert not found
            continue
        support = support_from_mask(volume_of(volume), mask, plane=plane)
        drawn = [part for part in found if part[1] not in support.strays]  # strays are listed to be erased
        expected = [part for part in support.slices if part.finished]
        if len(expected) == len(support.slices):  # no strips of a tilted drawing
            assert [part[:2] for part in drawn] == [(part.plane, part.index) for part in expected]
        areas = {part.index: part.mask.sum() * np.prod(part.spacing) for part in expected}
        assert areas == pytest.approx({part[1]: part[2] for part in drawn if part[1] in areas})


@pytest.mark.parametrize("kind", ["none", "linear", "grid"])
@pytest.mark.parametrize("left_handed", [False, True])
def test_the_center_is_the_middle_of_what_was_drawn_in_the_world(left_handed, kind):
    parent = {"none": None, "linear": linear(), "grid": warped("grid")}[kind]
    volume = add_volume(oblique(left_handed=left_handed), parent=parent)
    mask = np.zeros(SHAPE, bool)
    mask[2, 2:5, 3:8] = True
    node, _ = draw(volume, mask)
    (part,) = drawn_slices(node, volume)
    local = (oblique(left_handed=left_handed) @ (5.0, 3.0, 2.0, 1.0))[:3]
    world = [0.0, 0.0, 0.0]
    volume.TransformPointToWorld(local, world)
    assert np.allclose(part.center, world, atol=1e-6)
    assert part.area_mm2 == pytest.approx(15 * 0.9 * 1.2)
    axis, letters = (2, "IS")
    assert part.position == f"{letters[world[axis] >= 0]} {abs(world[axis]):.1f} mm"


@pytest.mark.parametrize(
    ("plane", "world", "text"),
    [
        ("axial", (1, 2, 45.24), "S 45.2 mm"),
        ("axial", (1, 2, -45.26), "I 45.3 mm"),
        ("coronal", (1, 2.0, 3), "A 2.0 mm"),
        ("coronal", (1, -2.0, 3), "P 2.0 mm"),
        ("sagittal", (1.0, 2, 3), "R 1.0 mm"),
        ("sagittal", (-1.0, 2, 3), "L 1.0 mm"),
        ("sagittal", (-0.01, 2, 3), "R 0.0 mm"),
    ],
)
def test_positions_read_as_in_the_slice_views(plane, world, text):
    assert position_text(plane, world) == text


def test_segments_are_listed_in_their_order_and_empty_ones_not_at_all():
    volume = add_volume()
    masks = on_slices(volume, "axial", 1, 2), np.zeros(SHAPE, bool), on_slices(volume, "coronal", 4)
    node, (liver, _, kidney) = draw(volume, *masks)
    found = [(part.segment_id, part.plane, part.index) for part in drawn_slices(node, volume)]
    assert found == [(liver, "axial", 1), (liver, "axial", 2), (kidney, "coronal", 4)]
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert [(part.segment_id, part.plane, part.index) for part in drawn_slices(node, volume)] == found


def test_an_empty_segment_of_slicers_own_button_is_not_listed():
    volume = add_volume()
    node = new_segmentation(volume, "drawing")
    node.GetSegmentation().AddEmptySegment("", "Segment_1")
    assert drawn_slices(node, volume) == []
    with pytest.raises(MaskError, match="Nothing"):
        support_sets(node, volume, volume_of(volume))


def test_empty_segments_of_slicers_own_button_are_filled_one_by_one():
    """They all share one label map that has no voxel yet."""
    volume = add_volume(parent=linear())
    result, (source,) = draw(volume, blob())
    node = new_segmentation(volume, "drawing")
    put_under(node, None)
    ids = [node.GetSegmentation().AddEmptySegment("", f"Segment_{number}") for number in range(3)]
    undo = {}
    for index, segment_id in zip((1, 3, 2), ids, strict=True):
        undo[segment_id] = copy_slice(result, source, node, segment_id, volume, "axial", index)
    found = [(part.segment_id, part.index) for part in drawn_slices(node, volume, "axial")]
    assert found == list(zip(ids, (1, 3, 2), strict=True))
    undo[ids[1]]()
    assert [part.segment_id for part in drawn_slices(node, volume, "axial")] == [ids[0], ids[2]]


@pytest.mark.parametrize(
    ("drawn", "further"), [((1,), 5), ((1, 4), 8), ((5,), 1), ((3, 6), 8), ((2, 3), 7), ((0, 8), 8)]
)
def test_the_next_slice_to_draw_lies_beyond_the_drawn_ones_or_before_them(drawn, further):
    volume = add_volume(np.diag([1.0, 1.0, 5.0, 1.0]), (9, 9, 9))
    node, _ = draw(volume, on_slices(volume, "axial", *drawn, shape=(9, 9, 9)))
    assert further_slice(volume, drawn_slices(node, volume, "axial")) == further


def test_listing_changes_nothing():
    volume = add_volume()
    node, _ = draw(volume, random_mask())
    before = inventory(), node.GetMTime(), node.GetSegmentation().GetMTime(), node.GetDisplayNode().GetMTime()
    drawn_slices(node, volume)
    after = inventory(), node.GetMTime(), node.GetSegmentation().GetMTime(), node.GetDisplayNode().GetMTime()
    assert before == after


def test_parts_outside_of_the_volume_are_not_listed():
    volume, larger = add_volume(np.eye(4)), add_volume(np.eye(4), (9, 9, 9))
    mask = np.zeros((9, 9, 9), bool)
    mask[[3, 7], 2, 2] = True
    node, _ = draw(larger, mask)
    assert [part.index for part in drawn_slices(node, volume, "axial")] == [3]
    assert [part.index for part in drawn_slices(node, larger, "axial")] == [3, 7]
    mask[3] = False
    write_segment(node, node.GetSegmentation().GetNthSegmentID(0), mask, larger)
    assert drawn_slices(node, volume) == []
    with pytest.raises(MaskError, match="outside"):
        support_sets(node, volume, volume_of(volume))


def test_what_is_gone_is_named():
    volume = add_volume()
    node, _ = draw(volume, random_mask())
    with pytest.raises(VolumeError):
        drawn_slices(node, None)
    with pytest.raises(MaskError):
        drawn_slices(None, volume)


@pytest.mark.parametrize("kind", ["none", "linear", "grid"])
@pytest.mark.parametrize("left_handed", [False, True])
def test_supports_are_those_of_the_engine(left_handed, kind):
    parent = {"none": None, "linear": linear(), "grid": warped("grid")}[kind]
    volume_node = add_volume(oblique(left_handed=left_handed), parent=parent)
    masks = on_slices(volume_node, "axial", 1, 2), np.zeros(SHAPE, bool), on_slices(volume_node, "coronal", 4)
    node, ids = draw(volume_node, *masks)
    volume = volume_of(volume_node)
    supports = support_sets(node, volume_node, volume)
    assert [support.name for support in supports] == ["liver", "kidney"]
    for support, mask in zip(supports, (masks[0], masks[2]), strict=True):
        expected = support_from_mask(volume, mask)
        assert support.color == pytest.approx((0.2, 0.4, 0.6)) and support.terminology == LIVER
        assert support.volume_id == expected.volume_id
        for a, b in zip(support.slices, expected.slices, strict=True):
            assert (a.plane, a.index) == (b.plane, b.index)
            assert np.array_equal(a.mask, b.mask) and np.array_equal(a.image, b.image)
    (one,) = support_sets(node, volume_node, volume, segment_ids=[ids[2]], plane="axial")
    assert one.name == "kidney" and one.plane == "axial"


@pytest.mark.parametrize("plane", PLANES)
def test_a_chosen_plane_is_the_one_of_the_list_also_beside_a_turned_query(plane):
    """A transform of 90 degrees gives the planes other names, but the user chose from the list."""
    turn = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    query_node, support_node = add_volume(parent=linear(turn)), add_volume()
    node, _ = draw(support_node, random_mask())
    _, support, _ = pair_of(query_node, support_node)
    (found,) = support_sets(node, support_node, volume_at(support), plane=plane)
    listed = drawn_slices(node, support_node, plane)
    areas = sorted(part.mask.sum() * np.prod(part.spacing) for part in found.slices)
    assert np.allclose(areas, sorted(part.area_mm2 for part in listed))


def test_the_development_data_give_the_engines_supports(development_data):
    volume_node, _ = development_volume(development_data)
    volume = volume_of(volume_node)
    mask = on_slices(volume_node, "axial", 3, 5, shape=volume.shape)
    node, _ = draw(volume_node, mask)
    (support,) = support_sets(node, volume_node, volume)
    assert [part.index for part in support.slices] == [part.index for part in drawn_slices(node, volume_node)]
    assert [part.index for part in support.slices] == [3, 5]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("number", range(0, 48, 7))
def test_a_slice_is_cleared_and_the_others_stay(number, plane):
    volume = add_volume(axis_orders()[number])
    mask = on_slices(volume, plane, 1, 3)
    node, (segment_id, other) = draw(volume, mask, on_slices(volume, plane, 1))
    clear_slice(node, segment_id, volume, plane, 1)
    listed = [(part.segment_id, part.index) for part in drawn_slices(node, volume, plane)]
    assert listed == [(segment_id, 3), (other, 1)]
    clear_slice(node, segment_id, volume, plane, 3)
    assert not segment_mask(node, segment_id, volume).any()
    clear_slice(node, segment_id, volume, plane, 3)


def test_clearing_in_a_shared_label_map_spares_the_neighbour():
    volume = add_volume()
    left, right = np.zeros((2, *SHAPE), bool)
    left[2, :, :4], right[2, :, 4:] = True, True
    node, (a, b) = draw(volume, left, right)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    clear_slice(node, a, volume, "axial", 2)
    assert [part.segment_id for part in drawn_slices(node, volume)] == [b]
    assert np.array_equal(segment_mask(node, b, volume), right)


def test_clearing_spares_what_lies_outside_of_the_volume():
    volume, larger = add_volume(np.eye(4)), add_volume(np.eye(4), (9, 9, 9))
    mask = np.zeros((9, 9, 9), bool)
    mask[[3, 7], 2, 2] = True
    node, (segment_id,) = draw(larger, mask)
    clear_slice(node, segment_id, volume, "axial", 3)
    mask[3] = False
    assert np.array_equal(segment_mask(node, segment_id, larger), mask)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("kind", ["none", "linear", "grid"])
def test_a_found_slice_becomes_a_support(plane, kind):
    parent = {"none": None, "linear": linear(), "grid": warped("grid")}[kind]
    volume = add_volume(axis_orders()[17], parent=parent)
    drawing, (target,) = draw(volume, on_slices(volume, plane, 1))
    result, (source,) = draw(volume, blob())
    copy_slice(result, source, drawing, target, volume, plane, 3)
    _, orientation = canonical(volume_of(volume))
    expected = orientation.apply(on_slices(volume, plane, 1)).copy()
    where = [slice(None)] * 3
    where[PLANES[plane]] = 3
    expected[tuple(where)] |= orientation.apply(blob())[tuple(where)]
    assert np.array_equal(segment_mask(drawing, target, volume), orientation.back(expected))
    assert np.array_equal(segment_mask(result, source, volume), blob())


def test_a_slice_is_copied_between_nodes_under_different_transforms():
    volume = add_volume(parent=linear())
    drawing, (target,) = draw(volume, np.zeros(SHAPE, bool))
    result, (source,) = draw(volume, blob())
    put_under(drawing, None)
    copy_slice(result, source, drawing, target, volume, "axial", 2)
    expected = np.zeros(SHAPE, bool)
    expected[2] = blob()[2]
    assert np.array_equal(segment_mask(drawing, target, volume), expected)


def test_slices_that_are_not_there_are_refused():
    volume = add_volume()
    node, (segment_id, empty) = draw(volume, blob(), np.zeros(SHAPE, bool))
    before = segment_mask(node, segment_id, volume)
    for plane, index in (("axial", 5), ("axial", -1), ("oblique", 0)):
        with pytest.raises(InputError, match="slice"):
            clear_slice(node, segment_id, volume, plane, index)
        with pytest.raises(InputError, match="slice"):
            copy_slice(node, segment_id, node, empty, volume, plane, index)
    with pytest.raises(MaskError, match="empty"):
        copy_slice(node, empty, node, segment_id, volume, "axial", 1)
    assert np.array_equal(segment_mask(node, segment_id, volume), before)
