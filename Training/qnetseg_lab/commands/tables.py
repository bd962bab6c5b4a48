"""`qnetseg tables`: fill the paper's tables, one missing result after another."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnetseg.cli.common import add_command, add_device, say
from qnetseg.cli.outputs import make_folder
from qnetseg.cli.streams import Ended, ended_by_signals
from qnetseg.errors import Cancelled, InputError, RecipeError, TrainingError
from qnetseg.models import sha256

from .common import add_data
from .evaluate import result_name
from .train import find_recipe, start_of

if TYPE_CHECKING:
    from ..evaluation.plan import Scoring, Training
    from ..evaluation.protocol_p import ProtocolP
    from ..training import Recipe

DETAILS = """
Trains and scores what Tables 1 to 3 and Figure 4 lack, every row on one fold before any on two, and writes
the report anew after each result. It may be stopped at any time; the same command goes on, also within a
training. All rows of a budget have one recipe, recipes/tables-BUDGET.toml, so that they are comparable;
--dry-run shows what a row has otherwise. A result is enough without its model; where a model is trained again
for one more result, its others are scored again, too.

--only takes tables (table1, table2, table3, figure4), rows (qnet, adnet, ...), single trainings as --dry-run
names them (adnet-strict-fold1); of several kinds of names, what all of them hold. Q-Net's rows with
refinement on CHAOST2 come with figure4, whose sweep has every mode. To repeat a figure that is there, name
its training and empty folders."""


def add(commands: Any) -> None:
    """Define the command."""
    example = "qnetseg tables --runs runs --output docs/results"
    parser = add_command(commands, "tables", "train and score what the paper's tables lack", example, DETAILS)
    parser.add_argument(
        "--budget", default="cpu", metavar="NAME", help="of the recipe tables-NAME (default: cpu)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these tables, rows and trainings only"
    )
    parser.add_argument("--runs", type=Path, required=True, metavar="DIR", help="folder of the trainings")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--start", metavar="NAME|FILE", help="what every training starts from instead of the recipe's start"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what is left, and do nothing")
    add_data(parser)
    add_device(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what is missing, one after another, or show it."""
    from ..evaluation.plan import chosen
    from ..report import write_report

    scorings = chosen(arguments.only)
    find_recipe(f"tables-{arguments.budget}")
    if not arguments.dry_run:
        make_folder(arguments.runs)
        make_folder(arguments.output)
    bench = Bench(arguments.budget, arguments.runs, arguments.output, arguments.device, arguments.start or "")
    left = bench.left(scorings)
    there = sum(map(bench.has, scorings))
    more = len(left) - (len(scorings) - there)
    again = f"; {more} that are there are made again with their models" if more else ""
    print(f"{there} of {len(scorings)} results are there{again}")
    if arguments.dry_run:
        for line in bench.listed(left):
            print(line)
        return 0
    with ended_by_signals():
        try:
            bench.compare(scorings)  # a call that was stopped may have left these behind its results
            write_report(bench.results)
            return _fill(bench, left)
        except KeyboardInterrupt as stop:
            say("Stopped; the same command goes on from here.")
            return 128 + stop.number if isinstance(stop, Ended) else Cancelled.exit_code


def _fill(bench: Bench, left: list[Scoring]) -> int:
    """Make all results; a training that goes astray costs those that need it, and the exit code."""
    from ..report import write_report

    old = {scoring for scoring in left if bench.has(scoring)}  # of models that are trained again
    astray = set()
    for number, scoring in enumerate(left):
        anew = scoring in old and not bench.weights(scoring.training).is_file()
        if scoring.training in astray or (bench.has(scoring) and not anew):
            continue  # the latter by another runner in the meantime
        print(
            f"{len(left) - number} left, {_hours(bench.seconds(left[number:]))}: {_title(scoring)}",
            flush=True,
        )
        try:
            print(f"result     {bench.make(scoring)}", flush=True)
        except TrainingError as error:
            say(str(error))
            astray.add(scoring.training)
        else:
            bench.compare([scoring])
        write_report(bench.results)
    return 1 if astray else 0


