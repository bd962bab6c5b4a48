"""Batches of windows with what is to be found in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.segment.drawn import SHIFT
from qnetseg.segment.evidence import Scene

from .bodies import layout
from .chance import Chance, per_sample
from .contrast import paint, scanned
from .rough_drawings import draw
from .tissue import Tissue, cut_out, find_place, repainted
from .windows import WindowRecipe

PARTS = 4  # of a slab
CELL = 2  # pixels along an edge of the cells that bodies are made on; they are interpolated to pixels


@dataclass(frozen=True)
class Sample:
    """A batch of windows.

    Attributes:
        scene: what is given; of a batch that moves on, with SHIFT more planes than a window.
        target: (B, D, N, N) float32, 0 or 1.
        counts: (B, D, N, N) float32, 1 where the answer is asked for, drawn planes included: the true outline
            is asked for there, which the drawing misses a little.
        moves: whether the window moves on.
    """

    scene: Scene
    target: Tensor
    counts: Tensor
    moves: bool


def make_batch(
    recipe: WindowRecipe, tissues: Sequence[Tissue], device: torch.device, seed: int, step: int
) -> Sample:
    """The batch of a step: it depends on the recipe, the volumes, the seed and the step alone."""
    luck = random.Random(f"{seed} {step}")
    kind = luck.random()
    moves, second = kind < recipe.moved, kind > 1 - recipe.second
    side = luck.choices(recipe.sides, recipe.often)[0]
    if moves:
        side = min(side, 96)
    shallow = not moves and luck.random() < recipe.shallow
    depth = recipe.depth // 2 if shallow else recipe.depth + (SHIFT if moves else 0)
    batch = max(1, round(recipe.voxels / (depth * side * side)))
    chance = Chance(batch, device, luck.getrandbits(62))
    radius = _radii(chance, side, second)
    if tissues and luck.random() < recipe.real:
        made = _real(recipe, tissues, luck, chance, depth, side, radius, moves)
    else:
        made = _synthetic(luck, chance, depth, side, radius, moves)
    drawn = draw(chance, luck, *made, moves)
    if second:
        drawn = replace(drawn, scene=replace(drawn.scene, prior=_first_look(chance, drawn.target)))
    counts = drawn.scene.valid * per_sample(drawn.usable.float())
    return Sample(drawn.scene, drawn.target, counts, moves)


def _radii(chance: Chance, side: int, second: bool) -> Tensor:
    """(B,) radius of the structure in pixels."""
    if second:
        return chance.spread(side / 4, side * 0.7)
    usual = chance.spread(side / 9, side / 4)
    return torch.where(chance.often(0.25), chance.spread(4, side / 6), usual)


def _real(
    recipe: WindowRecipe,
    tissues: Sequence[Tissue],
    luck: random.Random,
    chance: Chance,
    depth: int,
    side: int,
    radius: Tensor,
    moves: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """image, coverage, others (B, D, N, N), gap, position (B,), valid of windows from real volumes."""
    cut = [
        cut_out(find_place(tissues, luck, recipe.segmented), luck, depth, side, each, moves)
        for each in radius.tolist()
    ]
    image, cover, labels, valid = (torch.stack(parts) for parts in list(zip(*cut, strict=True))[:4])
    gap = torch.tensor([one[4] for one in cut], device=chance.device)
    position = torch.tensor([one[5] for one in cut], device=chance.device)
    fresh = per_sample(chance.often(recipe.repainted))
    image = scanned(chance, torch.where(fresh, repainted(chance, labels), image))
    pick = labels.flatten(1).gather(1, chance.integer(labels[0].numel())[:, None])
    others = (labels == per_sample(pick[:, 0])) & (labels > 0) & (cover < 0.5)
    return image, cover, others, gap, position, valid


def _synthetic(
    luck: random.Random, chance: Chance, depth: int, side: int, radius: Tensor, moves: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same of random bodies; in half of the batches planes are slabs, whose parts are averaged."""
    parts = PARTS if luck.random() < 0.5 else 1
    cells = side // CELL
    fine = (radius / 8).clamp(min=1)
    gap = torch.where(chance.often(0.45), fine, fine * chance.spread(1, 6)).clamp(max=10)
    low, high = (depth // 6, depth // 3) if moves else (depth // 6, depth - 1 - depth // 6)
    position = low + chance.integer(high - low + 1)
    planes = (torch.arange(depth * parts, device=chance.device) + 0.5) / parts - 0.5
    heights = (planes[None] - position[:, None]) * gap[:, None]
    made = layout(chance, heights, parts, cells, CELL, radius)

    def fine_planes(values: Tensor) -> Tensor:
        return F.interpolate(values, (side, side), mode="bilinear", align_corners=False)

    def covered(function: Tensor) -> Tensor:
        level = fine_planes(function.clamp(max=4))
        return ((1 - level) * per_sample(radius) / 2 + 0.5).clamp(0, 1)

    def slabs(values: Tensor) -> Tensor:
        return values.reshape(len(values), depth, parts, side, side).mean(2)

    colours = paint(chance, made.labels)
    inner = per_sample(made.inner)
    image = fine_planes(colours.around)
    for colour, cover in (
        (colours.rims, covered(made.rims)),
        (torch.where(inner, colours.target, colours.beside), covered(made.cavity)),
        (torch.where(inner, colours.beside, colours.target), covered(made.body)),
        (colours.inclusions, covered(made.inclusions)),
    ):
        image = image + (fine_planes(colour) - image) * cover
    image, cover = scanned(chance, slabs(image)), slabs(covered(made.target))
    labels = F.interpolate(made.labels.float(), (side, side), mode="nearest").long()
    middle = labels[:, parts // 2 :: parts]
    others = (middle == per_sample(chance.integer(int(labels.max()) + 1))) & (cover < 0.5)
    return image, cover, others, gap, position, torch.ones_like(image)


def _first_look(chance: Chance, target: Tensor) -> Tensor:
    """(B, D, N, N) what a window of coarser pixels could have said of the target."""
    depth, side = target.shape[1:3]
    bend = chance.field((depth, side, side), (depth // 4, side // 8, side // 8))[:, 0]
    factor = (2, 3, 4)[int(chance.integer(3)[0])]
    small = F.interpolate(target, scale_factor=1 / factor, mode="area")
    coarse = F.interpolate(small, (side, side), mode="bilinear", align_corners=False)
    soft = F.avg_pool2d(coarse, 5, 1, 2, count_include_pad=False)
    return torch.sigmoid(8 * (soft - 0.5) + per_sample(chance.uniform(0, 1.5)) * bend)
