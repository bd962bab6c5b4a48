"""The training run: a folder with checkpoints that resume exactly, scalars and, at the end, the weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from qnetseg.errors import OutputError, RecipeError, TrainingError, WeightsError, why
from qnetseg.model import Network
from qnetseg.parsing import parse_json, parsing, whole

from ..provenance import revision
from ..weights.writing import save_model
from .checkpoint import Checkpoints
from .distributed import Processes
from .episode_learner import EpisodeLearner
from .learner import Learner, Loss, Place, computed_precision, learning_rate, tuned_convolutions
from .lock import FolderLock
from .propagation_learner import PropagationLearner
from .recipe import AnyRecipe, DataRecipe, PropagationRecipe, Recipe
from .scalars import Scalars

LEARNERS: dict[type, type[Learner]] = {Recipe: EpisodeLearner, PropagationRecipe: PropagationLearner}

WEIGHTS = "model.safetensors"
CHECKPOINT_SECONDS = 55.0
LOG_EVERY = 10


class Progress:
    """What a training run reports after each step; all times in seconds."""

    def __init__(self, first: int, total: int) -> None:
        self.first, self.total, self.began = first, total, time.monotonic()

    def eta(self, done: int) -> float:
        """Expected seconds until the last step, from the mean pace of this run."""
        return (time.monotonic() - self.began) / max(done - self.first, 1) * (self.total - done)


class Trainer:
    """One training run in one folder.

    What is learned, and how, is the affair of the learner that belongs to the recipe. The state after step n
    depends on the recipe and n alone, because all that is random is drawn from (seed, step). A run that is
    killed, at any moment, resumes from its last checkpoint to the same weights, on the CPU to the same bits
    with the same torch, precision and number of threads, which decide how sums are rounded.

    In a process group of torch (see `distributed.joined`) the processes share each step; all read the folder,
    the first one writes it. Their weights are those of one process but for rounding.
    """

    def __init__(
        self,
        recipe: AnyRecipe,
        folder: str | Path,
        device: torch.device,
        report: Callable[[str], None] = print,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        """Loads data and initial weights, or the checkpoint if `folder` has one.

        Args:
            recipe: what to train.
            folder: made if it does not exist.
            device: where to compute.
            report: receives a line now and then.
            checkpoint_seconds: least time between two checkpoints.

        Raises:
            RecipeError: the folder holds a run of another recipe, or processes cannot share this one.
            OutputError: the folder cannot be made, or the processes do not share it.
            DatasetError, WeightsError: data or initial weights are missing, data do not fit the model, or the
                checkpoints are damaged.
            TrainingError: another process trains in the folder.
        """
        self.processes = Processes.current()
        self.leads = self.processes.rank == 0
        self.recipe, self.folder, self.device = recipe, Path(folder), device
        self.report: Callable[[str], None] = report if self.leads else lambda line: None
        self.checkpoint_seconds = checkpoint_seconds
        self._make_folder()
        self.checkpoints, self._lock = Checkpoints(self.folder), FolderLock(self.folder, self.report)
        if self.leads:
            self._lock.acquire()
        torch.manual_seed(recipe.seed)
        state = self._read_checkpoint()
        place = Place(self.folder, device, self.processes, self.report)
        self.learner = LEARNERS[type(recipe)].build(recipe, place, state is not None)
        self.step = 0
        if state is not None:
            self._restore(state)
        self.processes.require_same(self.step, device)
        if self._setting()["precision"] != recipe.precision:
            self.report(f"The device {device.type} does not compute in {recipe.precision}: fp32 instead.")
        self._unseen: list[tuple[int, torch.Tensor]] = []

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises `WeightsError` where it does not fit the network."""
        with self._fitting():
            self.learner.network.load_state_dict(state["network"])
            self.learner.optimiser.load_state_dict(state["optimiser"])
            _require_same_shapes(self.learner.optimiser)
            self.learner.load_extra_state(state["extra"])
            self.learner.ancestors = list(state["ancestors"])
            self.step, setting = state["step"], dict(state["setting"])
        self.report(f"Resuming after step {self.step} of {self.recipe.steps}.")
        self._tell_changes(setting)

    @property
    def network(self) -> Network:
        """The network that learns."""
        return self.learner.network

    def run(self, stop_after: int | None = None) -> Network:
        """Train to the recipe's last step (or `stop_after`), write checkpoints and the final weights.

        Raises:
            TrainingError: the loss is no longer a number.
            OutputError: the disk is full; the last checkpoint is still there.
        """
        try:
            if self.leads:
                self._lock.acquire()
            return self._run(min(self.recipe.steps, stop_after or self.recipe.steps))
        finally:
            self._lock.release()

    def _run(self, last: int) -> Network:
        self.learner.set_mode()
        with tuned_convolutions():
            if self.leads:
                self._run_leading(last)
            else:
                while self.step < last:
                    self._learn()
        if self.leads and self.step == self.recipe.steps:
            save_model(self.folder / WEIGHTS, self.learner.finished(), self.provenance())
        self.processes.wait()
        return self.network

    def _run_leading(self, last: int) -> None:
        """The steps of the process that writes and reports."""
        progress, saved = Progress(self.step, last), time.monotonic()
        with Scalars(self.folder, self.step) as scalars:
            while self.step < last:
                loss = self._learn()
                self._unseen.append((self.step, loss.total))  # looking at each would wait for a GPU each time
                if self.step % LOG_EVERY == 0 or self.step == last:
                    self._require_numbers()
                    losses = {name: float(value) for name, value in loss._asdict().items()}
                    rate = learning_rate(self.recipe.optimiser, self.step - 1, self.recipe.steps)
                    scalars.write(self.step, {"rate": rate, **losses})
                    shown = {"loss": losses.pop("total"), **losses}
                    self.report(
                        f"step {self.step}/{self.recipe.steps}"
                        + "".join(f"  {name} {value:.4f}" for name, value in shown.items())
                        + f"  eta {progress.eta(self.step) / 60:.1f} min"
                    )
                if time.monotonic() - saved > self.checkpoint_seconds or self.step == last:
                    self._write_checkpoint()
                    saved = time.monotonic()

    def _learn(self) -> Loss:
        loss = self.learner.learn(self.step)
        self.step += 1
        return loss

    def forget(self) -> None:
        """Remove the checkpoints, several times as large as the weights, once these are written."""
        if self.leads and (self.folder / WEIGHTS).is_file():
            self.checkpoints.remove()

    def provenance(self) -> dict[str, Any]:
        """What the weights file says about its making."""
        return {
            "recipe": self.recipe.to_dict(),
            "ancestors": self.learner.ancestors,
            "data": self.learner.data,
            "seed": self.recipe.seed,
            "steps": self.step,
            "revision": revision(),
            **self._setting(),
            "licence": self.learner.licence,
            "scores": {},
        }

    def _setting(self) -> dict[str, Any]:
        """What, beside the recipe, the exact weights depend on."""
        threads = torch.get_num_threads() if self.device.type == "cpu" else None
        return {
            "torch": str(torch.__version__),
            "device": self.device.type,
            "precision": computed_precision(self.recipe, self.device),
            "threads": threads,
            "processes": self.processes.count,
        }

    def _tell_changes(self, before: dict[str, Any]) -> None:
        now = self._setting()
        changed = [
            f"{key} {was} before, {now.get(key)} now" for key, was in before.items() if was != now.get(key)
        ]
        if changed:
            told = "; ".join(changed)
            self.report(f"The weights will not be exactly those of a run without the stop: {told}.")

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {self.folder} cannot be made ({why(error)}).",
                "Choose another output folder.",
            ) from error

    def _require_numbers(self) -> None:
        """Raise TrainingError if a loss since the last look is not a number."""
        unseen, self._unseen = self._unseen, []
        if unseen:
            numbers = torch.isfinite(torch.stack([loss for _, loss in unseen])).tolist()
            for (step, _), number in zip(unseen, numbers, strict=True):
                if not number:
                    raise self._diverged(step)

    def _diverged(self, step: int) -> TrainingError:
        kept = "; the checkpoint before it is still there" if self.checkpoints.newest.is_file() else ""
        return TrainingError(
            f"The loss is no longer a finite number at step {step}{kept}.",
            "Lower the rate, set clip, or use more warm-up steps, in another output folder.",
        )

    def _read_checkpoint(self) -> dict[str, Any] | None:
        state = self.checkpoints.read(self.report)
        if state is None:
            return None
        with self._fitting():
            before = parse_json(state["recipe"])
            whole(state["step"], 0, self.recipe.steps)
            same = same_run(before, self.recipe.to_dict(), type(self.recipe))
        if not same:
            raise RecipeError(
                f"The folder {self.folder} holds a run of another recipe.",
                "Choose another output folder or delete that one.",
            )
        return state

    def _fitting(self) -> AbstractContextManager[None]:
        """Turns what is raised on a checkpoint of unexpected content into a `WeightsError`."""
        path = self.checkpoints.newest
        return parsing(
            path.name,
            WeightsError,
            f"The checkpoint {path} does not fit the recipe's network.",
            "Another version of the program wrote it; choose another output folder or delete that one.",
        )

    def _fingerprint(self) -> str:
        return json.dumps(self.recipe.to_dict(), sort_keys=True, default=list)

    def _write_checkpoint(self) -> None:
        """Write a checkpoint, unless the run has gone astray."""
        self._require_numbers()
        if not all(bool(torch.isfinite(p.detach()).all()) for p in self.network.parameters()):
            raise self._diverged(self.step)
        self.checkpoints.write(
            {
                "network": self.network.state_dict(),
                "optimiser": self.learner.optimiser.state_dict(),
                "extra": self.learner.extra_state(),
                "step": self.step,
                "recipe": self._fingerprint(),
                "ancestors": self.learner.ancestors,
                "setting": self._setting(),
            }
        )


