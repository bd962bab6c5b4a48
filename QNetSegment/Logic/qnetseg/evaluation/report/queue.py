"""What waits for a GPU: `Training/GPU_QUEUE.md`, read from its commands."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...errors import InputError
from .runs import QNET, Question, Variant, base_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEAD = ["#", "job", "command", "minutes", "result"]
FORM = f"Give it one table with the columns {' | '.join(HEAD)}, the minutes being a number."
MODEL_KEYS = {"model.downsample_layer": "layer", "model.paths": "paths", "model.threshold": "threshold"}


@dataclass(frozen=True)
class Planned:
    """One evaluation that an entry of the queue makes.

    Attributes:
        number, minutes: of the entry; minutes of a GPU for the whole of it.
        protocol, dataset, setting: of the evaluation.
        variant: what it scores; its steps are None where the recipe cannot be read.
    """

    number: str
    minutes: float
    protocol: str
    dataset: str
    setting: int
    variant: Variant

    def answers(self, question: Question) -> bool:
        """Whether it fills cells of this question."""
        same = (self.protocol, self.dataset, self.setting) == (
            question.protocol,
            question.dataset,
            question.setting,
        )
        return same and question.fits(self.variant)


def read_queue(path: str | Path) -> list[Planned]:
    """Evaluations of all entries without a result, in the queue's order.

    Raises:
        InputError: the file cannot be read, or its table is not of the form that the report understands.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The queue {path.name} cannot be read ({error}).", "Restore it.") from error
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    if HEAD not in rows:
        raise InputError(f"{path.name} holds no table of jobs.", FORM)
    entries = rows[rows.index(HEAD) + 2 :]
    for cells in entries:
        if len(cells) != len(HEAD) or not re.fullmatch(r"\d+(\.\d+)?", cells[3]):
            raise InputError(f"An entry of {path.name} cannot be read: {' | '.join(cells)[:80]}", FORM)
    calls = {cells[0]: _calls(path, cells[0], cells[2].replace("`", "")) for cells in entries}
    trainings = {
        _run_folder(options.get("output", "")): {**options, "recipe": recipe}
        for own in calls.values()
        for verb, recipe, options in own
        if verb == "train"
    }
    return [
        _planned(path.parent, number, float(minutes), form, options, trainings)
        for number, _, _, minutes, result in entries
        for verb, form, options in calls[number]
        if verb == "evaluate" and not result and "output" in options  # without it, only a picture is made
    ]


def _calls(path: Path, number: str, commands: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Trainings and evaluations of an entry: verb, recipe or protocol, options."""
    try:
        calls = [shlex.split(call) for call in re.findall(r"qnetseg ((?:train|evaluate) [^;&]*)", commands)]
    except ValueError as error:
        raise InputError(
            f"The command of entry {number} of {path.name} cannot be read ({error}).", FORM
        ) from error
    return [(call[0], call[1], _options(call[2:])) for call in calls if len(call) > 1]


def _run_folder(name: str) -> str:
    """A run's folder, the shell's variable for the fold written as in `qnetseg evaluate --model`."""
    return re.sub(r"fold(\$\w+|\d)", "fold{fold}", name.removesuffix("/model.safetensors"))


def _planned(
    folder: Path,
    number: str,
    minutes: float,
    form: str,
    options: dict[str, Any],
    trainings: dict[str, dict[str, Any]],
) -> Planned:
    """An evaluation; what it scores is known from the training, in any entry, that fills the model's"
    " folder."""
    trained = trainings.get(_run_folder(options.get("model", "")), {"set": {}})
    variant = Variant(
        **_recipe(folder, trained),
        scheme=options.get("scheme", "released"),
        mode=options.get("refinement", "none"),
        alpha=float(options["alpha"]) if "alpha" in options else None,
    )
    where = options.get("dataset", ""), int(options.get("setting", "1"))
    return Planned(number, minutes, "P" + form[1:], *where, variant)


def _options(words: list[str]) -> dict[str, Any]:
    """`--key value` pairs; the settings of `--set` together under "set"."""
    options: dict[str, Any] = {"set": {}}
    for key, value in pairwise(words):
        if key == "--set":
            name, _, content = value.partition("=")
            options["set"][name] = content
        elif key.startswith("--"):
            options[key[2:]] = value
    return options


def _recipe(folder: Path, trained: dict[str, Any]) -> dict[str, Any]:
    """Entries of a `Variant` that training decides, from its options and its recipe in the folder."""
    name = trained.get("recipe", "default")
    try:
        content = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        content = {}
    settings, model = trained["set"], content.get("model", {})
    steps = trained.get("steps", settings.get("steps", content.get("steps")))
    chosen = {own: settings.get(key, model.get(key[6:], QNET[own])) for key, own in MODEL_KEYS.items()}
    rule = next((value for key, value in settings.items() if key.endswith("exclude_rule")), None)
    return {
        "method": settings.get("method", content.get("method", "qnet")),
        "recipe": base_name(Path(name).stem),
        "steps": None if steps is None else int(steps),
        "layer": int(chosen["layer"]),
        "paths": str(chosen["paths"]),
        "threshold": str(chosen["threshold"]),
        "rule": rule,
        "seen": False,
    }
