"""Volume.checked refuses what cannot be segmented; normalise cuts and standardises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnetseg.errors import GeometryError, VolumeError
from qnetseg.volume import Volume, normalise

RAMP = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i8", "f2", "f4", "f8", ">i2"])
def test_any_real_type_becomes_float32(dtype):
    volume = Volume.checked(RAMP.astype(dtype), np.eye(4), "ramp")
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, RAMP)
    assert (volume.shape, volume.name) == ((2, 3, 4), "ramp")


def test_float32_is_not_copied():
    array = RAMP.astype(np.float32)
    assert np.shares_memory(Volume.checked(array, np.eye(4)).array, array)


def test_spacing_is_in_array_order():
    turned = np.diag([1.5, 2.0, 5.0, 1.0])[:, [1, 0, 2, 3]]
    assert Volume.checked(RAMP, turned).spacing == (5.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (RAMP[0], "2 dimensions"),
        (RAMP[None], "4 dimensions"),
        (np.zeros((0, 3, 4)), "empty"),
        (np.full((2, 3, 4), 7.0), "constant: every voxel has the value 7"),
        (np.where(RAMP == 5, np.nan, RAMP), "NaN or infinite"),
        (np.where(RAMP == 5, np.inf, RAMP), "NaN or infinite"),
        (np.where(RAMP == 5, -np.inf, RAMP), "NaN or infinite"),
        (np.where(RAMP == 5, 1e300, RAMP), "NaN or infinite"),  # finite, but not as float32
        (RAMP.astype(complex), "complex128"),
        (RAMP.astype(str), "not a real number"),
    ],
)
def test_unusable_arrays_are_refused_by_name(array, words):
    with pytest.raises(VolumeError, match=words) as caught:
        Volume.checked(array, np.eye(4), "Abdomen 3")
    assert "'Abdomen 3'" in caught.value.message


def matrix_with(**entries: float) -> np.ndarray:
    matrix = np.eye(4)
    for place, value in entries.items():
        matrix[int(place[1]), int(place[2])] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(3), "4x4"),
        ("left", "not numeric"),
        (matrix_with(m03=np.nan), "4x4 matrix of finite numbers"),
        (matrix_with(m00=0.0), "spacing along an axis is zero"),
        (matrix_with(m00=0.0, m10=1.0), "singular"),
        (matrix_with(m22=1e-4, m02=1.0), "singular"),
        (matrix_with(m30=1.0), "last row"),
    ],
)
def test_unusable_matrices_are_refused(matrix, words):
    with pytest.raises(GeometryError, match=words):
        Volume.checked(RAMP, matrix)


def test_the_matrix_is_a_private_copy():
    matrix = np.eye(4)
    volume = Volume.checked(RAMP, matrix)
    matrix[0, 0] = 9.0
    assert volume.ijk_to_ras[0, 0] == 1.0


@given(
    hnp.arrays(np.float32, (3, 4, 5), elements=st.integers(-1000, 1000), fill=st.nothing()).filter(
        lambda array: array.min() < array.max()
    ),
)
def test_normalised_volumes_have_mean_zero_and_deviation_one(array):
    before = array.copy()
    out = normalise(array)
    assert out.dtype == np.float32 and out.shape == array.shape
    assert abs(float(out.mean(dtype=np.float64))) < 1e-5
    assert abs(float(out.std(dtype=np.float64)) - 1.0) < 1e-5
    assert np.array_equal(array, before)
    assert (np.diff(out.ravel()[np.argsort(array, axis=None)]) >= 0).all()  # the order of intensities stays


def test_the_cut_takes_the_brightest_share_only_and_only_once():
    array = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    array[9, 9, 9] = 1e6
    out = normalise(array)
    values, counts = np.unique(out, return_counts=True)
    assert counts[-1] == 1000 - 994 and len(values) == 995  # 994 and everything above became one value
    assert np.array_equal(normalise(np.minimum(array, 994)), out)


def test_statistics_are_exact_on_a_large_offset():
    array = 1e6 + np.random.default_rng(0).normal(0, 50, (8, 64, 64)).astype(np.float32)
    out = normalise(array.astype(np.float32)).astype(np.float64)
    assert abs(out.mean()) < 1e-3 and abs(out.std() - 1.0) < 1e-4  # at 1e6 float32 has steps of 0.06


def test_an_almost_empty_image_is_not_cut_to_nothing():
    array = np.zeros((10, 10, 10), np.float32)
    array[5, 5, 5] = 1.0
    assert normalise(array).max() > 1.0


def test_normalise_refuses_constants():
    with pytest.raises(VolumeError, match="constant"):
        normalise(np.ones((2, 2, 2), np.float32))


def body(seed=0):
    """(8, 64, 64) float32: air at about -1000 around soft tissue of -100 to 60, and where the field ends."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[-31.5:32, -31.5:32]
    radius = np.hypot(rows, columns)
    image = np.where(radius < 24, 40.0, np.where(radius < 27, -100.0, -1000.0)) + rng.normal(
        0, 12, (8, 64, 64)
    )
    return image.astype(np.float32), np.broadcast_to(radius > 31, image.shape)


@pytest.mark.parametrize("padding", [-2000, -3024, -32768, -1e30])
def test_padding_far_below_the_image_changes_little(padding):
    image, outside = body()
    plain = normalise(image)
    image[outside] = padding
    padded = normalise(image)
    inside = ~outside
    assert np.abs(padded - plain)[inside].max() < 0.2
    assert (padded[outside] < padded[inside].min() + 0.2).all() and padded[outside].min() > plain.min() - 1


@pytest.mark.parametrize(
    ("padding", "second"),
    [*((value, None) for value in (32767, 65535, 3e38, -32768)), (-32768, -2000), (-1e30, -2000)],
)
def test_padding_of_any_kind_leaves_the_image_its_range(padding, second):
    image, outside = body()
    image[outside] = padding
    if second is not None:  # written by another program
        image[:4][outside[:4]] = second
    inside, whole = normalise(image)[~outside], normalise(image)
    assert np.ptp(inside) > 0.8 * np.ptp(whole)


def test_what_is_bright_is_no_padding():
    image, _ = body()
    image[:, 30:36, 30:36] = 3071  # metal, cut by the scanner: more than what is cut of any image
    expected = (image - image.mean()) / image.std()
    np.testing.assert_allclose(normalise(image), expected, atol=1e-4)


@pytest.mark.parametrize("offset", [0, 1024])
def test_an_image_without_padding_is_normalised_as_ever(offset):
    image, _ = body()
    image += offset
    expected = np.minimum(image, np.sort(image, axis=None)[int((image.size - 1) * 0.995)])
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(normalise(image), expected, atol=1e-4)


def test_a_background_of_zero_stays_where_it_is():
    image = np.random.default_rng(0).normal(300, 30, (8, 32, 32)).astype(np.float32)
    image[:, :, 16:] = 0
    cut = np.minimum(image, np.sort(image, axis=None)[int((image.size - 1) * 0.995)])
    np.testing.assert_allclose(normalise(image), (cut - cut.mean()) / cut.std(), atol=1e-4)


def test_padding_that_is_almost_everything_leaves_an_image():
    image = np.full((10, 10, 10), -32768, np.float32)
    image[5, 5, :3] = (1, 2, 3)
    out = normalise(image)
    assert len(np.unique(out)) >= 3 and np.isfinite(out).all()
