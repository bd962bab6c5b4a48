"""The propagation network learns: its loss, and the windows that move on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qnetseg.model import PropagationNet, load_propagation
from qnetseg.model.storage import fill
from qnetseg.segment.drawn import SHIFT, leading
from qnetseg.segment.evidence import FOUND, Appearance, Scene, evidence

from ..provenance import lineage
from .confidence_fit import fit_confidence
from .distributed import Processes
from .learner import Ahead, Learner, Place, build_optimiser, learning_rate, mixed_precision
from .recipe import PropagationRecipe
from .synthesis import OPEN, Sample, Tissue, keep_supervoxels, load_tissues, make_batch

SUPERVOXELS = "supervoxels"  # folder of a run that keeps them

AVERAGED = 0.999  # share of the running mean of the weights that one step leaves


class PropagationLoss(NamedTuple):
    """Losses of a step; scalars. The total, their sum, is what is minimised."""

    total: Tensor
    overlap: Tensor
    voxels: Tensor
    presence: Tensor


class PropagationLearner(Learner):
    """The propagation network and the running mean of its weights, which is what is kept in the end.

    The windows of step n are made from (seed, n). Several processes share its batches.
    """

    def __init__(
        self,
        network: PropagationNet,
        recipe: PropagationRecipe,
        tissues: Sequence[Tissue],
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """The network is moved to the device. Raises RecipeError where processes cannot share the batches."""
        self.recipe: PropagationRecipe = recipe
        self.tissues, self.device = tissues, device
        self.ancestors = []
        self.data = describe_volumes(recipe)
        self.licence = "CC BY 4.0" if set(recipe.volumes) <= {OPEN} else "research use only"
        self.processes = processes or Processes()
        self.share = self.processes.share(recipe.batches, "batches", "batches")
        self.network: PropagationNet = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimiser = build_optimiser(self.network, recipe.optimiser)
        self._ahead = Ahead(self.make, self._following) if device.type == "cuda" else None
        self.average = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @classmethod
    def build(cls, recipe: PropagationRecipe, place: Place, resumes: bool) -> PropagationLearner:
        """See `Learner.build`. The first process computes supervoxels that the run's folder lacks."""
        network, came_from = PropagationNet(recipe.model), []
        if recipe.start != "random" and not resumes:
            start = load_propagation(recipe.start)
            fill(network, start.network.state_dict(), recipe.start)
            came_from = lineage(start.provenance)
            place.report(f"The whole network starts from {recipe.start}.")
        folder = place.folder / SUPERVOXELS
        if place.processes.rank == 0:
            keep_supervoxels(recipe.volumes, folder, place.report)
        place.processes.wait()
        tissues = load_tissues(recipe.volumes, folder, place.device, place.report)
        learner = cls(network, recipe, tissues, place.device, place.processes)
        learner.ancestors = came_from
        return learner

    def set_mode(self) -> None:
        """Training mode."""
        self.network.train()

    def learn(self, step: int) -> PropagationLoss:
        """One optimiser step (counted from 0); the losses before it, means over the step's batches."""
        numbers = range(step * self.recipe.batches, (step + 1) * self.recipe.batches)
        self.optimiser.zero_grad(set_to_none=True)
        losses = [self.descend(*self.windows(number)) for number in numbers[self.share]]
        self.update(step)
        mean = torch.stack(losses).sum(0) / self.recipe.batches
        return PropagationLoss(*self.processes.sum(mean))

    def windows(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """A batch as `seen` gives it."""
        return self.seen(self._ahead(number) if self._ahead else self.make(number))

    def make(self, number: int) -> Sample:
        """The batch of a number; nothing that was learned has a part in it, so that it can be made ahead."""
        return make_batch(self.recipe.windows, self.tissues, self.device, self.recipe.seed, number)

    def _following(self, number: int) -> int:
        """The batch that this process learns from after another one."""
        place = number % self.recipe.batches
        if place + 1 < self.share.stop:
            return number + 1
        return number - place + self.recipe.batches + self.share.start

    def descend(self, seen: Tensor, target: Tensor, counts: Tensor) -> Tensor:
        """Add a batch to the step's gradients; its losses, in a row."""
        loss = propagation_loss(*self._look(seen), target, counts)
        (loss.total / self.recipe.batches).backward()
        return torch.stack([value.detach().float() for value in loss])

    def update(self, step: int) -> None:
        """Follow the gradients of all processes."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe.optimiser, step, self.recipe.steps)
        self._share_gradients()
        if self.recipe.optimiser.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)
        self.optimiser.step()
        kept = min(AVERAGED, (step + 1) / (step + 20))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                self.average[key].lerp_(value, 1 - kept)

    def _share_gradients(self) -> None:
        if self.processes.count > 1:
            for parameter in self.network.parameters():
                if parameter.grad is not None:
                    self.processes.sum(parameter.grad)

    def seen(self, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees of a batch, (B, CHANNELS, D, N, N), and the target and counts of its planes.

        Of a batch that moves on it is the second window; the first one has been looked at.
        """
        scene, target, counts = sample.scene, sample.target, sample.counts
        appearance = Appearance.of(scene.planes(slice(0, self.recipe.windows.depth)))
        if sample.moves:
            scene, target, counts = self._moved(sample, appearance)
        return evidence(scene, appearance), target, counts

    def _look(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and presence, see `Propagated`."""
        seen = seen.contiguous(memory_format=torch.channels_last_3d)
        with mixed_precision(self.recipe, self.device):
            logits, presence = self.network(seen)
        return logits, presence

    def _moved(self, sample: Sample, appearance: Appearance) -> tuple[Scene, Tensor, Tensor]:
        """The second window, whose first planes are known as the network found them in the first."""
        depth = self.recipe.windows.depth
        first, rest = slice(0, depth), slice(SHIFT, SHIFT + depth)
        with torch.no_grad():
            logits, presence = self._look(evidence(sample.scene.planes(first), appearance))
        found, leads = leading(logits, presence)
        scene = sample.scene.planes(rest)
        drawing = scene.drawing.clone()
        overlap = depth - SHIFT
        known = leads[:, SHIFT:, None, None] & (drawing[:, :overlap] == 0)
        drawing[:, :overlap] = torch.where(known, FOUND * (2 * found[:, SHIFT:] - 1), drawing[:, :overlap])
        counts = sample.counts[:, rest] * leads[:, SHIFT:].any(1)[:, None, None, None]
        counts[:, :overlap] *= ~leads[:, SHIFT:, None, None]
        return replace(scene, drawing=drawing), sample.target[:, rest], counts

    def extra_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside network and optimiser."""
        return self.average

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `extra_state`. Raises ValueError for other tensors than the network's."""
        if {key: value.shape for key, value in state.items()} != {
            key: value.shape for key, value in self.average.items()
        }:
            raise ValueError("means of other tensors")
        self.average = {key: value.to(self.device) for key, value in state.items()}

    def finished(self) -> PropagationNet:
        """The network with the mean weights and its confidence, on the CPU."""
        network = PropagationNet(self.recipe.model).to(self.device)
        network.load_state_dict(self.average)
        weights = fit_confidence(network.eval(), self._unseen, self.recipe.calibration)
        network.config = replace(network.config, confidence=weights)
        return network.cpu()

    def _unseen(self, number: int) -> Sample:
        """A batch of first looks that training never draws."""
        windows = replace(self.recipe.windows, moved=0.0, second=0.0)
        return make_batch(windows, self.tissues, self.device, self.recipe.seed + 1, number)


def propagation_loss(logits: Tensor, presence: Tensor, target: Tensor, counts: Tensor) -> PropagationLoss:
    """Cross-entropy and Dice of the voxels that count, and cross-entropy of the presence in planes with any.

    Args:
        logits, target, counts: (B, D, N, N) float32, see `Sample`.
        presence: (B, D) float32.
    """
    volume = (1, 2, 3)
    total = counts.sum(volume)
    used = (total > 0).float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counts
    voxels = (entropy.sum(volume) / total.clamp(min=1)).sum() / used.sum().clamp(min=1)
    found, wanted = torch.sigmoid(logits) * counts, target * counts
    both = 2 * (found * wanted).sum(volume) + 1
    dice = both / (found.sum(volume) + wanted.sum(volume) + 1)
    overlap = ((1 - dice) * used).sum() / used.sum().clamp(min=1)
    asked = (counts.flatten(2).amax(2) > 0).float()
    there = (target.flatten(2).amax(2) > 0).float()
    planes = F.binary_cross_entropy_with_logits(presence, there, reduction="none") * asked
    present = 0.2 * planes.sum() / asked.sum().clamp(min=1)
    return PropagationLoss(overlap + voxels + present, overlap, voxels, present)


def describe_volumes(recipe: PropagationRecipe) -> list[str]:
    """The training data, for readers of a weights file."""
    return ["synthetic volumes", *(f"{source}: all cases" for source in recipe.volumes)]
