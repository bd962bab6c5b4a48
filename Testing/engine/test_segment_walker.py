"""The random walker of the evidence."""

from __future__ import annotations

import torch

from qnetseg.segment.walker import Edges, conductances, walk


def dense_system(edges, outside):
    """Dense matrix of the walker's normal equations of one lattice, voxel by voxel."""
    shape, count = tuple(outside.shape), outside.numel()
    number = torch.arange(count).reshape(shape)
    matrix = torch.diag(outside.flatten().double())
    for axis, weights in enumerate(edges):
        low = number.narrow(axis, 0, shape[axis] - 1).flatten()
        high = number.narrow(axis, 1, shape[axis] - 1).flatten()
        for a, b, weight in zip(low, high, weights.flatten().double(), strict=True):
            matrix[a, a] += weight
            matrix[b, b] += weight
            matrix[a, b] -= weight
            matrix[b, a] -= weight
    return matrix


def test_the_walker_solves_its_normal_equations_for_each_lattice_of_a_batch():
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 4, 5)
    image = torch.randn(shape, generator=generator)
    edges = conductances(image, torch.tensor([2.0, 1.0]), 0.5, torch.tensor([0.7, 3.0]))
    outside = 0.1 * torch.rand(shape, generator=generator)
    seeds, values = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    seeds[:, 1] = True
    values[:, 1, 1:3, 1:3] = 1
    found = walk(edges, outside, seeds, values)
    for one in range(2):
        matrix = dense_system([part[one] for part in edges], outside[one])
        free, known = (~seeds[one]).flatten(), values[one].flatten().double()
        right = -(matrix @ (known * seeds[one].flatten()))[free]
        solved = torch.linalg.solve(matrix[free][:, free], right)
        assert torch.allclose(found[one].flatten()[free].double(), solved, atol=5e-3)
        assert torch.equal(found[one, 1], values[one, 1])


def test_conductances_are_low_over_edges_and_scaled_between_planes():
    image = torch.zeros(1, 2, 2, 2)
    image[..., 1] = 3.0
    edges = conductances(image, torch.ones(1), 0.5, torch.tensor([4.0]))
    assert isinstance(edges, Edges) and torch.allclose(edges.planes, torch.tensor(4.0), atol=1e-3)
    assert torch.allclose(edges.rows, torch.tensor(1.0), atol=1e-3)
    assert torch.all(edges.columns < 1e-3) and torch.all(edges.columns > 0)


def test_a_walker_without_prior_stays_inside_the_edges_of_the_image():
    image = torch.zeros(1, 5, 12, 12)
    image[..., 3:9, 3:9] = 1.0
    seeds, values = torch.zeros(image.shape, dtype=torch.bool), torch.zeros(image.shape)
    seeds[:, 2], values[:, 2, 3:9, 3:9] = True, 1.0
    edges = conductances(image, torch.tensor([0.1]), 1.0, torch.ones(1))
    found = walk(edges, torch.zeros_like(image), seeds, values) > 0.5
    assert torch.equal(found, image > 0.5)


def test_a_walker_without_seeds_finds_nothing():
    image = torch.rand(1, 2, 4, 4)
    edges = conductances(image, torch.ones(1), 0.5, torch.ones(1))
    seeds = torch.zeros(image.shape, dtype=torch.bool)
    assert not walk(edges, torch.zeros_like(image), seeds, torch.zeros_like(image)).any()
