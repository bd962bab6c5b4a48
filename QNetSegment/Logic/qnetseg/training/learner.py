"""One step of training: augmented episodes forward, backward, update; on one device or a share of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..model import EpisodeLoss, FewShotMethod
from ..model.threshold import FixedThreshold
from .augment import Draws, augment, draw
from .distributed import Processes
from .episodes import Episodes, EpisodeSampler, PairPlan, build, to_device
from .recipe import OptimiserRecipe, Recipe


def learning_rate(recipe: OptimiserRecipe, step: int, steps: int) -> float:
    """Learning rate of one step: warm-up, then steps of the released code or a cosine to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "cosine":
        return recipe.rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
    return recipe.rate * warm * recipe.gamma ** (step // recipe.every)


def build_optimiser(network: nn.Module, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    """SGD with momentum (released code) or AdamW, over everything that can be trained."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if recipe.name == "adamw":
        fused = all(p.is_cuda for p in parameters)  # one kernel instead of one for each operation
        return torch.optim.AdamW(
            _groups(network, parameters), lr=recipe.rate, weight_decay=recipe.decay, fused=fused
        )
    return torch.optim.SGD(parameters, lr=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.decay)


def _groups(network: nn.Module, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    """One group, and another one for fixed thresholds.

    AdamW moves every parameter by about the rate. That suits weights, of hundredths, but would leave a
    threshold, of about 10, where it starts; its rate is larger by the scale of the scores.
    """
    fixed = [module for module in network.modules() if isinstance(module, FixedThreshold)]
    apart = {id(module.value) for module in fixed}
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if id(p) not in apart]}]
    if fixed:
        values = [module.value for module in fixed]
        groups.append({"params": values, "weight_decay": 0.0, "factor": fixed[0].scale})
    return groups


def set_mode(network: nn.Module, batch_norm: str) -> None:
    """Training mode; frozen batch normalisation keeps the statistics of the start."""
    network.train()
    if batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """Let cuDNN choose its fastest algorithms, which pays because steps have one or few shapes."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class Learner:
    """A network, its optimiser, and the episodes that teach it.

    What step n does depends on the recipe and n alone, because episodes and augmentation are drawn from
    (seed, n). Several processes draw the same step, and each computes its share of the pairs.
    """

    def __init__(
        self,
        network: FewShotMethod,
        recipe: Recipe,
        sampler: EpisodeSampler,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """The network is moved to the device. Raises RecipeError where processes cannot share the recipe."""
        self.recipe, self.sampler, self.device = recipe, sampler, device
        self.processes = processes or Processes()
        self.share = self.processes.share(recipe.episodes.pairs)
        self.network: FewShotMethod = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module = self.processes.wrap(self.network, device, recipe.batch_norm)
        self.optimiser = build_optimiser(self.network, recipe.optimiser)
        self._ahead = _Ahead(self._prepare) if device.type == "cuda" else None

    def learn(self, step: int) -> EpisodeLoss:
        """One optimiser step (counted from 0); the losses before it.

        Returns:
            Means over the valid structures of all processes' pairs, on the device: reading one waits for it.
        """
        for group in self.optimiser.param_groups:
            rate = learning_rate(self.recipe.optimiser, step, self.recipe.steps)
            group["lr"] = rate * group.get("factor", 1.0)
        episodes = self.episodes(step)
        weight = self._weight(episodes.valid)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            loss: EpisodeLoss = self.module(*episodes)
        self.optimiser.zero_grad(set_to_none=True)
        (loss.total * weight).backward()
        if self.recipe.optimiser.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)
        self.optimiser.step()
        values = torch.stack([value.detach().float() for value in loss]) * weight / self.processes.count
        return EpisodeLoss(*self.processes.sum(values))

    def episodes(self, step: int) -> Episodes:
        """This process's share of a step's episodes, augmented, on the device."""
        plans, draws = self._ahead(step) if self._ahead else self._prepare(step)
        draws = Draws(*(to_device(values, self.device) for values in draws))
        return augment(build(plans, self.recipe.episodes.structures), draws, self.recipe.augmentation)

    def _prepare(self, step: int) -> tuple[list[PairPlan], Draws]:
        """What the CPU decides about a step."""
        plans = self.sampler.plan(step)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        draws = draw(len(plans), plans[0].size, self.recipe.augmentation, generator)
        return plans[self.share], Draws(*(values[self.share] for values in draws))

    def _weight(self, valid: Tensor) -> Tensor | float:
        """Factor of this process's loss that makes the mean over processes one over all structures."""
        if self.processes.count == 1:
            return 1.0
        own = valid.sum()
        return self.processes.count * own / self.processes.sum(own.clone()).clamp(min=1)


class _Ahead:
    """Prepares the next step in a thread while the device computes the present one."""

    def __init__(self, prepare: Callable[[int], tuple[list[PairPlan], Draws]]) -> None:
        self.prepare, self.pool = prepare, ThreadPoolExecutor(1)
        self.next: tuple[int, Future[tuple[list[PairPlan], Draws]]] | None = None

    def __call__(self, step: int) -> tuple[list[PairPlan], Draws]:
        """What `prepare` gives for the step; the one after it is begun."""
        ready = self.next[1] if self.next and self.next[0] == step else self.pool.submit(self.prepare, step)
        result = ready.result()
        self.next = step + 1, self.pool.submit(self.prepare, step + 1)
        return result
