"""A tiny training of the propagation network; a script for `torchrun`, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from qnetseg.model import PropagationConfig
from qnetseg_lab.training import PropagationRecipe, Trainer, distributed, trainer
from qnetseg_lab.training.synthesis import WindowRecipe

WINDOWS = WindowRecipe(
    voxels=2 * 24 * 32**2, sides=(32,), often=(1.0,), depth=24, shallow=0.2, moved=0.3, second=0.3
)
RECIPE = PropagationRecipe(
    name="tiny",
    steps=4,
    seed=3,
    precision="fp32",
    batches=2,
    volumes=(),
    model=PropagationConfig((8,) * 5),
    windows=WINDOWS,
)


def make(folder, recipe=RECIPE, report=lambda line: None):
    """A trainer that writes scalars and a checkpoint after every step."""
    torch.set_num_threads(1)
    trainer.LOG_EVERY = 1
    return Trainer(recipe, folder, torch.device("cpu"), report, checkpoint_seconds=-1)


@contextmanager
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and what `make` changes put back afterwards."""
    monkeypatch.setattr(trainer, "LOG_EVERY", trainer.LOG_EVERY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    with distributed.joined("cpu"):
        make(sys.argv[1]).run()
