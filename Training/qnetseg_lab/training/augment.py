"""Augmentation of a batch of episodes on its own device (released code's transforms, batched)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .episodes import Episodes
from .recipe import AugmentationRecipe


class Draws(NamedTuple):
    """The random numbers of a batch of B pairs; a part of a batch takes its part of each.

    Attributes:
        gamma_slice, warp_slice: (B,) int64, which slice of the pair (0 or 1) is changed.
        gamma: (B,) float32, exponent.
        affine: (B, 2, 3) float32, in normalised coordinates.
        noise: (B, 2, H, W) float32 in -1..1, from which the elastic displacement is made.
        flip: (B,) bool, whether both slices are flipped up-down.
    """

    gamma_slice: Tensor
    gamma: Tensor
    warp_slice: Tensor
    affine: Tensor
    noise: Tensor
    flip: Tensor


def draw(
    batch: int, size: tuple[int, int] | torch.Size, recipe: AugmentationRecipe, generator: torch.Generator
) -> Draws:
    """Random numbers for `batch` pairs of H x W pixels.

    They come from the CPU generator, so that a run is the same on every device and in any number of
    processes.
    """
    height, width = size
    gamma_slice = torch.randint(2, (batch,), generator=generator)
    gamma = _uniform(batch, recipe.gamma[0], recipe.gamma[1], generator)
    warp_slice = torch.randint(2, (batch,), generator=generator)
    affine = _random_affine(batch, (height, width), recipe, generator)
    noise = 2 * torch.rand(batch, 2, height, width, generator=generator) - 1
    flip = torch.rand(batch, generator=generator) < recipe.flip_rows
    return Draws(gamma_slice, gamma, warp_slice, affine, noise, flip)


def augment(episodes: Episodes, draws: Draws, recipe: AugmentationRecipe) -> Episodes:
    """Gamma on one slice of each pair, affine and elastic warp on one of them, both chosen at random.

    Episodes and draws lie on one device.
    """
    images, masks, valid = episodes
    rows = torch.arange(images.shape[0], device=images.device)
    images, masks = images.clone(), masks.clone()
    target = rows, draws.gamma_slice
    images[target] = raise_to(images[target], draws.gamma)
    target = rows, draws.warp_slice
    grid = sampling_grid(draws.affine, draws.noise, recipe)
    images[target], masks[target] = warp(images[target], masks[target], grid)
    flip = draws.flip[:, None, None, None]
    images = torch.where(flip, images.flip(-2), images)
    masks = torch.where(flip[..., None], masks.flip(-2), masks)
    found = (masks.sum(dim=(-2, -1)) > 0).all(dim=1).float()  # a warp can push a structure out of the image
    return Episodes(images, masks, valid * found)


def raise_to(images: Tensor, gamma: Tensor) -> Tensor:
    """(B, H, W) images with their range raised to the power (B,), minimum and range kept."""
    low = images.amin(dim=(1, 2), keepdim=True)
    extent = images.amax(dim=(1, 2), keepdim=True) - low + 1e-5
    return extent * ((images - low + 1e-5) / extent).clamp(min=0).pow(gamma[:, None, None]) + low


def _random_affine(
    batch: int, size: tuple[int, int], recipe: AugmentationRecipe, generator: torch.Generator
) -> Tensor:
    """(B, 2, 3) matrices of a random rotation, shear, scale and shift."""
    height, width = size

    def radians(limit: float) -> Tensor:
        return _uniform(batch, -math.radians(limit), math.radians(limit), generator)

    angle, shear = radians(recipe.rotate), radians(recipe.shear)
    scale = 1 / _uniform(batch, recipe.scale[0], recipe.scale[1], generator)
    shift = torch.stack(
        [_uniform(batch, -recipe.shift, recipe.shift, generator) * 2 / extent for extent in (width, height)],
        dim=1,
    )
    cos, sin = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    shearing = torch.eye(2).repeat(batch, 1, 1)
    shearing[:, 0, 1] = torch.tan(shear)
    return torch.cat([scale[:, None, None] * rotation @ shearing, shift[..., None]], dim=2)


def sampling_grid(affine: Tensor, noise: Tensor, recipe: AugmentationRecipe) -> Tensor:
    """Where each pixel comes from, (B, H, W, 2) in normalised coordinates; see `Draws` for the arguments."""
    batch, _, height, width = noise.shape
    grid = F.affine_grid(affine, [batch, 1, height, width], align_corners=False)
    displacement = recipe.elastic_alpha * gaussian_blur(noise, recipe.elastic_sigma)
    across, down = displacement.unbind(dim=1)
    return grid + torch.stack([across * (2 / width), down * (2 / height)], dim=3)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian of (B, C, H, W) images; zero outside, cut at four sigma."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None, None]
    flat = images.reshape(-1, 1, *images.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, kernel, padding=(0, radius)), kernel.transpose(2, 3), padding=(radius, 0))
    return flat.reshape(images.shape)


def warp(images: Tensor, masks: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Cubic for (B, H, W) images, clamped to their range; linear and cut at 0.5 for (B, N, H, W) masks."""
    low, high = images.amin(dim=(1, 2), keepdim=True), images.amax(dim=(1, 2), keepdim=True)
    # Outside the image lies its own minimum, which is the background of z-scored images.
    warped = F.grid_sample((images - low)[:, None], grid, mode="bicubic", align_corners=False)[:, 0] + low
    moved = F.grid_sample(masks, grid, mode="bilinear", align_corners=False)
    return warped.clamp(low, high), (moved >= 0.5).float()


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
