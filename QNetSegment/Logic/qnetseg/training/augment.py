"""Augmentation of a batch of episodes on its own device (released code's transforms, batched)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .episodes import Episodes
from .recipe import AugmentationRecipe


def augment(episodes: Episodes, recipe: AugmentationRecipe, generator: torch.Generator) -> Episodes:
    """Gamma on one slice of each pair, affine and elastic warp on one of them, both chosen at random.

    Random numbers come from the CPU generator, so that a run is the same on every device.
    """
    images, masks, valid = episodes
    batch, device = images.shape[0], images.device
    rows = torch.arange(batch, device=device)

    def which() -> Tensor:
        return torch.randint(2, (batch,), generator=generator).to(device)

    target = which()
    images, masks = images.clone(), masks.clone()
    images[rows, target] = random_gamma(images[rows, target], recipe.gamma, generator)
    target = which()
    grid = random_warp(batch, images.shape[-2:], recipe, generator, device)
    images[rows, target], masks[rows, target] = warp(images[rows, target], masks[rows, target], grid)
    flip = (torch.rand(batch, generator=generator) < recipe.flip_rows).to(device)
    images = torch.where(flip[:, None, None, None], images.flip(-2), images)
    masks = torch.where(flip[:, None, None, None, None], masks.flip(-2), masks)
    found = (masks.sum(dim=(-2, -1)) > 0).all(dim=1).float()  # a warp can push a structure out of the image
    return Episodes(images, masks, valid * found)


def random_gamma(images: Tensor, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(B, H, W) images with their range raised to a random power, minimum and range kept."""
    gamma = _uniform(images.shape[0], limits[0], limits[1], generator).to(images.device)[:, None, None]
    low = images.amin(dim=(1, 2), keepdim=True)
    extent = images.amax(dim=(1, 2), keepdim=True) - low + 1e-5
    return extent * ((images - low + 1e-5) / extent).clamp(min=0).pow(gamma) + low


def random_warp(
    batch: int,
    size: tuple[int, int] | torch.Size,
    recipe: AugmentationRecipe,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Sampling grid (B, H, W, 2) on `device`, in normalised coordinates: a random affine and elastic warp."""
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
    matrix = torch.cat([scale[:, None, None] * rotation @ shearing, shift[..., None]], dim=2)
    grid = F.affine_grid(matrix.to(device), [batch, 1, height, width], align_corners=False)
    noise = 2 * torch.rand(batch, 2, height, width, generator=generator).to(device) - 1
    displacement = recipe.elastic_alpha * gaussian_blur(noise, recipe.elastic_sigma)
    return grid + displacement.permute(0, 2, 3, 1) * torch.tensor([2 / width, 2 / height], device=device)


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
