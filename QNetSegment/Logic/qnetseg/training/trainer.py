"""The training loop: batched episodes, mixed precision, checkpoints that resume exactly."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import OutputError, RecipeError, WeightsError
from ..methods import build_method
from ..model import FewShotMethod, save_model
from ..model.starts import load_start
from .augment import augment
from .episodes import EpisodeSampler, load_cases
from .recipe import OptimiserRecipe, Recipe

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 110
LOG_EVERY = 10


class Progress:
    """What a training run reports after each step; all times in seconds."""

    def __init__(self, first: int, total: int) -> None:
        self.first, self.total, self.began = first, total, time.monotonic()

    def eta(self, done: int) -> float:
        """Expected seconds until the last step, from the mean pace of this run."""
        return (time.monotonic() - self.began) / max(done - self.first, 1) * (self.total - done)


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
        return torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    return torch.optim.SGD(parameters, lr=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.decay)


class Trainer:
    """One training run in one folder.

    The state after step n depends on the recipe and n alone: episodes and augmentation are drawn from
    (seed, step). A run that is killed resumes from its last checkpoint to the same weights.
    """

    def __init__(
        self, recipe: Recipe, folder: str | Path, device: torch.device, report: Callable[[str], None] = print
    ) -> None:
        """Loads data and start, or the checkpoint if `folder` has one.

        Raises:
            RecipeError: the folder holds a run of another recipe.
            DatasetError, WeightsError: data or start are missing, or the checkpoint is damaged.
        """
        self.recipe, self.folder, self.device, self.report = recipe, Path(folder), device, report
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        network = build_method(recipe.method, recipe.model)
        state = self._read_checkpoint()
        if state is None:
            report(load_start(network, recipe.start))
        self.network: FewShotMethod = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = build_optimiser(self.network, recipe.optimiser)
        self.step = 0
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]
            report(f"Resuming after step {self.step} of {recipe.steps}.")
        sources = [
            (source.share, load_cases(source, recipe.episodes, device, recipe.model.top_percent))
            for source in recipe.data
        ]
        self.sampler = EpisodeSampler(sources, recipe.episodes, recipe.seed)

    def run(self, stop_after: int | None = None) -> FewShotMethod:
        """Train to the recipe's last step (or `stop_after`), write checkpoints and the final weights."""
        last = min(self.recipe.steps, stop_after or self.recipe.steps)
        progress, saved = Progress(self.step, last), time.monotonic()
        self._set_mode()
        with _Scalars(self.folder, self.step) as scalars:
            while self.step < last:
                losses = self.train_step()
                if self.step % LOG_EVERY == 0 or self.step == last:
                    scalars.write(self.step, losses)
                    self.report(
                        f"step {self.step}/{self.recipe.steps}  loss {losses['total']:.4f}"
                        f"  segmentation {losses['segmentation']:.4f}"
                        f"  alignment {losses['alignment']:.4f}"
                        f"  eta {progress.eta(self.step) / 60:.1f} min"
                    )
                if time.monotonic() - saved > CHECKPOINT_SECONDS or self.step == last:
                    self._write_checkpoint()
                    saved = time.monotonic()
        if self.step == self.recipe.steps:
            save_model(self.folder / "model.safetensors", self.network, self.provenance())
        return self.network

    def train_step(self) -> dict[str, float]:
        """One optimiser step on one batch of episodes; returns the losses."""
        rate = learning_rate(self.recipe.optimiser, self.step, self.recipe.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        images, masks, valid = augment(self.sampler.batch(self.step), self.recipe.augmentation, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            loss = self.network.episode_loss(images[:, 0], masks[:, 0], images[:, 1], masks[:, 1], valid)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        if self.recipe.optimiser.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip)
        self.optimiser.step()
        self.step += 1
        return {"rate": rate, **{name: float(value.detach()) for name, value in loss._asdict().items()}}

    def provenance(self) -> dict[str, Any]:
        """What the weights file says about its making."""
        return {
            "recipe": self.recipe.to_dict(),
            "steps": self.step,
            "torch": torch.__version__,
            "licence": "research use only",
            "scores": {},
        }

    def _set_mode(self) -> None:
        """Training mode; frozen batch normalisation keeps the statistics of the start."""
        self.network.train()
        if self.recipe.batch_norm == "frozen":
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _fingerprint(self) -> str:
        """The recipe without its name, so that a renamed file still resumes."""
        return json.dumps({**self.recipe.to_dict(), "name": ""}, sort_keys=True, default=list)

    def _read_checkpoint(self) -> dict[str, Any] | None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch reports damaged files by many exception types
            raise WeightsError(
                f"The checkpoint {path} is damaged.", "Delete it to start the run again."
            ) from error
        if state["recipe"] != self._fingerprint():
            raise RecipeError(
                f"The folder {self.folder} holds a run of another recipe.",
                "Choose another output folder or delete that one.",
            )
        return state

    def _write_checkpoint(self) -> None:
        path, part = self.folder / CHECKPOINT, self.folder / (CHECKPOINT + ".part")
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "recipe": self._fingerprint(),
        }
        try:
            torch.save(state, part)
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise OutputError(
                f"The checkpoint {path} cannot be written.",
                "Free some space and start again; it goes on from the last one.",
            ) from error
        finally:
            part.unlink(missing_ok=True)


class _Scalars:
    """TensorBoard scalars where tensorboard is installed, and always a readable CSV.

    What a killed run wrote after its last checkpoint is dropped, because it is computed again.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.folder, self.done = folder, done

    def __enter__(self) -> _Scalars:
        path = self.folder / "scalars.csv"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        self.csv = open(path, "w", encoding="utf-8")
        self.csv.writelines(
            line
            for line in lines
            if line.endswith("\n") and (line.startswith("step") or int(line.split(",")[0]) <= self.done)
        )
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(str(self.folder), purge_step=self.done + 1)
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        if self.csv.tell() == 0:
            self.csv.write("step," + ",".join(values) + "\n")
        self.csv.write(f"{step}," + ",".join(f"{value:.6g}" for value in values.values()) + "\n")
        self.csv.flush()
        for name, value in values.items():
            if self.board is not None:
                self.board.add_scalar(name, value, step)

    def __exit__(self, *_: object) -> None:
        self.csv.close()
        if self.board is not None:
            self.board.close()
