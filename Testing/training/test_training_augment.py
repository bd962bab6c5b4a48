"""Augmentation: identity at its limits, ranges kept, masks that follow their images."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from qnetseg_lab.training import augment as transforms
from qnetseg_lab.training.augment import draw, gaussian_blur, raise_to, sampling_grid, warp
from qnetseg_lab.training.episodes import Episodes
from qnetseg_lab.training.recipe import AugmentationRecipe

NOTHING = AugmentationRecipe((1.0, 1.0), 0.0, 0.0, 0.0, (1.0, 1.0), 0.0, 5.0, 0.0)
SIZE = 48


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augment(episodes, recipe, generator):
    draws = draw(len(episodes.images), episodes.images.shape[-2:], recipe, generator)
    return transforms.augment(episodes, draws, recipe)


def random_warp(batch, size, recipe, generator):
    draws = draw(batch, size, recipe, generator)
    return sampling_grid(draws.affine, draws.noise, recipe)


def _with(**options):
    return dataclasses.replace(NOTHING, **options)


def _disc(batch=1, centre=(15, 31), radius=9):
    """Images that equal their own mask, smooth enough for any interpolation."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    distance = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2).float().sqrt()
    image = torch.sigmoid(2 * (radius - distance)) * 3 - 1
    return image.expand(batch, -1, -1).clone(), (distance <= radius).float().expand(batch, 1, -1, -1).clone()


def _episodes(batch=8):
    images = torch.randn(batch, 2, SIZE, SIZE, generator=_generator(9))
    masks = torch.zeros(batch, 2, 2, SIZE, SIZE)
    masks[:, :, 0, 10:30, 12:25] = 1
    masks[:, :, 1, 25:45, 30:44] = 1
    return Episodes(images, masks, torch.ones(batch, 2))


def test_nothing_asked_changes_nothing():
    episodes = _episodes()
    result = augment(episodes, NOTHING, _generator())
    torch.testing.assert_close(result.images, episodes.images, atol=1e-4, rtol=0)
    assert torch.equal(result.masks, episodes.masks)
    assert torch.equal(result.valid, episodes.valid)


