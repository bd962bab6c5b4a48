"""What the trainer knows of whatever learns, and what all learners have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from qnetseg.model import Network
from qnetseg.model.threshold import FixedThreshold
from qnetseg.segment.device import computes_bf16

from .distributed import Processes
from .recipe import AnyRecipe, OptimiserRecipe

Part = TypeVar("Part")


class Loss(Protocol):
    """Losses of a step, a NamedTuple of scalars on the device; the total is what is minimised."""

    @property
    def total(self) -> Tensor:
        """The sum of the others."""

    def _asdict(self) -> dict[str, Tensor]: ...


class Place(NamedTuple):
    """Where a training runs.

    Attributes:
        folder: of the run; it exists.
        device: where to compute.
        processes: that share the run.
        report: receives a line now and then.
    """

    folder: Path
    device: torch.device
    processes: Processes
    report: Callable[[str], None]


class Learner(ABC):
    """A network, its optimiser, and what teaches it.

    What step n does depends on the recipe and n alone.

    Attributes:
        recipe: what to train.
        network: the one that learns, on the device.
        optimiser: of its parameters.
        ancestors: recipes that the initial weights were trained with, see `qnetseg_lab.provenance.lineage`.
        data: what it learns from, for readers of a weights file.
        licence: of the weights.
    """

    recipe: AnyRecipe
    network: Network
    optimiser: torch.optim.Optimizer
    ancestors: list[dict[str, Any] | None]
    data: list[str]
    licence: str

    @classmethod
    @abstractmethod
    def build(cls, recipe: Any, place: Place, resumes: bool) -> Learner:
        """A learner with its data. resumes: a checkpoint replaces the initial weights, which are not loaded.

        Raises:
            RecipeError: processes cannot share the recipe's steps.
            DatasetError, WeightsError: data or initial weights are missing or do not fit the recipe.
        """

    @abstractmethod
    def set_mode(self) -> None:
        """Prepare the network for the first step of a run."""

    @abstractmethod
    def learn(self, step: int) -> Loss:
        """One optimiser step (counted from 0); the losses before it, of all processes.

        They are on the device: reading one waits for it.
        """

    def finished(self) -> Network:
        """The network that the weights file gets."""
        return self.network

    def extra_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside network and optimiser."""
        return {}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027 (most have none)
        """Inverse of `extra_state`. Raises ValueError for other tensors."""


def computed_precision(recipe: AnyRecipe, device: torch.device) -> str:
    """Of a step: "bf16" where the recipe asks for it and the hardware computes in it, else "fp32"."""
    return recipe.precision if computes_bf16(device) else "fp32"


def mixed_precision(recipe: AnyRecipe, device: torch.device) -> torch.autocast:
    """The arithmetic of a forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computed_precision(recipe, device) == "bf16")


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


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """Let cuDNN choose its fastest algorithms, which pays because steps have one or few shapes."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class Ahead(Generic[Part]):
    """Prepares the next part of a training in a thread while the device computes the present one."""

    def __init__(self, prepare: Callable[[int], Part], following: Callable[[int], int]) -> None:
        """prepare: makes the part of a number. following: the number that is asked for after a number."""
        self.prepare, self.following, self.pool = prepare, following, ThreadPoolExecutor(1)
        self.next: tuple[int, Future[Part]] | None = None

    def __call__(self, number: int) -> Part:
        """What `prepare` gives for the number; the one after it is begun."""
        ready = self.next[1] if self.next and self.next[0] == number else self._begin(number)
        result = ready.result()
        after = self.following(number)
        self.next = after, self._begin(after)
        return result

    def _begin(self, number: int) -> Future[Part]:
        return self.pool.submit(self.prepare, number)
