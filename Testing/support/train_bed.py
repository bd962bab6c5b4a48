"""Training runs in processes of their own that may be killed; a script for `torchrun`, too."""

from __future__ import annotations

import os
import signal
import sys

import torch
import torch.nn.functional as F
from torch import nn

from qnetseg.model import QNetConfig
from qnetseg_lab.baselines import EpisodeLoss
from qnetseg_lab.training import Recipe, Trainer, checkpoint, distributed, episode_learner, trainer
from qnetseg_lab.training.recipe import DataRecipe, EpisodeRecipe, OptimiserRecipe

RECIPE = Recipe(
    name="tiny",
    steps=6,
    seed=3,
    precision="fp32",  # on every processor
    batch_norm="frozen",
    model=QNetConfig(depth=50),
    data=(DataRecipe("chaos"),),
    episodes=EpisodeRecipe(pairs=4, structures=2, min_pixels=20),
    optimiser=OptimiserRecipe(name="adamw", rate=1e-2, clip=1.0),
)


class TinyMethod(nn.Module):
    """A prototype network of one convolution, with a layer that nothing uses."""

    name = "tiny"

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.unused = nn.Linear(2, 2)

    def episode_loss(self, support, support_masks, query, query_masks, valid):
        """See `TrainedMethod.episode_loss`."""
        features = self.norm(self.encoder(torch.cat([support, query])[:, None])).relu()
        support, query = features.chunk(2)
        area = support_masks.sum(dim=(-2, -1)).clamp(min=1)
        prototypes = torch.einsum("bchw,bnhw->bnc", support, support_masks) / area[..., None]
        score = torch.einsum("bnc,bchw->bnhw", prototypes, query)
        each = F.binary_cross_entropy_with_logits(score, query_masks, reduction="none").mean(dim=(-2, -1))
        count = valid.sum().clamp(min=1)
        segmentation = (each * valid).sum() / count
        alignment = 0.1 * (prototypes.square().mean(dim=2) * valid).sum() / count
        return EpisodeLoss(segmentation + alignment, segmentation, alignment)


def make(data, folder, recipe=RECIPE, report=lambda line: None):
    """A trainer of the tiny method that writes a checkpoint after every step."""
    os.environ["QNETSEG_DATA"] = str(data)
    torch.set_num_threads(1)
    episode_learner.build_method = lambda name, config: TinyMethod(config)
    trainer.LOG_EVERY = 1
    return Trainer(recipe, folder, torch.device("cpu"), report, checkpoint_seconds=-1)


def train(data, folder, recipe, begun, half_written=0):
    """Train to the end; with `half_written`, die while writing this life's checkpoint of that number."""
    run = make(data, folder, recipe)
    save, last = checkpoint.save_file, min(run.step + half_written, recipe.steps)

    def die_halfway(tensors, path, metadata):
        if half_written and run.step == last:
            path.write_bytes(b"half a checkpoint")
            os.kill(os.getpid(), signal.SIGKILL)
        save(tensors, path, metadata)

    checkpoint.save_file = die_halfway
    begun.set()
    run.run()


def main():
    """`torchrun train_bed.py DATA FOLDER`: the second process dies before the fourth step, once."""
    with distributed.joined("cpu"):
        run = make(*sys.argv[1:])
        if run.processes.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            learn = run.learner.learn

            def die_at_3(step):
                return os.kill(os.getpid(), signal.SIGKILL) if step == 3 else learn(step)

            run.learner.learn = die_at_3
        run.run()


if __name__ == "__main__":
    main()