def test_the_given_episodes_are_not_touched_and_the_generator_decides():
    episodes = _episodes()
    before = Episodes(*(part.clone() for part in episodes))
    first, second = (augment(episodes, AugmentationRecipe(), _generator(3)) for _ in range(2))
    for ours, theirs, given, kept in zip(first, second, episodes, before, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(given, kept)
    assert not torch.equal(first.images, augment(episodes, AugmentationRecipe(), _generator(4)).images)


def test_gamma_keeps_minimum_range_and_order_and_is_the_power_it_says():
    images = torch.randn(6, SIZE, SIZE, generator=_generator(1)) * 2 + 1
    for exponent in (0.5, 1.0, 1.5):
        result = raise_to(images, torch.full((6,), exponent))
        unit, new = (
            ((x - x.amin((1, 2), True)) / (x.amax((1, 2), True) - x.amin((1, 2), True)))
            for x in (images, result)
        )
        torch.testing.assert_close(new, unit**exponent, atol=4e-3, rtol=0)
        for extreme in (torch.amin, torch.amax):
            torch.testing.assert_close(extreme(result, (1, 2)), extreme(images, (1, 2)), atol=2e-2, rtol=0)
    constant = raise_to(torch.full((1, 4, 4), 2.0), torch.tensor([0.7]))
    assert torch.isfinite(constant).all()


def test_each_pair_has_gamma_on_exactly_one_slice_and_either_can_be_it():
    episodes = _episodes(16)
    result = augment(episodes, _with(gamma=(0.5, 0.5)), _generator())
    changed = ((result.images - episodes.images).abs().amax(dim=(2, 3)) > 0.05).int()
    assert (changed.sum(dim=1) == 1).all()
    assert 0 < int(changed[:, 0].sum()) < 16


def test_each_pair_is_warped_on_exactly_one_slice_with_its_masks():
    episodes = _episodes(16)
    result = augment(episodes, _with(rotate=20.0, shift=4.0), _generator())
    changed = (result.images - episodes.images).abs().amax(dim=(2, 3)) > 0.05
    masks_changed = (result.masks != episodes.masks).any(dim=4).any(dim=3).any(dim=2)
    assert (changed.int().sum(dim=1) == 1).all()
    assert torch.equal(changed, masks_changed)


@pytest.mark.parametrize(
    "options",
    [
        {"rotate": 15.0},
        {"shift": 6.0},
        {"shear": 10.0},
        {"scale": (0.7, 0.7)},
        {"scale": (1.3, 1.3)},
        {"elastic_alpha": 30.0, "elastic_sigma": 4.0},
    ],
)
def test_the_mask_follows_the_image_and_the_range_is_kept(options):
    image, mask = _disc(batch=4)
    grid = random_warp(4, image.shape[-2:], _with(**options), _generator(2))
    warped, moved = warp(image, mask, grid)
    assert (warped - image).abs().max() > 0.3
    assert warped.min() >= image.min() and warped.max() <= image.max()
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    inside = (warped > 0.5).float()[:, None]
    dice = 2 * (inside * moved).sum((1, 2, 3)) / (inside + moved).sum((1, 2, 3))
    assert (dice > 0.93).all()


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_scale_magnifies_by_its_factor(factor):
    image, mask = _disc(centre=(23.5, 23.5), radius=12)
    grid = random_warp(1, image.shape[-2:], _with(scale=(factor, factor)), _generator())
    _, moved = warp(image, mask, grid)
    assert float(moved.sum() / mask.sum()) == pytest.approx(factor**2, rel=0.05)


def test_affine_parameters_stay_inside_their_limits():
    recipe = _with(rotate=5.0, shift=5.0)
    grids = random_warp(200, (SIZE, SIZE), recipe, _generator())
    step = (grids[:, :, 1] - grids[:, :, 0])[:, 0] * SIZE / 2  # image of one pixel to the right
    angle = torch.rad2deg(torch.atan2(step[:, 1], step[:, 0]))
    middle = slice(SIZE // 2 - 1, SIZE // 2 + 1)
    centre = grids[:, middle, middle].mean(dim=(1, 2)) * SIZE / 2
    for values in (angle, centre):
        assert values.abs().max() <= 5.001
        assert values.max() > 3 and values.min() < -3
    torch.testing.assert_close(step.norm(dim=1), torch.ones(200), atol=1e-3, rtol=0)


def test_shear_slants_columns():
    grids = random_warp(100, (SIZE, SIZE), _with(shear=5.0), _generator())
    down = (grids[:, 1] - grids[:, 0])[:, 0] * SIZE / 2
    assert down[:, 0].abs().max() <= math.tan(math.radians(5.001))
    assert down[:, 0].abs().max() > math.tan(math.radians(3))
    torch.testing.assert_close(down[:, 1], torch.ones(100), atol=1e-3, rtol=0)


def test_the_elastic_field_is_smoothed_noise_in_pixels():
    noise = torch.rand(2, 2, 40, 52, generator=_generator()) * 2 - 1
    for sigma in (1.0, 5.0):
        blurred = gaussian_blur(noise, sigma).numpy()
        for field, source in zip(blurred.reshape(4, 40, 52), noise.reshape(4, 40, 52).numpy(), strict=True):
            expected = gaussian_filter(source.astype(float), sigma, mode="constant")
            np.testing.assert_allclose(field, expected, atol=1e-5)
    still, moved = (
        random_warp(1, (40, 52), _with(elastic_alpha=alpha), _generator(1)) for alpha in (0.0, 10.0)
    )
    pixels = (moved - still) * torch.tensor([52, 40]) / 2
    assert 0.1 < float(pixels.abs().max()) < 5


def test_flipping_turns_both_slices_and_their_masks():
    episodes = _episodes(16)
    result = augment(episodes, _with(flip_rows=1.0), _generator())
    torch.testing.assert_close(result.images, episodes.images.flip(-2), atol=1e-4, rtol=0)
    assert torch.equal(result.masks, episodes.masks.flip(-2))
    some = augment(episodes, _with(flip_rows=0.5), _generator())
    flipped = [not torch.equal(a, b) for a, b in zip(some.masks, episodes.masks, strict=True)]
    assert 0 < sum(flipped) < 16


def test_a_structure_pushed_out_of_the_image_is_no_longer_valid():
    episodes = _episodes(32)
    episodes.masks[:, :, 1] = 0
    episodes.masks[:, :, 1, 20:30, :2] = 1
    result = augment(episodes, _with(shift=20.0), _generator())
    left = (result.masks.sum(dim=(-2, -1)) > 0).all(dim=1).float()
    assert torch.equal(result.valid, left)
    assert 0 < float(result.valid[:, 1].sum()) < 32
    assert result.valid[:, 0].all()
