"""Random bodies: a structure to find, and what lies around it.

Every body is where a function of space is below 1. The functions are unions of quadrics, which one matrix
product evaluates for all bodies and voxels of a batch. Lengths are in pixels of the window.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .chance import Chance, per_sample

PIECES = 24  # quadrics that one structure is made of at most
AROUND = 18  # single bodies around it
TUBES = 2  # tubes among the surroundings
LINKS = 12  # balls of such a tube
REGIONS = 5  # kinds of tissue that fill the rest
FORMS = (0.42, 0.12, 0.32, 0.14)  # of single bodies: solid, dented, a wall, what a wall surrounds
INCLUSIONS = 4  # spots of other tissue in and at the structure
FAR = 1e3  # a function's value where there is nothing


class Layout(NamedTuple):
    """What lies where in B windows of D planes of H x H cells.

    Functions are (B, D, H, H) float32, below 1 inside; continuous, to be interpolated.

    Attributes:
        target: the structure to be found.
        body: what has the first colour: the structure, or the wall around it.
        cavity: what the body surrounds.
        inclusions: spots of other tissue, which belong to whatever they lie in.
        rims: thin layers around the structure and what lies beside it; nothing in most samples.
        labels: (B, D, H, H) int64: 0 to REGIONS - 1 for tissue, then the bodies around.
        inner: (B,) bool, the structure is the cavity, as far as the wall reaches.
    """

    target: Tensor
    body: Tensor
    cavity: Tensor
    inclusions: Tensor
    rims: Tensor
    labels: Tensor
    inner: Tensor


LABELS = REGIONS + AROUND + TUBES


def layout(chance: Chance, planes: Tensor, parts: int, side: int, cell: float, radius: Tensor) -> Layout:
    """Random bodies around the window's middle.

    Args:
        chance: random numbers of the batch.
        planes: (B, D) float32, pixels of each plane above the one that is drawn on.
        parts: planes that are one slice of the scan.
        side: cells along an edge of the window.
        cell: pixels along an edge of a cell.
        radius: (B,) float32, about that of the structure in the drawn plane, pixels.
    """
    depth = planes.shape[1]
    where = _warped(chance, planes, parts, side, cell, radius)
    monomials = _monomials(where)
    shape = (chance.batch, -1, depth, side, side)
    target, body, cavity, inner = _structure(chance, monomials, shape)
    inclusions = _inclusions(chance, monomials).reshape(shape)[:, 0]
    around = _surroundings(chance, monomials, shape)
    labels = chance.field((depth, side, side), (4, 6, 6), REGIONS).argmax(1)
    for number in range(around.shape[1]):
        labels = torch.where(around[:, number] < 1, REGIONS + number, labels)
    rims = _rims(chance, torch.minimum(body, around.amin(1)), radius)
    # Some of the surroundings lie in front of the structure and dent it.
    dents = per_sample(chance.often(0.35)) & (around[:, :3] < 1).any(1)
    target, body = (torch.where(dents & (part < 1), 2 - part, part) for part in (target, body))
    return Layout(target, body, cavity, inclusions, rims, labels, inner)


def _warped(chance: Chance, planes: Tensor, parts: int, side: int, cell: float, radius: Tensor) -> Tensor:
    """(B, 3, D * H * H) places in units of the radius, bent by smooth noise, and shifted from slice to slice
    by breathing."""
    depth = planes.shape[1]
    across = (torch.arange(side, device=planes.device) - (side - 1) / 2) * cell
    z = planes[:, :, None, None].expand(-1, -1, side, side)
    y, x = torch.meshgrid(across, across, indexing="ij")
    places = torch.stack([z, y.expand_as(z), x.expand_as(z)], 1) / per_sample(radius, 5)
    strength = chance.uniform(0, 1) ** 2
    coarse = chance.field((depth, side, side), (4, 4, 4), 3) * per_sample(strength, 5) * 0.35
    finer = chance.field((depth, side, side), (6, 9, 9), 3) * per_sample(chance.uniform(0, 1) ** 3, 5) * 0.12
    breath = chance.normal(2, depth // parts).repeat_interleave(parts, 2)[..., None, None]
    places[:, 1:] += breath * per_sample(chance.often(0.4) * chance.uniform(0, 0.1), 5)
    return (places + coarse + finer).flatten(2)


def _monomials(places: Tensor) -> Tensor:
    """(B, 10, V): 1, z, y, x, and their products."""
    z, y, x = places.unbind(1)
    return torch.stack([torch.ones_like(z), z, y, x, z * z, y * y, x * x, z * y, z * x, y * x], 1)


def _quadrics(centre: Tensor, radii: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients on `_monomials` of (squared distance across the first axis, along it): (B, n, 10) each.

    centre, radii: (B, n, 3). turn: (B, n, 3, 3) with the bodies' axes in rows.
    """

    def expanded(form: Tensor) -> Tensor:
        pulled = (form @ centre[..., None])[..., 0]
        constant = (pulled * centre).sum(-1, keepdim=True)
        squares = form.diagonal(dim1=-2, dim2=-1)
        mixed = 2 * torch.stack([form[..., 0, 1], form[..., 0, 2], form[..., 1, 2]], -1)
        return torch.cat([constant, -2 * pulled, squares, mixed], -1)

    scaled = turn / radii[..., None]
    along = scaled[..., :1, :].transpose(-1, -2) @ scaled[..., :1, :]
    across = scaled[..., 1:, :].transpose(-1, -2) @ scaled[..., 1:, :]
    return expanded(across), expanded(along)


