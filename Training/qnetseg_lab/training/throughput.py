"""Speed of training on synthetic data: against one episode a step, and against the least possible time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ..baselines import build_method
from ..provenance import load_average, peak_gib
from .episode_learner import EpisodeLearner, set_mode
from .episodes import EpisodeSampler, TrainingCase, centres
from .learner import computed_precision, mixed_precision, tuned_convolutions
from .pairs import adjacent_pairs
from .recipe import EpisodeRecipe, OptimiserRecipe, Recipe

SIZE, SLICES, BLOCK = 256, 6, 32  # pixels of a slice, slices of a volume, pixels of a supervoxel's side
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows of the matrices whose product shows what the hardware can do


def training(
    recipe: Recipe,
    device: torch.device,
    steps: int = 10,
    report: Callable[[str], None] = print,
    size: int = SIZE,
) -> dict[str, Any]:
    """Time a recipe's training step against the paper's: one episode in float32, SGD, batch statistics.

    An episode is one structure of one pair of slices. Both sides train the same network from random weights
    on the same synthetic volumes, in channels-last order, with augmentation on the device; torch's defaults
    let the float32 side use TF32 convolutions on a GPU. The least possible time is the step's floating-point
    operations, two for each multiply-add, over the rate of a large matrix product in the same precision.

    Args:
        recipe: only its data are not used.
        device: where to compute.
        steps: timed steps of each side, after one step of warm-up.
        report: receives the lines of the summary.
        size: rows and columns of a slice in pixels, a multiple of 32.

    Returns:
        Figures of a result file: rates in 1/s and GFLOP/s, times in seconds, memory in GiB (of a GPU, or of
        this process, which should have done nothing else before).
    """
    cases = [synthetic_case(size, recipe.episodes.min_pixels, device)]
    busy = load_average()
    report(f"timing {steps} steps of {recipe.name}, then as many of one episode")
    ours = _time_steps(recipe, cases, device, steps)
    precision = computed_precision(recipe, device)
    matrix = matrix_gflops(precision, device)
    paper = _time_steps(paper_recipe(recipe), cases, device, steps)
    floor = ours["gflop"] / matrix
    content = {
        "bench": "training",
        "recipe": recipe.name,
        "precision": precision,
        "pairs": recipe.episodes.pairs,
        "structures": recipe.episodes.structures,
        "steps": steps,
        "size": size,
        "episodes_per_second": ours["episodes"] / ours["seconds"],
        "reference_episodes_per_second": paper["episodes"] / paper["seconds"],
        "ratio": ours["episodes"] / ours["seconds"] * paper["seconds"] / paper["episodes"],
        "pairs_per_second": recipe.episodes.pairs / ours["seconds"],
        "reference_pairs_per_second": 1 / paper["seconds"],
        "gflop_per_episode": ours["gflop"] / ours["episodes"],
        "matrix_gflops": matrix,
        "seconds_per_step": ours["seconds"],
        "floor_seconds_per_step": floor,
        "fraction_of_floor": floor / ours["seconds"],
        "encoder_fraction": ours["encoder_gflops"] / matrix,
        "peak_gib": ours["peak_gib"],
        "load_average": busy,
    }
    _summarise(content, report)
    return content


def _summarise(content: dict[str, Any], report: Callable[[str], None]) -> None:
    report(f"one episode a step, fp32  {content['reference_episodes_per_second']:9.3f} episodes a second")
    report(
        f"{content['recipe']:<24}  {content['episodes_per_second']:9.3f} episodes a second,"
        f" {content['pairs_per_second']:.3f} pairs of slices, {content['precision']}"
    )
    report(f"ratio                     {content['ratio']:9.1f}")
    report(
        f"step                      {content['seconds_per_step']:9.3f} s; the least possible is"
        f" {content['floor_seconds_per_step']:.3f} s at {content['matrix_gflops']:.0f} GFLOP/s"
        f" ({100 * content['fraction_of_floor']:.0f} % reached)"
    )
    report(f"encoder                   {100 * content['encoder_fraction']:9.0f} % of the matrix rate")
    report(f"peak memory               {content['peak_gib']:9.2f} GiB")
    if content["load_average"] is not None:
        report(f"load before it began      {content['load_average']:9.2f} processes")


def paper_recipe(recipe: Recipe) -> Recipe:
    """The same network and augmentation with the released code's arithmetic."""
    return dataclasses.replace(
        recipe,
        precision="fp32",
        batch_norm="train",
        episodes=EpisodeRecipe(min_pixels=recipe.episodes.min_pixels),
        optimiser=OptimiserRecipe(),
    )


