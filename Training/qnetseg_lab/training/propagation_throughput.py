"""Speed of training the propagation network: what a step's windows cost, and what the network does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from qnetseg.model import PropagationNet

from ..provenance import load_average, peak_gib
from .learner import computed_precision, tuned_convolutions
from .propagation_learner import PropagationLearner
from .recipe import PropagationRecipe
from .synthesis import Division, Tissue
from .throughput import matrix_gflops, seconds

SIDE, BLOCK = 96, 24  # voxels along an edge of the made-up volume, and of its structures


def propagation_training(
    recipe: PropagationRecipe,
    device: torch.device,
    steps: int = 10,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time the steps of a recipe; real windows are cut out of a made-up volume.

    Args:
        recipe: only its volumes are not used.
        device: where to compute.
        steps: timed steps, after as many of warm-up, because each shape of windows needs its own.
        report: receives the lines of the summary.

    Returns:
        Figures of a result file. Times are in seconds a step: of whole steps as they are trained; of making
        windows and what is seen of them (evidence, and the first look at a batch that moves on), by itself,
        which training on a GPU does ahead in part; of the network's forward, backward and update.
        `network_share` is the last over the first: the share of the time in which the device computes the
        network. Memory in GiB as in `bench.training`.
    """
    busy = load_average()
    torch.manual_seed(recipe.seed)
    network, tissues = PropagationNet(recipe.model), [made_up_tissue(device)]
    learner = PropagationLearner(network, recipe, tissues, device)
    learner.set_mode()
    report(f"timing {steps} steps of {recipe.name}")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    windows = computed = gflop = 0.0
    with tuned_convolutions():
        for step in range(steps):
            learner.learn(step)
        whole = seconds(lambda: [learner.learn(step) for step in range(steps)], device)
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else peak_gib()
        for step in range(steps):
            parts = _Parts(learner, step)
            windows += seconds(parts.make, device)
            computed += seconds(parts.compute, device)
            with FlopCounterMode(display=False) as counter:
                parts.compute()
            gflop += counter.get_total_flops() / 1e9
    precision = computed_precision(recipe, device)
    matrix = matrix_gflops(precision, device)
    content: dict[str, Any] = {
        "bench": "training-propagation",
        "recipe": recipe.name,
        "precision": precision,
        "batches": recipe.batches,
        "voxels": recipe.windows.voxels,
        "steps": steps,
        "seconds_per_step": whole / steps,
        "windows_seconds_per_step": windows / steps,
        "network_seconds_per_step": computed / steps,
        "network_share": computed / whole,
        "gflop_per_step": gflop / steps,
        "matrix_gflops": matrix,
        "fraction_of_floor": gflop / matrix / whole,
        "peak_gib": peak,
        "load_average": busy,
    }
    report(f"step             {content['seconds_per_step']:8.3f} s, {precision}")
    report(f"  windows        {content['windows_seconds_per_step']:8.3f} s")
    report(f"  network        {content['network_seconds_per_step']:8.3f} s")
    report(f"network's share  {100 * content['network_share']:8.0f} %")
    report(f"matrix rate      {100 * content['fraction_of_floor']:8.1f} % of {matrix:.0f} GFLOP/s")
    report(f"peak memory      {content['peak_gib']:8.2f} GiB")
    return content


class _Parts:
    """A step of a learner in two parts."""

    def __init__(self, learner: PropagationLearner, step: int) -> None:
        self.learner, self.step = learner, step
        first = step * learner.recipe.batches
        self.numbers = range(first, first + learner.recipe.batches)

    def make(self) -> None:
        self.batches = [self.learner.seen(self.learner.make(number)) for number in self.numbers]

    def compute(self) -> None:
        self.learner.optimiser.zero_grad(set_to_none=True)
        for batch in self.batches:
            self.learner.descend(*batch)
        self.learner.update(self.step)


def made_up_tissue(device: torch.device, side: int = SIDE, block: int = BLOCK) -> Tissue:
    """Cubes of noise with 1 mm voxels, a level and a label each."""
    chance = np.random.default_rng(0)
    cells = side // block
    cubes = np.arange(1, cells**3 + 1).reshape(cells, cells, cells)
    labels = cubes.repeat(block, 0).repeat(block, 1).repeat(block, 2)
    levels = np.append(0, chance.normal(size=cells**3))
    image = levels[labels] + 0.2 * chance.normal(size=labels.shape)
    divisions = (Division.of(labels, device),)
    return Tissue("made up", torch.from_numpy(image.astype(np.float32)).to(device), (1, 1, 1), divisions, 0)
