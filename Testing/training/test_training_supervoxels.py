"""Supervoxels: the graph segmentation against a slow and plain one, its mask, and the paper's labels."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden import dataset as tiny
from qnetseg.cli import main
from qnetseg.errors import InputError, VolumeError
from qnetseg_lab.training import supervoxels as module
from qnetseg_lab.training.body import foreground_mask
from qnetseg_lab.training.supervoxels import (
    adjusted_rand_index,
    divisions,
    felzenszwalb_3d,
    step_factor,
    supervoxels,
)

ISOTROPIC = (1.0, 1.0, 1.0)
THICK = (6.0, 1.5, 1.5)


def plain_felzenszwalb(image, spacing, min_size, scale):
    """The algorithm of the paper with sets of voxels and no thought of speed."""
    scaled = 255 * (image - image.min()) / (image.max() - image.min())
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if s > (0, 0, 0)]
    assert sorted(module._HALF_OF_26) == steps
    edges = []
    for step in module._HALF_OF_26:
        for voxel in np.ndindex(image.shape):
            there = tuple(a + b for a, b in zip(voxel, step, strict=True))
            if all(0 <= a < n for a, n in zip(there, image.shape, strict=True)):
                length = np.linalg.norm((step[0] * spacing[0] / spacing[1], *step[1:])) / np.linalg.norm(step)
                weight = np.sqrt(float(length) ** 2 * (scaled[there] - scaled[voxel]) ** 2)
                edges.append((weight, voxel, there))
    edges = [edges[index] for index in module._argsort(np.array([weight for weight, *_ in edges]))]
    group = {voxel: frozenset([voxel]) for voxel in np.ndindex(image.shape)}
    variation = dict.fromkeys(group.values(), 0.0)

    def join(one, other, weight):
        union = one | other
        variation[union] = weight
        group.update(dict.fromkeys(union, union))

    for weight, voxel, there in edges:
        one, other = group[voxel], group[there]
        limits = [np.float32(variation[g] + scale / 255 / len(g)) for g in (one, other)]
        if one != other and weight < min(limits):
            join(one, other, weight)
    for weight, voxel, there in edges:
        one, other = group[voxel], group[there]
        if one != other and min(len(one), len(other)) < min_size:
            join(one, other, weight)
    numbers = {g: n for n, g in enumerate(sorted(set(group.values()), key=min), start=1)}
    return np.array([numbers[group[voxel]] for voxel in np.ndindex(image.shape)]).reshape(image.shape)


volumes = arrays(np.int16, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(0, 6)).filter(
    lambda a: a.min() < a.max()
)


@settings(max_examples=60, deadline=None)
@given(image=volumes, min_size=st.integers(1, 9), scale=st.sampled_from([0.0, 1.0, 2e4]))
def test_equals_the_plain_algorithm(image, min_size, scale):
    expected = plain_felzenszwalb(image.astype(float), THICK, min_size, scale)
    np.testing.assert_array_equal(felzenszwalb_3d(image, THICK, min_size, scale), expected)


def test_compiled_and_interpreted_kernels_agree(monkeypatch):
    image = np.random.default_rng(1).normal(size=(5, 8, 7))
    compiled = felzenszwalb_3d(image, THICK, min_size=6, scale=3e4)
    for name in ("_root", "_join", "_join_similar", "_join_small", "_roots", "_argsort", "_order_two"):
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    np.testing.assert_array_equal(felzenszwalb_3d(image, THICK, min_size=6, scale=3e4), compiled)
    assert 1 < compiled.max() < image.size


@settings(max_examples=25, deadline=None)
@given(image=volumes, slope=st.sampled_from([0.25, 4.0]), min_size=st.integers(1, 9))
def test_does_not_depend_on_the_intensity_unit(image, slope, min_size):
    np.testing.assert_array_equal(
        felzenszwalb_3d(image * slope, ISOTROPIC, min_size), felzenszwalb_3d(image, ISOTROPIC, min_size)
    )


def test_finds_two_noisy_blocks():
    image = np.random.default_rng(0).normal(size=(6, 20, 20))
    image[:, :, 12:] += 50
    labels = felzenszwalb_3d(image, ISOTROPIC, min_size=200)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.broadcast_to(np.where(np.arange(20) < 12, 1, 2), image.shape))


def test_every_supervoxel_has_the_minimum_size():
    image = np.random.default_rng(2).normal(size=(6, 16, 16))
    _, counts = np.unique(felzenszwalb_3d(image, THICK, min_size=50), return_counts=True)
    assert counts.min() >= 50 and counts.size > 1


def test_smoothing_quietens_noise():
    image = np.random.default_rng(4).normal(size=(5, 15, 15))
    image[..., 8:] += 10
    rough = felzenszwalb_3d(image, ISOTROPIC, min_size=1, scale=100)
    smooth = felzenszwalb_3d(image, ISOTROPIC, min_size=1, scale=100, sigma=1.5)
    assert 2 <= smooth.max() < rough.max()


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        ((0, 0, 1), 1),
        ((0, 1, -1), 1),
        ((1, 0, 0), 4),
        ((1, 0, -1), math.sqrt(17) / math.sqrt(2)),
        ((1, 1, 1), math.sqrt(18) / math.sqrt(3)),
    ],
)
def test_thick_slices_make_edges_between_them_heavier(step, factor):
    assert step_factor(step, THICK) == pytest.approx(factor)


def test_foreground_is_the_largest_bright_region_of_each_slice_with_holes_filled():
    image = np.zeros((3, 12, 12))
    image[:2, 2:8, 2:8] = 100
    image[0, 4, 4] = 0  # a hole
    image[0, 8, 8] = 100  # touches the body by a corner
    image[1, 10:, 10:] = 100  # lies apart
    image[:, 0, 0] = 3.9  # 9.9 on the scale of 0..255
    expected = np.zeros(image.shape, dtype=bool)
    expected[:2, 2:8, 2:8] = True
    expected[0, 8, 8] = True
    np.testing.assert_array_equal(foreground_mask(image), expected)


def phantom():
    image = np.random.default_rng(3).uniform(0, 2, size=(4, 24, 24))
    image[:, 4:20, 4:12] += 60
    image[:, 4:20, 12:20] += 120
    return image


@pytest.mark.parametrize("method", ["felzenszwalb", "slic"])
def test_supervoxels_are_numbered_from_one_inside_the_body(method):
    image = phantom()
    labels = supervoxels(image, THICK, min_size=100, method=method)
    assert labels.dtype == np.int32 and labels.shape == image.shape
    np.testing.assert_array_equal(labels > 0, foreground_mask(image))
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    shared = set(labels[:, 4:20, 4:11].flat) & set(labels[:, 4:20, 13:20].flat)
    assert not shared, "a supervoxel crosses the border between the two tissues"


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.full((2, 3, 4), 7.0), np.full((2, 3, 4), np.nan)])
def test_refuses_images_without_content(bad):
    with pytest.raises(VolumeError):
        felzenszwalb_3d(bad, ISOTROPIC, min_size=2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"spacing": (1.0, 1.0), "min_size": 5},
        {"spacing": (1.0, 0.0, 1.0), "min_size": 5},
        {"spacing": ISOTROPIC, "min_size": 0},
        {"spacing": ISOTROPIC, "min_size": 0, "method": "slic"},
        {"spacing": ISOTROPIC, "min_size": 5, "method": "watershed"},
    ],
)
def test_refuses_impossible_parameters(arguments):
    with pytest.raises(InputError):
        supervoxels(phantom(), **arguments)


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 2], [0, 0, 1, 1], 4 / 7),  # by hand: together 1, pairs 1 and 2 of 6
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        ([0, 0, 0], [2, 2, 2], 1.0),
    ],
)
def test_adjusted_rand_index(one, other, index):
    assert adjusted_rand_index(np.array(one), np.array(other)) == pytest.approx(index)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), max_size=200))
def test_the_sort_is_a_sort(values):
    order = module._argsort(np.array(values, float))
    assert sorted(order) == list(range(len(values)))
    assert np.array(values, float)[order].tolist() == sorted(values)


@pytest.mark.parametrize(
    ("name", "case", "size"), [("CMR/cmr_MR_normalized", 3, 1000), ("CMR/cmr_MR_normalized", 5, 1000)]
)
def test_equals_the_pseudo_labels_of_the_paper(development_data, name, case, size):
    image = sitk.ReadImage(str(development_data / name / f"image_{case}.nii.gz"))
    path = development_data / "CMR" / "supervoxels_1000" / f"superpix-MIDDLE_{case}.nii.gz"
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    ours = supervoxels(sitk.GetArrayFromImage(image), image.GetSpacing()[::-1], min_size=size)
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    assert adjusted_rand_index(ours[ours > 0], theirs[ours > 0]) == pytest.approx(1)


def test_the_command_compares_with_the_files(tmp_path, monkeypatch, capsys):
    tiny.write_chaos(tmp_path, cases=2)
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    arguments = ["data", "supervoxels", "--dataset", "chaos", "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "of 2 cases" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "supervoxels-chaos.json").read_text())
    assert content["supervoxels"] is True and [row["case"] for row in content["rows"]] == ["1", "2"]
    assert content["mean"] == pytest.approx(np.mean([row["adjusted_rand_index"] for row in content["rows"]]))
    assert main([*arguments[:4], "--cases", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1
    for path in (tmp_path / "CHAOST2/supervoxels_5000").iterdir():
        path.unlink()
    assert main(arguments) == 2
    assert "chaos case 1 has no supervoxels to compare with" in capsys.readouterr().err


def test_the_smallest_supervoxel_is_a_share_of_the_body(monkeypatch):
    image, asked = phantom(), []
    whole = felzenszwalb_3d

    def noted(image, spacing, min_size):
        asked.append(min_size)
        return whole(image, spacing, min_size)

    monkeypatch.setattr(module, "felzenszwalb_3d", noted)
    supervoxels(image, THICK)
    assert asked == [round(4 * 16 * 16 * module.BODY_SHARE)]


def test_several_sizes_at_once_are_those_of_one_after_another():
    image = np.random.default_rng(4).normal(size=(4, 24, 24)).cumsum(1).cumsum(2)
    sizes = (5, 60, 5)
    together = divisions(image, THICK, sizes)
    assert len({labels.max() for labels in together}) == 2
    for labels, size in zip(together, sizes, strict=True):
        assert labels.dtype == np.int32
        assert np.array_equal(labels, supervoxels(image, THICK, size))
    with pytest.raises(InputError, match="minimum size of 0"):
        divisions(image, THICK, (5, 0))
