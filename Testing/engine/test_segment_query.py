"""A volume that is prepared once, for many drawings and structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qnetseg.boxes import Box
from qnetseg.errors import MaskError, VolumeError
from qnetseg.segment import Query, SegmentOptions, segment_volume
from qnetseg.segment import query as module
from qnetseg.segment.query import Stack
from qnetseg.volume import Drawing, Volume, support_from_mask, volume_id
from qnetseg_lab.evaluation.body_phantom import body_phantom, largest_slice
from support.walker_network import simple_networks

EXACT = SegmentOptions(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def phantom():
    return body_phantom((12, 64, 60), (8.0, 4.0, 4.0))


def drawing_of(mask, **described) -> Drawing:
    return Drawing.of_mask(mask, mask.shape, **described)


def same_support(one, other) -> bool:
    slices = zip(one.slices, other.slices, strict=True)
    return (one.plane, one.volume_id, one.strays) == (other.plane, other.volume_id, other.strays) and all(
        np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask) and a.index == b.index
        for a, b in slices
    )


def test_many_structures_need_one_normalising_and_one_hash(phantom, monkeypatch):
    volume, truth = phantom
    calls = []
    for name in ("normalise", "volume_id"):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=function, n=name: calls.append(n) or f(*a))
    query, networks = Query.of(volume), simple_networks()
    drawing = drawing_of(largest_slice(truth))
    for _ in range(3):
        segment_volume(drawing, query, networks, EXACT)
    segment_volume(query.pack(drawing), query, networks, EXACT)
    assert sorted(calls) == ["normalise", "volume_id"]
    assert Query.of(query) is query


def test_a_query_gives_what_its_volume_gives(phantom):
    volume, truth = phantom
    networks, drawn = simple_networks(), largest_slice(truth)
    expected = segment_volume(support_from_mask(volume, drawn), volume, networks, EXACT)
    found = segment_volume(drawing_of(drawn), Query.of(volume), networks, EXACT)
    assert np.array_equal(found.mask, expected.mask)
    assert np.array_equal(found.confidence, expected.confidence)


def test_a_query_lets_the_raw_values_go_and_keeps_its_grid(phantom):
    volume, _ = phantom
    query = Query.of(volume)
    assert query.shape == volume.shape and np.array_equal(query.grid.ijk_to_ras, volume.ijk_to_ras)
    assert query.grid.array.strides == (0, 0, 0)
    assert query.fingerprint == volume_id(volume)
    assert query.image.array.dtype == np.float32 and query.image.array.flags.c_contiguous
    assert query.nbytes == volume.array.nbytes
    with pytest.raises(VolumeError, match="constant"):
        Query.of(Volume(np.ones((3, 3, 3), np.float32), np.eye(4)))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_packing_a_box_is_packing_the_whole_mask(axes, flips, phantom):
    volume, truth = phantom
    cut = tuple(slice(None, None, step) for step in flips)
    # A volume whose file has its axes in another order; no value moves in space.
    turned_matrix = np.eye(4)
    turned_matrix[:3, :3] = 0
    for new, old in enumerate(axes):
        turned_matrix[2 - old, 2 - new] = flips[new]
        if flips[new] < 0:
            turned_matrix[2 - old, 3] = volume.shape[old] - 1
    turned = Volume(volume.array.transpose(axes)[cut], volume.ijk_to_ras @ turned_matrix, "turned")
    drawn = largest_slice(truth)
    drawn[2] = truth[2]
    mask = drawn.transpose(axes)[cut]
    box = Box.around(mask)
    assert box.mask.size < mask.size
    wide = Drawing(Box(mask > 0, (0, 0, 0)), not_here=(11,))
    tight = Drawing(box, not_here=(11,))
    query = Query.of(turned)
    assert same_support(query.pack(tight), query.pack(wide))
    assert same_support(query.pack(tight), support_from_mask(volume, drawn, not_here=(11,)))


def test_a_drawing_beside_the_volume_is_refused(phantom):
    query = Query.of(phantom[0])
    far = Drawing(Box(np.ones((1, 2, 2), bool), (40, 0, 0)), "liver")
    with pytest.raises(MaskError, match="'liver' lies outside"):
        query.pack(far)
    partly = query.pack(replace(far, box=Box(np.ones((1, 4, 4), bool), (3, -2, -2)), plane="axial"))
    assert partly.slices[0].mask.sum() == 4 and partly.slices[0].mask[:2, :2].all()


@pytest.mark.parametrize(
    ("slices", "mm", "pixel", "step"),
    [
        (200, 1.0, 1.0, 5),
        (200, 2.4, 1.0, 2),
        (100, 1.0, 1.0, 3),  # at least 32 planes
        (60, 1.0, 1.0, 1),
        (36, 8.0, 1.0, 1),
        (200, 0.05, 0.05, 5),  # as far apart for what they show
    ],
)
def test_planes_lie_about_five_millimetres_apart_in_a_body(slices, mm, pixel, step):
    shape = (slices, 24, 20)
    stack = Stack(np.zeros(shape, np.float32), 0, (None, None), (mm, 5 * pixel, 5 * pixel), False)
    assert stack.planes.tolist() == list(range(0, slices, step)) and stack.gap == pytest.approx(step * mm)
    numbers = np.broadcast_to(np.arange(len(stack.planes))[:, None, None], (len(stack.planes), 2, 2))
    nearest = stack.between_planes(numbers)[:, 0, 0]
    assert nearest.shape == (slices,) and (nearest[stack.planes] == np.arange(len(stack.planes))).all()
    assert (np.abs(stack.planes[nearest] - np.arange(slices))[: stack.planes[-1]] <= step // 2).all()