def _require_same_shapes(optimiser: torch.optim.Optimizer) -> None:
    """ValueError for a state whose tensors have other shapes than their parameters; torch does not look."""
    for parameter, state in optimiser.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError("a state of another shape")


def same_run(one: dict[str, Any], other: dict[str, Any], kind: type[AnyRecipe]) -> bool:
    """Whether two recipes decide the same run; as `to_dict` gives them, or read back from JSON."""
    first, second = (json.loads(json.dumps(recipe, default=list)) for recipe in (one, other))
    return _telling(first, kind) == _telling(second, kind)


def _telling(recipe: dict[str, Any], kind: type[AnyRecipe]) -> dict[str, Any]:
    """The entries that decide a run: no name, so that a renamed file still resumes, and none with its default
    value, so that a run goes on when a later version knows more entries."""
    defaults = json.loads(json.dumps(kind(name="").to_dict(), default=list))
    source = json.loads(json.dumps(DataRecipe(name="").__dict__, default=list))

    def differing(values: Any, usual: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(usual, dict):
            return values
        return {
            key: differing(value, usual.get(key))
            for key, value in values.items()
            if key not in usual or value != usual[key]
        }

    kept: dict[str, Any] = differing({**recipe, "name": "", "data": []}, defaults)
    return {**kept, "data": [differing(entry, source) for entry in recipe.get("data", [])]}
