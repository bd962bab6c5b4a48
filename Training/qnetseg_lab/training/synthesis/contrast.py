"""Random intensities for what lies in a window, and what scanners do to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .bodies import LABELS, REGIONS
from .chance import Chance, per_sample

BLACK = -2.5  # standardised intensity of no signal


class Colours(NamedTuple):
    """Intensities of a layout's tissues, each wherever it may be: (B, D, H, H) float32.

    Attributes:
        around: of the labels. target: of the structure. beside: of its wall or its cavity.
        inclusions: of spots in it. rims: of layers around bodies.
    """

    around: Tensor
    target: Tensor
    beside: Tensor
    inclusions: Tensor
    rims: Tensor


def paint(chance: Chance, labels: Tensor) -> Colours:
    """Each kind of tissue gets its level and its texture. labels: (B, D, H, H) int64."""
    depth, side = labels.shape[1], labels.shape[2]
    levels = chance.normal(LABELS) * 1.2
    own = chance.normal() * 1.2
    alike = chance.uniform(0, 1, LABELS) < chance.often(0.7)[:, None] * chance.uniform(0, 0.6, 1)
    levels = torch.where(alike, own[:, None] + 0.3 * chance.normal(LABELS), levels)
    close = chance.often(0.4)[:, None]  # tissue of little contrast
    similar = levels[:, :1] + 0.3 * chance.normal(REGIONS)
    levels[:, :REGIONS] = torch.where(close, similar, levels[:, :REGIONS])
    grains = ((3, 5, 5), (5, 12, 12), (depth, side // 3, side // 3))
    textures = torch.cat([chance.field((depth, side, side), cells) for cells in grains], 1)
    which = chance.integer(len(grains), LABELS)
    strength = chance.uniform(0, 0.5, LABELS) * chance.uniform(0, 1)[:, None]
    flat = labels.flatten(1)
    texture = textures.flatten(2).gather(1, which.gather(1, flat)[:, None])[:, 0]
    around = (levels.gather(1, flat) + strength.gather(1, flat) * texture).reshape(labels.shape)
    beside = chance.normal() * 1.2
    spots = torch.where(chance.often(0.4), beside, own + chance.normal() * 0.8)
    mine = textures[torch.arange(chance.batch), chance.integer(len(grains))]
    target = per_sample(own) + per_sample(chance.uniform(0, 1) ** 2 * 0.5) * mine
    plain = (beside, spots, chance.normal() * 1.5)
    return Colours(around, target, *(per_sample(level) + 0.1 * textures[:, 0] for level in plain))


def scanned(chance: Chance, image: Tensor) -> Tensor:
    """Blur, bias, noise, another level in each plane, and an intensity scale of any kind on (B, D, N, N)
    standardised images."""
    image = _blurred(chance, image)
    uneven = per_sample(chance.often(0.3) * chance.uniform(0, 0.25))
    gain, level = (chance.normal(image.shape[1])[:, :, None, None] * uneven for _ in range(2))
    image = image * (1 + gain) + level
    depth, side = image.shape[1:3]
    bias = chance.field((depth, side, side), (3, 3, 3))[:, 0]
    image = (image - BLACK) * (per_sample(chance.often(0.5) * chance.uniform(0, 0.5)) * bias).exp() + BLACK
    image = _mapped(chance, image)
    white = chance.normal(*image.shape[1:])
    soft = F.avg_pool2d(white, 3, 1, 1) * 3
    grain = torch.where(per_sample(chance.often(0.3)), soft, white)
    return image + per_sample(chance.spread(0.01, 0.4)) * grain


def _blurred(chance: Chance, image: Tensor) -> Tensor:
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return image + per_sample(chance.often(0.5) * chance.uniform(0, 1)) * (soft - image)


def _mapped(chance: Chance, image: Tensor) -> Tensor:
    """A random piecewise linear map of the intensities: none, rising or falling, or any."""
    knots = 7
    rising = (chance.normal(knots).abs() + 0.05).cumsum(1) * (2.0 * chance.often(0.5) - 1)[:, None]
    free = chance.normal(knots) * 1.5
    values = torch.where(chance.often(0.4)[:, None], free, rising)
    place = (image.clamp(-2.999, 2.999) + 3) * ((knots - 1) / 6)
    low = place.long()
    start = values.gather(1, low.flatten(1)).reshape(image.shape)
    end = values.gather(1, low.flatten(1) + 1).reshape(image.shape)
    return torch.where(per_sample(chance.often(0.5)), start + (end - start) * (place - low), image)