def _rotations(chance: Chance, count: int, tilt: float) -> Tensor:
    """(B, count, 3, 3) random rotations; the first axis leaves the normal by about `tilt` (1: any way)."""
    free = chance.normal(count, 3, 3)
    normal = torch.zeros_like(free[..., :1, :])
    normal[..., 0] = 1
    first = normal * (1 - tilt) + free[..., :1, :] * tilt
    frame, _ = torch.linalg.qr(torch.cat([first, free[..., 1:, :]], -2).transpose(-1, -2))
    return frame.transpose(-1, -2)


def _structure(
    chance: Chance, monomials: Tensor, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Target, body, cavity and inner of `Layout`: one of a body, lobes, a tube with branches, several parts;
    some single bodies are dented, walls around a cavity, or such a cavity."""
    batch, device = chance.batch, monomials.device
    kind = chance.choose(torch.tensor([[0.55, 0.15, 0.2, 0.1]], device=device).expand(batch, -1))
    centre = torch.full((batch, PIECES, 3), FAR, device=device)
    radii = torch.ones(batch, PIECES, 3, device=device)
    turn = _rotations(chance, PIECES, 0.5)
    for number, made in enumerate((_body, _lobes, _tube, _parts)):
        own_centre, own_radii, count = made(chance)
        used = (kind == number)[:, None] & (torch.arange(PIECES, device=device) < count)[None]
        centre = torch.where(used[..., None], own_centre, centre)
        radii = torch.where(used[..., None], own_radii, radii)
    across, along = _quadrics(centre, radii, turn)
    squares, lengths = (coefficients @ monomials for coefficients in (across, along))
    whole = _closed(chance, squares, lengths, kind != 2).amin(1).reshape(shape)[:, 0]
    form = chance.choose(torch.tensor([FORMS], device=device).expand(batch, -1))
    form = torch.where(kind == 0, form, 0)
    cavity = _hollow(chance, monomials, centre, radii, turn, form).reshape(shape)[:, 0]
    wall = torch.maximum(whole, 2 - cavity)
    inner = form == 3
    target = torch.where(per_sample(inner), torch.maximum(whole, cavity), wall)
    return target, wall, torch.maximum(cavity, 2 - wall), inner


def _closed(chance: Chance, squares: Tensor, lengths: Tensor, may_be_blunt: Tensor) -> Tensor:
    """Bodies that close as ellipsoids do, later, or as cylinders with flat ends."""
    how = chance.uniform(0, 1)[:, None, None]
    how = torch.where(may_be_blunt[:, None, None], how, torch.zeros_like(how))
    later = (squares.square() + lengths.square()).sqrt()
    ends = torch.where(how < 0.75, later, torch.maximum(squares, lengths))
    return torch.where(how < 0.4, squares + lengths, ends)


def _body(chance: Chance) -> tuple[Tensor, Tensor, int]:
    """One body, flat or long; its first axis leans from the normal."""
    sides = chance.spread(0.7, 1.45, PIECES, 1)
    length = chance.spread(0.5, 3.5, PIECES, 1)
    radii = torch.cat([length, sides, 1 / sides], -1)
    centre = chance.normal(PIECES, 3) * 0.12
    centre[..., :1] = chance.uniform(-0.85, 0.85, PIECES, 1) * length
    return centre, radii, 1


def _lobes(chance: Chance) -> tuple[Tensor, Tensor, int]:
    """A few bodies that grow into each other."""
    count = 4
    radii = chance.spread(0.35, 1.1, PIECES, 3)
    step = chance.normal(PIECES, 3)
    centre = step / step.norm(dim=-1, keepdim=True) * radii.amin(-1, keepdim=True) * 1.1
    centre[:, 0] = chance.normal(3) * 0.2
    radii[:, 0] = chance.spread(0.7, 1.2, 3)
    return centre, radii, count


def _tube(chance: Chance) -> tuple[Tensor, Tensor, int]:
    """A chain of balls that bends, and a branch of it."""
    main = 2 * PIECES // 3
    bend = chance.uniform(0, 0.6)[:, None, None]
    upward = torch.zeros(chance.batch, 1, 3, device=chance.device)
    upward[..., 0] = 1
    lean = upward + chance.normal(1, 3) * chance.uniform(0, 0.8)[:, None, None]
    way = lean + (chance.normal(PIECES, 3) * bend).cumsum(1)
    way = way / way.norm(dim=-1, keepdim=True).clamp(min=1e-3)
    width = chance.spread(0.75, 1.2)[:, None]
    thick = (width * (chance.normal(PIECES) * chance.uniform(0, 0.12)[:, None]).cumsum(1).exp()).clamp(
        0.3, 1.6
    )
    place = (way * 0.6 * thick[..., None]).cumsum(1)
    start = chance.integer(main)
    branch = place[torch.arange(chance.batch), start]
    place[:, main:] = branch[:, None] + place[:, main:] - place[:, main - 1 : main]
    thick[:, main:] *= 0.7
    length = chance.uniform(0.15, 1)[:, None]
    order = torch.arange(PIECES, device=chance.device)[None]
    gone = (order < main) & (order > length * main)
    gone |= (order >= main) & ~chance.often(0.3)[:, None]
    middle = (length[:, 0] * main * chance.uniform(0, 1)).long().clamp(max=main - 1)
    place = place - place[torch.arange(chance.batch), middle][:, None]
    place = place + gone[..., None] * FAR
    return place, thick[..., None].expand(-1, -1, 3), PIECES


def _parts(chance: Chance) -> tuple[Tensor, Tensor, int]:
    """Bodies apart from each other, most of them on the drawn plane."""
    radii = chance.spread(0.3, 0.9, PIECES, 3)
    centre = chance.normal(PIECES, 3)
    centre[..., 1:] *= 1.1
    centre[..., :1] *= 0.5
    radii[..., :1] *= chance.spread(0.7, 3, PIECES, 1)
    return centre, radii, 3


def _hollow(
    chance: Chance, monomials: Tensor, centre: Tensor, radii: Tensor, turn: Tensor, form: Tensor
) -> Tensor:
    """(B, 1, V) function of the cavity or dent of single bodies; FAR for the others."""
    dent = (form == 1)[:, None, None]
    wall = torch.where(dent, chance.uniform(0.45, 0.88, 1, 1), chance.uniform(0.5, 0.9, 1, 1))
    own = radii[:, :1] * wall
    own[..., :1] *= chance.spread(0.8, 1.6, 1, 1)  # some are open at an end
    shift = chance.normal(1, 3) * torch.where(dent, 0.6, 0.06)
    shift[..., 0] *= 0.3
    across, along = _quadrics(centre[:, :1] + shift * radii[:, :1], own, turn[:, :1])
    return torch.where((form > 0)[:, None, None], (across + along) @ monomials, FAR)


def _inclusions(chance: Chance, monomials: Tensor) -> Tensor:
    """(B, 1, V) function of small bodies near the structure's middle; FAR in most samples."""
    radii = chance.spread(0.1, 0.4, INCLUSIONS, 3)
    radii[..., :1] *= chance.spread(1, 3, INCLUSIONS, 1)
    centre = chance.normal(INCLUSIONS, 3) * 0.5
    across, along = _quadrics(centre, radii, _rotations(chance, INCLUSIONS, 0.4))
    there = chance.often(0.35)[:, None, None]
    return torch.where(there, ((across + along) @ monomials).amin(1, keepdim=True), FAR)


def _rims(chance: Chance, bodies: Tensor, radius: Tensor) -> Tensor:
    """(B, D, H, H) function of a layer of 1 to 3 pixels on (B, D, H, H) bodies: fat, or a capsule."""
    thick = 2 * chance.uniform(1, 3) / radius  # a function grows by about 2 in a radius
    middle = 1 + per_sample(thick) / 2
    layer = 1 + per_sample(radius) / 2 * ((bodies - middle).abs() - per_sample(thick) / 2)
    return torch.where(per_sample(chance.often(0.35)), layer, FAR)


def _surroundings(chance: Chance, monomials: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, AROUND + TUBES, D, H, H) functions of bodies anywhere, some of which touch the structure."""
    radii = chance.spread(0.25, 1.8, AROUND, 1) * chance.spread(0.6, 1.6, AROUND, 3)
    centre = chance.uniform(-3.2, 3.2, AROUND, 3)
    centre[..., 0] *= 0.8
    touching = AROUND // 3
    way = chance.normal(touching, 3)
    way[..., 0] *= 0.6
    way = way / way.norm(dim=-1, keepdim=True)
    near = 0.9 + radii[:, :touching].mean(-1, keepdim=True) * 0.9
    centre[:, :touching] = way * near
    across, along = _quadrics(centre, radii, _rotations(chance, AROUND, 0.6))
    squares, lengths = (coefficients @ monomials for coefficients in (across, along))
    blunt = chance.often(0.3, AROUND)[..., None]
    bodies = torch.where(blunt, torch.maximum(squares, lengths), squares + lengths).reshape(shape)
    tubes = []
    for _ in range(TUBES):
        place, thick, _ = _tube(chance)
        size = chance.spread(0.2, 0.7)[:, None, None]
        offset = chance.normal(1, 3) * 1.2
        own = slice(0, LINKS)
        parts = _quadrics(place[:, own] * size + offset, thick[:, own] * size, _rotations(chance, LINKS, 1.0))
        tubes.append(((parts[0] + parts[1]) @ monomials).amin(1).reshape(shape)[:, 0])
    return torch.cat([bodies, torch.stack(tubes, 1)], 1)
