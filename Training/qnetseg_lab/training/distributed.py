"""Several processes that train one model together, started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from qnetseg.errors import DeviceError, OutputError, RecipeError
from qnetseg.segment import device as devices

from ..baselines import EpisodeLoss, TrainedMethod


@dataclass(frozen=True)
class Processes:
    """This process's place among those that share a run.

    Attributes:
        rank: 0 for the one that writes files and reports.
        count: of processes; 1 is a run as usual.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Those of torch's process group, one if there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def share(self, number: int, what: str, entry: str) -> slice:
        """Which parts of a step are this process's. Raises `RecipeError` if they cannot be shared evenly.

        number: of the step's parts, which messages call `what`; the recipe's `entry` decides it.
        """
        if number % self.count:
            raise RecipeError(
                f"The recipe's {number} {what} a step cannot be shared evenly by {self.count} processes.",
                f"Choose {entry} as a multiple of the processes.",
            )
        each = number // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes; a single one gets its own values back."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def wrap(self, network: TrainedMethod, device: torch.device, batch_norm: str) -> nn.Module:
        """Module whose forward is the network's `episode_loss` and whose backward means the gradients.

        Batch statistics are those of the whole step, as in a single process, which torch offers on CUDA only.
        Raises `RecipeError` on another device.
        """
        episodes = EpisodeModule(network)
        if self.count == 1:
            return episodes
        if batch_norm == "train" and any(isinstance(m, nn.BatchNorm2d) for m in network.modules()):
            if device.type != "cuda":
                raise RecipeError(
                    "Several processes on the CPU cannot share the statistics of batch normalisation.",
                    'Set batch_norm = "frozen" in the recipe, or train in one process.',
                )
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place: the network's children are replaced
        # The search for unused parameters costs a walk over the graph, and saves methods that leave some out.
        return nn.parallel.DistributedDataParallel(
            episodes,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            find_unused_parameters=True,
        )

    def require_same(self, step: int, device: torch.device) -> None:
        """Raise `OutputError` unless every process has read the same checkpoint."""
        if self.count > 1:
            first = torch.tensor([step], device=device)
            dist.broadcast(first, src=0)
            if self.sum((first != step).long()).item():
                raise OutputError(
                    "The processes of this run see different checkpoints.",
                    "Choose an output folder that all machines share.",
                )

    def wait(self) -> None:
        """Until every process has come here."""
        if self.count > 1:
            dist.barrier()


class EpisodeModule(nn.Module):
    """A few-shot method whose forward is its training loss, the form that DistributedDataParallel needs."""

    def __init__(self, network: TrainedMethod) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, masks: Tensor, valid: Tensor) -> EpisodeLoss:
        """Loss of B pairs; see `Episodes` for the shapes."""
        return self.network.episode_loss(images[:, 0], masks[:, 0], images[:, 1], masks[:, 1], valid)


@contextmanager
def joined(name: str) -> Iterator[tuple[torch.device, str]]:
    """Join the processes that `torchrun` started, if it did; yield this one's device and a warning or "".

    On CUDA each process takes the GPU of its LOCAL_RANK and they talk through NCCL, on the CPU through Gloo.

    Args:
        name: device as in `qnetseg.segment.device.choose_device`.

    Raises:
        DeviceError: the device is missing, or there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield devices.choose_device(name)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name in ("auto", "cuda") and torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise DeviceError(
                f"Process {local + 1} of this machine has no GPU of its own: there are"
                f" {torch.cuda.device_count()}.",
                "Give torchrun that number as --nproc-per-node, or train with --device cpu.",
            )
        torch.cuda.set_device(local)  # before anything is computed, lest all processes open the first one
    device, warning = devices.choose_device(name)
    if device.type not in ("cuda", "cpu"):
        raise DeviceError(
            f"Several processes cannot train on the device {device.type}.",
            "Use --device cpu, or one process.",
        )
    own = torch.device("cuda", local) if device.type == "cuda" else device
    _join("nccl" if own.type == "cuda" else "gloo")
    try:
        yield own, warning
    finally:
        dist.destroy_process_group()


def _join(backend: str) -> None:
    """Make the process group from what `torchrun` says in the environment.

    After a restart `torchrun` can hand out the store of the life before, with the addresses of the dead in
    it; hence each life's own names. Several machines do not count their restarts alike and go without.
    """
    store, rank, count = next(iter(rendezvous("env://")))
    life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        store = dist.PrefixStore(f"life-{life}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