def synthetic_case(size: int, min_pixels: int, device: torch.device) -> TrainingCase:
    """Noise on `SLICES` slices of size x size pixels, in square supervoxels of BLOCK pixels a side."""
    tile = np.arange(1, (size // BLOCK) ** 2 + 1, dtype=np.int16).reshape(size // BLOCK, -1)
    plane = np.kron(tile, np.ones((BLOCK, BLOCK), np.int16))
    supervoxels = np.repeat(plane[None], SLICES, axis=0)
    image = torch.randn(SLICES, size, size, generator=torch.Generator().manual_seed(0)).half()
    pairs = adjacent_pairs(supervoxels, min(min_pixels, BLOCK * BLOCK))
    labels = torch.from_numpy(supervoxels).to(device)
    return TrainingCase("synthetic", image.to(device), labels, pairs, centres(supervoxels))


def matrix_gflops(precision: str, device: torch.device, size: int | None = None, least: float = 1.0) -> float:
    """Measured GFLOP/s of a large matrix product, the fastest of several within at least `least` seconds."""
    size = size or MATRIX.get(device.type, MATRIX["cpu"])
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.randn(size, size, device=device).to(dtype)
    matrix @ matrix
    fastest, began = float("inf"), time.perf_counter()
    while fastest == float("inf") or time.perf_counter() - began < least:
        fastest = min(fastest, seconds(lambda: matrix @ matrix, device))
    return 2 * size**3 / fastest / 1e9


def _time_steps(
    recipe: Recipe, cases: list[TrainingCase], device: torch.device, steps: int
) -> dict[str, float]:
    """Mean seconds and episodes of a step, its GFLOP, the encoder's GFLOP/s and the peak memory."""
    torch.manual_seed(recipe.seed)
    network = build_method(recipe.method, recipe.model)
    sampler = EpisodeSampler([(1.0, cases)], recipe.episodes, recipe.seed)
    learner = EpisodeLearner(network, recipe, sampler, device)
    set_mode(learner.network, recipe.batch_norm)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tuned_convolutions():
        with FlopCounterMode(display=False) as counter:
            learner.learn(0)

        def run() -> None:
            for step in range(1, steps + 1):
                learner.learn(step)

        taken = seconds(run, device) / steps
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else peak_gib()
        encoder = _encoder_gflops(learner, steps)
    plans = [plan for step in range(1, steps + 1) for plan in learner.sampler.plan(step)]
    return {
        "seconds": taken,
        "episodes": sum(len(plan.labels) for plan in plans) / steps,
        "gflop": counter.get_total_flops() / 1e9,
        "encoder_gflops": encoder,
        "peak_gib": peak,
    }


def _encoder_gflops(learner: EpisodeLearner, steps: int) -> float:
    """GFLOP/s of the network's ResNets alone, forward and backward, on the images of a step."""
    images = learner.episodes(0).images.flatten(0, 1)

    def once() -> None:
        with mixed_precision(learner.recipe, images.device):
            inputs = learner.network.network_input(images)
            features = [
                reduce(lambda x, layer: layer(x), backbone.values(), inputs)
                for backbone in learner.network.backbones()
            ]
        torch.stack([part.float().sum() for part in features]).sum().backward()

    with FlopCounterMode(display=False) as counter:
        once()

    def repeatedly() -> None:
        for _ in range(steps):
            once()

    taken = seconds(repeatedly, images.device) / steps
    return counter.get_total_flops() / 1e9 / taken


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds until the device has done the work."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    began = now()
    work()
    return now() - began
