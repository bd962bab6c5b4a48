"""What a user draws in a window: one plane or a few, a little off; planes and places where it is not."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.segment.evidence import Scene, distance_to

from .chance import Chance, per_sample

REACH = 3  # pixels beside the structure's outline that a drawing takes in by mistake at most
CONVENTION = 8  # radii over the width within which outlines are drawn by other conventions
COVERED = (0.1, 0.55)  # share of a voxel from which the structure is drawn there
KEPT = 0.7  # share of a structure that must be left for it to be drawn along the inside
LEAST = 20  # pixels of the structure on a plane that somebody draws


@dataclass(frozen=True)
class Drawn:
    """scene: as the engine would have it; target: (B, D, N, N) float32; usable: (B,) bool, has a drawing."""

    scene: Scene
    target: Tensor
    usable: Tensor


def draw(
    chance: Chance,
    luck: random.Random,
    image: Tensor,
    cover: Tensor,
    others: Tensor,
    gap: Tensor,
    position: Tensor,
    valid: Tensor,
    moves: bool,
) -> Drawn:
    """Draw on windows; (B, D, N, N) arrays, others: bool, what may be known as something else.

    moves: nothing but the first drawing is known, because the window moves on from it.
    """
    valid = valid * _field_of_view(chance, valid, position)
    target = _by_convention(chance, cover)
    area = (target * valid).sum((2, 3))
    rows = torch.arange(len(area), device=area.device)
    enough = area >= LEAST
    first = torch.where(enough[rows, position], position, area.argmax(1))
    usable = enough[rows, first]
    drawn = torch.zeros_like(enough)
    drawn[rows, first] = True
    if not moves:
        for share in (0.25, 0.12):
            more = chance.choose(enough.float())
            drawn[rows, more] |= chance.often(share) & usable
        # "Not here" beyond the ends, and now and then between parts.
        nothing = (area == 0) & (valid.flatten(2).amax(2) > 0)
        away = chance.choose(nothing.float())
        drawn[rows, away] |= chance.often(0.15) & nothing.any(1)
    rough = _roughly(chance, target)
    drawing = (2 * rough - 1) * drawn[:, :, None, None]
    known = others & per_sample(chance.often(0.15)) & (target == 0)
    drawing = torch.where(known, -torch.ones_like(drawing), drawing) * valid
    distance = distance_to(drawn, gap)
    radius = ((rough * valid).sum((2, 3))[rows, first].clamp(min=1) / math.pi).sqrt()
    scene = Scene(image * valid, drawing, drawn, distance, valid, gap, radius)
    return Drawn(scene, target * valid, usable)


def _by_convention(chance: Chance, cover: Tensor) -> Tensor:
    """(B, D, N, N) 0 or 1: one draws along an edge, another a little outside or inside of it, one takes what
    fills little of a thick slice and another leaves it, on every slice alike; so the drawing tells how the
    other slices are to be outlined."""
    inside = cover > per_sample(chance.uniform(*COVERED))
    radius = (inside.sum((2, 3)).amax(1).float() / math.pi).sqrt()
    width = max(1, round(float(radius.mean()) / CONVENTION))
    soft = F.avg_pool2d(cover, 2 * width + 1, 1, width, count_include_pad=False)
    shift = per_sample(chance.uniform(-0.15, 0.35) * chance.often(0.7))
    wider, narrower = inside | (soft > 0.5 - shift), inside & (soft > 0.5 - shift)
    left = narrower.sum((1, 2, 3)) >= KEPT * inside.sum((1, 2, 3))  # a thin wall would vanish
    narrower = torch.where(per_sample(left), narrower, inside)
    return torch.where(shift > 0, wider, torch.where(shift < 0, narrower, inside)).float()


def _roughly(chance: Chance, cover: Tensor) -> Tensor:
    """(B, D, N, N) 0 or 1: the outline a little off, most of the time."""
    depth, side = cover.shape[1:3]
    soft = F.avg_pool2d(cover, 3, 1, 1, count_include_pad=False)
    wobble = chance.field((depth, side, side), (depth, side // 6, side // 6))[:, 0]
    strength = per_sample(chance.uniform(0, 0.16) * chance.often(0.6))
    near = F.max_pool2d(cover, 2 * REACH + 1, 1, REACH) > 0.5
    return ((soft + strength * wobble > 0.5) & near).float()


def _field_of_view(chance: Chance, valid: Tensor, position: Tensor) -> Tensor:
    """(B, D, N, N) 1 inside; some windows reach over the volume's edges."""
    depth, side = valid.shape[1:3]
    planes = torch.arange(depth, device=valid.device)[None]
    below = torch.where(chance.often(0.15), (position * chance.uniform(0, 0.9)).long(), 0)
    above = (
        depth
        - 1
        - torch.where(chance.often(0.15), ((depth - 1 - position) * chance.uniform(0, 0.9)).long(), 0)
    )
    inside = ((planes >= below[:, None]) & (planes <= above[:, None]))[:, :, None, None].float()
    pixels = torch.arange(side, device=valid.device)[None]
    for axis in (2, 3):
        for reverse in (False, True):
            edge = torch.where(chance.often(0.1), (side / 2 * chance.uniform(0, 0.8)).long(), 0)
            kept = (pixels >= edge[:, None]).float()
            kept = kept.flip(1) if reverse else kept
            inside = inside * (kept[:, None, :, None] if axis == 2 else kept[:, None, None, :])
    return inside
