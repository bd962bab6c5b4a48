"""Canonical axes: exact, the same for every axis order and flip, and faithful to world positions."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.volume import PLANES, Orientation, Volume, array_axes, canonical, obliqueness, volume_id

SHAPE = (3, 4, 5)
ALL_48 = [
    Orientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)
]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """A turn about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def make_volume(degrees=(0.0, 0.0, 0.0), spacing=(0.7, 1.2, 5.0), origin=(-31.0, 12.0, 7.5)) -> Volume:
    """Distinct voxels on axes (k, j, i) = (S, P, L) turned by `degrees`; spacing is (i, j, k) in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(degrees) @ np.diag([-1.0, -1.0, 1.0]) * np.array(spacing)
    matrix[:3, 3] = origin
    return Volume(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), matrix, "v")


def reordered(volume: Volume, orientation: Orientation) -> Volume:
    """The same patient with another axis order: with positions carried voxel by voxel."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij")
    native = [orientation.apply(part) for part in (i, j, k)]

    def index_at(*voxel: int) -> np.ndarray:
        return np.array([part[voxel] for part in native] + [1.0])

    origin = index_at(0, 0, 0)
    steps = [index_at(*np.eye(3, dtype=int)[axis]) - origin for axis in (2, 1, 0)]
    to_native = np.column_stack([*steps, origin])
    return Volume(orientation.apply(volume.array), volume.ijk_to_ras @ to_native, volume.name)


def world(volume: Volume, value: float) -> np.ndarray:
    """RAS position of the voxel that holds `value`."""
    k, j, i = np.argwhere(volume.array == value)[0]
    return volume.ijk_to_ras @ (i, j, k, 1)


@pytest.mark.parametrize(
    "degrees", [(0, 0, 0), (12, -9, 17), (45, 0, 0), (0, 45, 0), (0, 0, 45), (30, 40, 50)]
)
def test_all_48_axis_orders_give_one_canonical_volume(degrees):
    volume = make_volume(degrees)
    expected, _ = canonical(volume)
    fingerprint = volume_id(volume)
    for orientation in ALL_48:
        other = reordered(volume, orientation)
        found, back = canonical(other)
        assert np.array_equal(found.array, expected.array), orientation
        assert np.allclose(found.ijk_to_ras, expected.ijk_to_ras, atol=1e-9)
        assert np.array_equal(back.back(found.array), other.array)
        assert volume_id(other) == fingerprint


def test_an_unturned_volume_stays_as_it_is():
    volume = make_volume()
    turned, orientation = canonical(volume)
    assert orientation == Orientation((0, 1, 2), (False, False, False))
    assert np.array_equal(turned.array, volume.array)
    assert np.array_equal(turned.ijk_to_ras, volume.ijk_to_ras)


small_turns = st.tuples(*[st.floats(-25, 25)] * 3)


@settings(max_examples=60)
@given(small_turns, st.sampled_from(ALL_48))
def test_world_positions_and_the_way_back(degrees, orientation):
    volume = reordered(make_volume(degrees), orientation)
    turned, found = canonical(volume)
    for value in (0.0, 7.0, 59.0):
        assert np.allclose(world(turned, value), world(volume, value), atol=1e-9)
    assert np.array_equal(found.back(turned.array), volume.array)
    assert np.array_equal(found.apply(volume.array), turned.array)
    directions = array_axes(turned)
    assert directions[0, 2] > 0.7 and directions[1, 1] < -0.7 and directions[2, 0] < -0.7  # S, P, L
    assert sorted(turned.spacing) == pytest.approx(sorted(volume.spacing))


@settings(max_examples=60)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from(ALL_48))
def test_any_turn_has_one_canonical_array(degrees, orientation):
    volume = make_volume(degrees)
    expected, _ = canonical(volume)
    found, _ = canonical(reordered(volume, orientation))
    assert np.array_equal(found.array, expected.array)


def test_sheared_axes_are_handled():
    volume = make_volume()
    matrix = volume.ijk_to_ras.copy()
    matrix[1, 2] += 2.0  # a tilted gantry: slices shift to the front as they rise
    tilted = Volume(volume.array, matrix)
    for orientation in ALL_48:
        assert np.array_equal(canonical(reordered(tilted, orientation))[0].array, volume.array)


def test_apply_and_back_are_views():
    array = np.zeros(SHAPE)
    for orientation in ALL_48:
        assert np.shares_memory(orientation.apply(array), array)
        assert np.shares_memory(orientation.back(orientation.apply(array)), array)


@pytest.mark.parametrize("angle", [0.0, 5.0, 20.0, 44.0])
def test_obliqueness_is_the_angle_of_the_turn(angle):
    for orientation in ALL_48[::7]:
        assert obliqueness(reordered(make_volume((angle, 0, 0)), orientation)) == pytest.approx(
            angle, abs=1e-5
        )


def test_obliqueness_never_passes_ninety_degrees_over():
    assert obliqueness(make_volume((0, 0, 80))) == pytest.approx(10.0)


@settings(max_examples=60)
@given(st.tuples(*[st.floats(-180, 180)] * 3), small_turns, st.sampled_from(ALL_48))
def test_a_query_can_be_turned_like_an_oblique_support(degrees, difference, orientation):
    """Near 45 degrees the anatomical choice is chance; relative to the support it is not."""
    support, _ = canonical(make_volume(degrees))
    matrix = support.ijk_to_ras.copy()
    matrix[:3, :3] = rotation(tuple(0.8 * angle for angle in difference)) @ matrix[:3, :3]
    query = reordered(Volume(support.array, matrix), orientation)
    found, way = canonical(query, array_axes(support))
    assert np.array_equal(found.array, support.array)
    assert np.array_equal(way.back(found.array), query.array)


def test_planes_name_the_normals():
    turned, _ = canonical(make_volume())
    normals = {"axial": (0, 0, 1), "coronal": (0, -1, 0), "sagittal": (-1, 0, 0)}
    for plane, axis in PLANES.items():
        assert np.allclose(array_axes(turned)[axis], normals[plane])


def test_the_fingerprint_sees_values_shape_and_place():
    volume = make_volume()
    same = volume_id(volume)
    assert same == volume_id(Volume(volume.array.copy(), volume.ijk_to_ras + 1e-7, "other name"))
    moved = volume.ijk_to_ras.copy()
    moved[0, 3] += 1.0
    changed = volume.array.copy()
    changed[0, 0, 0] += 1.0
    others = [
        Volume(volume.array, moved),
        Volume(changed, volume.ijk_to_ras),
        Volume(volume.array.reshape(3, 5, 4), volume.ijk_to_ras),
    ]
    assert len({same, *map(volume_id, others)}) == 4
