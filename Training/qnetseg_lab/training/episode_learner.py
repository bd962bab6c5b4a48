"""Q-Net and its baselines learn: augmented episodes forward, backward, update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..baselines import EpisodeLoss, TrainedMethod, build_method
from ..data import dataset
from .augment import Draws, augment, draw
from .checks import require_spacing
from .distributed import Processes
from .episodes import Episodes, EpisodeSampler, PairPlan, build, load_cases, to_device
from .learner import Ahead, Learner, Place, build_optimiser, learning_rate, mixed_precision
from .recipe import DataRecipe, Recipe
from .starts import ancestors, load_start


def set_mode(network: nn.Module, batch_norm: str) -> None:
    """Training mode; frozen batch normalisation keeps the statistics of the initial weights."""
    network.train()
    if batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


class EpisodeLearner(Learner):
    """A network, its optimiser, and the episodes that teach it.

    What step n does depends on the recipe and n alone, because episodes and augmentation are drawn from
    (seed, n). Several processes draw the same step, and each computes its share of the pairs.
    """

    def __init__(
        self,
        network: TrainedMethod,
        recipe: Recipe,
        sampler: EpisodeSampler,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """The network is moved to the device. Raises RecipeError where processes cannot share the recipe."""
        self.recipe: Recipe = recipe
        self.sampler, self.device = sampler, device
        self.ancestors = []
        self.data = [_described(source) for source in recipe.data]
        self.licence = "research use only"
        self.processes = processes or Processes()
        self.share = self.processes.share(recipe.episodes.pairs, "pairs", "pairs in [episodes]")
        self.network: TrainedMethod = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module = self.processes.wrap(self.network, device, recipe.batch_norm)
        self.optimiser = build_optimiser(self.network, recipe.optimiser)
        self._ahead = Ahead(self._prepare, lambda step: step + 1) if device.type == "cuda" else None

    @classmethod
    def build(cls, recipe: Recipe, place: Place, resumes: bool) -> EpisodeLearner:
        """See `Learner.build`."""
        for source in recipe.data:
            require_spacing(dataset(source.name), recipe.model.spacing)
        network, came_from = build_method(recipe.method, recipe.model), []
        if not resumes:
            place.report(load_start(network, recipe.start))
            came_from = ancestors(network, recipe.start)
        sources = [
            (source.share, load_cases(source, recipe.episodes, place.device)) for source in recipe.data
        ]
        sampler = EpisodeSampler(sources, recipe.episodes, recipe.seed)
        learner = cls(network, recipe, sampler, place.device, place.processes)
        learner.ancestors = came_from
        return learner

    def set_mode(self) -> None:
        """Training mode; the recipe decides about batch normalisation."""
        set_mode(self.network, self.recipe.batch_norm)

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
        with mixed_precision(self.recipe, self.device):
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


def _described(source: DataRecipe) -> str:
    """One source of the training data, for readers of a weights file."""
    left_out = f"without test fold {source.fold} ({source.scheme})" if source.fold >= 0 else "all cases"
    unseen = f", {', '.join(source.exclude)} unseen ({source.exclude_rule})" if source.exclude else ""
    return f"{source.name}: {left_out}{unseen}"