@dataclass(frozen=True)
class Bench:
    """Where trainings and results of one budget lie, and how they are made.

    Attributes:
        budget: of the recipe `tables-BUDGET`, whose name every run has, too.
        runs, results: folders.
        device, start: as of `qnetseg train`; "" leaves the recipe's start.
    """

    budget: str
    runs: Path
    results: Path
    device: str
    start: str = ""

    def recipe(self, training: Training) -> Recipe:
        """What a training does."""
        from ..training import Recipe, read_recipe

        settings = training.settings() | ({"start": start_of(self.start)} if self.start else {})
        recipe = read_recipe(find_recipe(f"tables-{self.budget}"), settings)
        if not isinstance(recipe, Recipe):
            raise RecipeError(
                f"The recipe tables-{self.budget} is of the propagation network.", "Use one with episodes."
            )
        return recipe

    def weights(self, training: Training) -> Path:
        """The model that a training makes."""
        return self.runs / f"tables-{self.budget}-{training.name}" / "model.safetensors"

    def output(self, scoring: Scoring) -> Path:
        """The result file of a scoring."""
        name = result_name(scoring.form, self._protocol(scoring), self.weights(scoring.training))
        return self.results / f"{name}.json"

    def has(self, scoring: Scoring) -> bool:
        """Whether the result is there, of the model if that is there, too.

        Raises `InputError` where a file of its name is of another recipe.
        """
        path, weights = self.output(scoring), self.weights(scoring.training)
        if not path.is_file():
            return False
        with suppress(OSError, ValueError, AttributeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if self._is_of(scoring.training, content.get("recipe")):
                return not weights.is_file() or content.get("weights_sha256") == sha256(weights)
        raise InputError(f"The result file {path} is damaged or of another recipe.", "Move it elsewhere.")

    def left(self, scorings: list[Scoring]) -> list[Scoring]:
        """What is missing of these, and what else is there of each training that this repeats: results of a
        training are of one model."""
        from ..evaluation.plan import plan

        missing = {scoring for scoring in scorings if not self.has(scoring)}
        anew = {s.training for s in missing if not self.weights(s.training).is_file()}
        return [s for s in plan() if s in missing or (s.training in anew and self.output(s).is_file())]

    def make(self, scoring: Scoring) -> Path:
        """Train unless the model is there, score it, and return the result file."""
        from ..evaluation import protocol_p, sweeps

        weights, output = self.weights(scoring.training), self.output(scoring)
        if not weights.is_file():
            self._train(scoring.training)
        self._require_model(scoring.training)
        forms = {"p": protocol_p.run, "p-alpha": sweeps.run_alpha, "p-iterations": sweeps.run_iterations}
        begun = time.monotonic()
        forms[scoring.form](self._protocol(scoring), weights, output, report=lambda line: None)
        self._remember(_kind(scoring), time.monotonic() - begun)
        return output

    def compare(self, scorings: Iterable[Scoring]) -> None:
        """Write the paired comparisons that these results are in, on the folds that both sides have."""
        from ..evaluation.comparison import compare, read_side
        from ..evaluation.plan import comparisons
        from ..evaluation.results import write_json

        for name, pairs in dict(found for scoring in scorings for found in comparisons(scoring)).items():
            files = [tuple(map(self.output, pair)) for pair in pairs]
            there = [pair for pair in files if all(path.is_file() for path in pair)]
            if there:
                first, second = (
                    [read_side(str(path))[0] for path in side] for side in zip(*there, strict=True)
                )
                content = compare(first, second)
                write_json(self.results / f"compare-{name}-tables-{self.budget}.json", content)

    def _protocol(self, scoring: Scoring) -> ProtocolP:
        from ..evaluation.protocol_p import ProtocolP

        return ProtocolP(
            scoring.dataset,
            scoring.setting,
            scoring.training.fold,
            scoring.training.scheme,
            device=self.device,
        )

    def _train(self, training: Training) -> None:
        """Train to the last step, or on from the last checkpoint, which is of no use afterwards."""
        from ..training import Trainer, distributed

        folder = self.weights(training).parent
        with distributed.joined(self.device) as (device, warning):
            if warning:
                say(f"warning: {warning}")
            begun = time.monotonic()
            trainer = Trainer(self.recipe(training), folder, device, lambda line: print(line, flush=True))
            before = trainer.step
            trainer.run()
        if before < trainer.step:
            share = (trainer.step - before) / trainer.step
            self._remember(f"train {training.row}", (time.monotonic() - begun) / share)
        trainer.forget()

    def _require_model(self, training: Training) -> None:
        """Raise `InputError` unless the model in a training's folder is of its recipe."""
        from ..baselines import load_method
        from ..evaluation.results import recorded_recipe

        path = self.weights(training)
        if not self._is_of(training, recorded_recipe(load_method(path))):
            raise InputError(f"The model {path} is of another recipe.", "Move its folder elsewhere.")

    def _is_of(self, training: Training, recorded: dict[str, Any] | None) -> bool:
        from ..evaluation.results import without_folders
        from ..training import Recipe
        from ..training.trainer import same_run

        own = without_folders(self.recipe(training).to_dict())
        return recorded is not None and same_run(own, recorded, Recipe)

    # --- expected times -----------------------------------------------------------------------------------

    def listed(self, left: list[Scoring]) -> Iterator[str]:
        """Lines on what is left: every training with its settings and every scoring, then sums by table."""
        seen = set()
        for scoring in left:
            training = scoring.training
            if training not in seen and not self.weights(training).is_file():
                settings = " ".join(f"{key}={value}" for key, value in training.settings().items())
                yield f"train      {training.name}  {settings}"
            seen.add(training)
            yield f"score      {_title(scoring)}"
        for table in dict.fromkeys(scoring.table for scoring in left):
            own = [scoring for scoring in left if scoring.table == table]
            yield f"{table:10s} {len(own)} left, {_hours(self.seconds(own))}"
        yield f"{'together':10s} {len(left)} left, {_hours(self.seconds(left))}"

    def seconds(self, left: list[Scoring]) -> float | None:
        """Expected for these scorings and their trainings; None before one of each was timed here."""
        trainings = {s.training for s in left if not self.weights(s.training).is_file()}
        kinds = [*(f"train {training.row}" for training in trainings), *map(_kind, left)]
        known = self._timed()
        expected = [_mean(known, kind) for kind in kinds]
        return None if None in expected else sum(seconds for seconds in expected if seconds is not None)

    def _times(self) -> Path:
        return self.runs / f"tables-{self.budget}-seconds.jsonl"

    def _remember(self, kind: str, seconds: float) -> None:
        with self._times().open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "seconds": round(seconds, 1)}) + "\n")

    def _timed(self) -> list[tuple[str, float]]:
        try:
            lines = self._times().read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        known = []
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # cut off when the runner was stopped
                entry = json.loads(line)
                known.append((str(entry["kind"]), float(entry["seconds"])))
        return known


def _kind(scoring: Scoring) -> str:
    """What takes about the same time."""
    return f"{scoring.form} {scoring.dataset} {scoring.training.scheme}"


def _mean(known: list[tuple[str, float]], kind: str) -> float | None:
    """Mean seconds of a kind, else of all of its verb."""
    own = [seconds for name, seconds in known if name == kind]
    own = own or [seconds for name, seconds in known if name.split()[0] == kind.split()[0]]
    return sum(own) / len(own) if own else None


def _title(scoring: Scoring) -> str:
    where = f"{scoring.dataset} Setting {scoring.setting}"
    return f"{scoring.table} {scoring.training.name}, {scoring.form} {where}"


def _hours(seconds: float | None) -> str:
    return "time not known yet" if seconds is None else f"about {seconds / 3600:.1f} hours"
