"""Episodes: which slices pair up, what Setting 2 removes, and that a step's number decides its draw."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden import dataset as tiny
from qnetseg.errors import DatasetError, RecipeError
from qnetseg_lab.data import Case
from qnetseg_lab.training.body import body_box
from qnetseg_lab.training.episodes import (
    EpisodeSampler,
    adjacent_pairs,
    excluded_slices,
    load_cases,
    prepare_case,
    same_slices,
)
from qnetseg_lab.training.recipe import DataRecipe, EpisodeRecipe
from qnetseg_lab.training.superpixels import superpixels

CPU = torch.device("cpu")


@pytest.fixture
def chaos(tmp_path, monkeypatch):
    tiny.write_chaos(tmp_path)
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))


def _case(supervoxels, labels=None):
    image = np.random.default_rng(0).normal(size=tiny.supervoxels().shape).astype(np.float32)
    return Case("1", image, tiny.organs() if labels is None else labels, supervoxels, (7.7, 1.25, 1.25))


def _areas(*counts):
    """Supervoxel 1 with the given number of pixels on each slice."""
    labels = np.zeros((len(counts), 20, 20), np.int32)
    for plane, count in zip(labels, counts, strict=True):
        plane.ravel()[:count] = 1
    return labels


@pytest.mark.parametrize(
    ("areas", "pairs"),
    [
        ((200, 1), [0]),
        ((1, 200), [0]),
        ((199, 199), []),
        ((200, 0, 200), []),
        ((0, 200, 1, 1), [1]),
        ((200, 200, 200), [0, 1]),
        ((400,), []),
        ((0, 0), []),
    ],
)
def test_a_pair_needs_the_supervoxel_on_both_slices_and_200_pixels_on_one(areas, pairs):
    assert adjacent_pairs(_areas(*areas), 200) == ({1: pairs} if pairs else {})


def test_background_never_pairs():
    assert 0 not in adjacent_pairs(tiny.supervoxels(), 1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_pairs_of_any_volume_obey_the_rule(seed, min_pixels):
    labels = np.random.default_rng(seed).integers(0, 4, (5, 4, 5))
    pairs = adjacent_pairs(labels, min_pixels)
    for label in (1, 2, 3):
        for lower in range(4):
            area = [(labels[k] == label).sum() for k in (lower, lower + 1)]
            assert (lower in pairs.get(label, [])) == (min(area) > 0 and max(area) >= min_pixels)


@pytest.mark.parametrize(
    ("values", "rule", "excluded"),
    [
        ([1], "any", [1, 1, 0, 0]),
        ([1], "all", [1, 1, 0, 0]),
        ([1, 4], "any", [1, 1, 1, 0]),
        ([1, 4], "all", [0, 1, 0, 0]),
        ([9], "any", [0, 0, 0, 0]),
    ],
)
def test_setting_2_removes_slices_by_either_rule(values, rule, excluded):
    assert excluded_slices(tiny.organs(), values, rule).tolist() == [bool(x) for x in excluded]


def test_no_pair_touches_an_excluded_slice():
    recipe = EpisodeRecipe(min_pixels=20)
    whole = prepare_case(_case(tiny.supervoxels()), "case", recipe, CPU)
    assert whole.pairs == {1: [0, 1, 2], 2: [0], 3: [2]}
    loose = prepare_case(_case(tiny.supervoxels()), "case", recipe, CPU, ([1, 4], "all"))
    assert loose.pairs == {1: [2], 3: [2]}
    assert not loose.supervoxels[1].any()
    with pytest.raises(DatasetError, match="case has no supervoxel of 20 pixels"):
        prepare_case(_case(tiny.supervoxels()), "case", recipe, CPU, ([1, 4], "any"))


def test_a_case_is_normalised_and_needs_supervoxels():
    case = prepare_case(_case(tiny.supervoxels()), "case", EpisodeRecipe(min_pixels=20), CPU)
    assert (case.image.dtype, case.supervoxels.dtype) == (torch.float16, torch.int32)
    assert float(case.image.float().mean()) == pytest.approx(0, abs=1e-3)
    assert float(case.image.float().std()) == pytest.approx(1, abs=1e-3)
    with pytest.raises(DatasetError, match="no supervoxels"):
        prepare_case(_case(None), "case", EpisodeRecipe(), CPU)


def test_cases_of_the_test_fold_are_left_out(chaos):
    recipe = EpisodeRecipe(min_pixels=20)
    everyone = load_cases(DataRecipe("chaos"), recipe, CPU)
    assert [case.name for case in everyone] == [f"chaos case {n}" for n in range(1, 7)]
    rest = load_cases(DataRecipe("chaos", fold=0), recipe, CPU)
    assert [case.name for case in rest] == ["chaos case 6"]
    strict = load_cases(DataRecipe("chaos", fold=0, scheme="strict"), recipe, CPU)
    assert [case.name for case in strict] == [f"chaos case {n}" for n in range(3, 7)]


def test_excluded_structures_are_looked_up_by_name(chaos):
    recipe = EpisodeRecipe(min_pixels=20)
    source = DataRecipe("chaos", exclude=("liver", "spleen"), exclude_rule="all")
    assert load_cases(source, recipe, CPU)[0].pairs == {1: [2], 3: [2]}
    with pytest.raises(DatasetError, match="no structure 'lung'"):
        load_cases(DataRecipe("chaos", exclude=("lung",)), recipe, CPU)


@pytest.fixture
def sampler():
    recipe = EpisodeRecipe(pairs=3, structures=3, min_pixels=20)
    cases = [prepare_case(_case(tiny.supervoxels()), "case", recipe, CPU)]
    return EpisodeSampler([(0.75, cases), (0.25, cases)], recipe, seed=5)


def test_a_steps_episodes_follow_from_seed_and_step_alone(sampler):
    again = EpisodeSampler(sampler.sources, sampler.recipe, sampler.seed)
    later = [sampler.batch(step) for step in (0, 1, 2)]
    for step in (2, 0, 1):  # in any order
        for ours, theirs in zip(again.batch(step), later[step], strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(later[0].images, later[1].images)
    other = EpisodeSampler(sampler.sources, sampler.recipe, seed=6)
    assert not all(torch.equal(other.batch(step).images, later[step].images) for step in (0, 1, 2))


def test_an_episode_holds_adjacent_slices_in_either_order_and_their_supervoxels(sampler):
    case = sampler.sources[0][1][0]
    orders, filled = set(), set()
    for step in range(20):
        images, masks, valid = sampler.batch(step)
        assert images.shape == (3, 2, 32, 32)
        assert masks.shape == (3, 2, 3, 32, 32)
        for pair in range(3):
            support, query = (
                next(k for k in range(4) if torch.equal(case.image[k].float(), image))
                for image in images[pair]
            )
            orders.add(query - support)
            filled.add(int(valid[pair].sum()))
            found = set()
            for structure in range(3):
                label = _label_of(case, masks[pair, :, structure], (support, query))
                assert (label is not None) == bool(valid[pair, structure])
                if label is not None:
                    assert min(support, query) in case.pairs[label]
                    found.add(label)
            assert len(found) == int(valid[pair].sum())  # no supervoxel twice
    assert orders == {-1, 1}
    assert filled == {1, 2}  # slices 1 and 2 share one supervoxel, the other pairs two


def _label_of(case, masks, slices):
    """Which supervoxel the masks of two slices show; None where they are empty."""
    if not masks.any():
        return None
    return next(
        label for label in case.pairs if torch.equal(masks, (case.supervoxels[list(slices)] == label).float())
    )


def test_sources_are_drawn_by_their_share():
    recipe = EpisodeRecipe(min_pixels=20)
    one = prepare_case(_case(tiny.supervoxels()), "one", recipe, CPU)
    other = dataclasses.replace(one, image=-one.image)
    sampler = EpisodeSampler([(3, [one]), (1, [other])], recipe, seed=0)
    images = [sampler.batch(step).images[0, 0] for step in range(200)]
    of_one = sum(any(torch.equal(image, plane.float()) for plane in one.image) for image in images)
    assert of_one == pytest.approx(150, abs=25)


@pytest.mark.parametrize("pairs", [1, 3])
def test_crops_to_a_window_that_holds_part_of_the_drawn_supervoxel(pairs):
    case = prepare_case(_case(tiny.supervoxels()), "case", EpisodeRecipe(min_pixels=20), CPU)
    recipe = EpisodeRecipe(min_pixels=20, pairs=pairs, structures=2, crop=16)
    sampler = EpisodeSampler([(1, [case])], recipe, seed=1)
    for step in range(20):
        images, masks, _ = sampler.batch(step)
        assert images.shape == (pairs, 2, 16, 16) and masks.shape == (pairs, 2, 2, 16, 16)
        assert masks[:, :, 0].sum(dim=(-2, -1)).amax(dim=1).min() > 0
        for plan, image, mask in zip(sampler.plan(step), images, masks, strict=True):
            assert plan.size == (16, 16)
            where = [list(plan.slices), *plan.window]
            assert torch.equal(image, case.image[where[0]][:, where[1], where[2]].float())
            own = case.supervoxels[where[0]][:, where[1], where[2]] == plan.labels[0]
            assert torch.equal(mask[:, 0], own.float())


def test_a_window_is_never_larger_than_the_slice():
    case = prepare_case(_case(tiny.supervoxels()), "case", EpisodeRecipe(min_pixels=20), CPU)
    size = case.image.shape[-2:]
    images, *_ = EpisodeSampler([(1, [case])], EpisodeRecipe(min_pixels=20, crop=512), seed=1).batch(0)
    assert images.shape[-2:] == size


@given(st.tuples(st.integers(0, 69), st.integers(0, 69)), st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_a_box_holds_the_body_and_nothing_around_it(rows, columns):
    body = np.zeros((2, 70, 100), bool)
    body[0, min(rows), min(columns)] = body[1, max(rows), max(columns)] = True
    assert body_box(body) == (slice(min(rows), max(rows) + 1), slice(min(columns), max(columns) + 1))


def test_refuses_odd_windows_and_superpixels_on_adjacent_slices():
    with pytest.raises(RecipeError, match="multiple of 8"):
        EpisodeRecipe(crop=100)
    with pytest.raises(RecipeError, match="superpixels"):
        EpisodeRecipe(supervoxels="superpixels")


def test_the_same_slice_can_be_support_and_query(chaos):
    assert same_slices(_areas(200, 199, 0, 300), 200) == {1: [0, 3]}
    recipe = EpisodeRecipe(pairs=2, min_pixels=20, partner="same")
    case = prepare_case(_case(tiny.supervoxels()), "case", recipe, CPU)
    assert case.pairs == {1: [0, 1, 2, 3], 2: [0, 1], 3: [3]}
    images, masks, _ = EpisodeSampler([(1, [case])], recipe, seed=1).batch(0)
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(masks[:, 0], masks[:, 1])
    with pytest.raises(DatasetError, match=r"no supervoxel of 2000 pixels\. Lower"):
        prepare_case(_case(tiny.supervoxels()), "case", dataclasses.replace(recipe, min_pixels=2000), CPU)


def test_superpixels_fill_the_body_and_end_with_their_slice():
    image = np.random.default_rng(3).uniform(0, 1, size=(3, 48, 48))
    image[:, 4:44, 4:24] += 60
    image[:, 4:44, 24:44] += 120
    image[1] = 0  # a slice without body
    labels = superpixels(image, min_size=100)
    assert not labels[1].any()
    np.testing.assert_array_equal(labels[0] > 0, image[0] > 10)
    assert not set(labels[0].flat) & set(labels[2].flat) - {0}
    assert not set(labels[0, 4:44, 4:20].flat) & set(labels[0, 4:44, 28:44].flat)


def test_superpixels_are_computed_before_training(chaos):
    recipe = EpisodeRecipe(min_pixels=20, partner="same", supervoxels="superpixels")
    cases = load_cases(DataRecipe("chaos"), recipe, CPU)
    assert len(cases) == 6 and cases[0].step == 0 and cases[0].pairs
