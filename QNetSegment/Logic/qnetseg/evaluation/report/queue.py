"""What waits for a GPU: `Training/GPU_QUEUE.md`, read from its commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...parsing import parse_toml, read_text
from .recipes import entries
from .runs import QNET, Question, Variant, base_name, common_to

HEAD = ["#", "job", "command", "minutes", "result"]
FORM = f"Give it one table with the columns {' | '.join(HEAD)}, the minutes being a number."
MODEL_KEYS = {"downsample_layer": "layer", "paths": "paths", "threshold": "threshold"}


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
        calls = [shlex.split(call) for call in re.findall(r"qnetseg ((?:train|evaluate) [^;&)]*)", commands)]
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
    """An evaluation; what it scores is known from the training, in any entry, that fills the folder."""
    trained = trainings.get(_run_folder(options.get("model", "")), {"set": {}})
    dataset, setting = options.get("dataset", ""), int(options.get("setting", "1"))
    variant = Variant(
        **_recipe(folder, trained, common_to(setting, dataset)),
        scheme=options.get("scheme", "released"),
        mode=options.get("refinement", "none"),
        alpha=float(options["alpha"]) if "alpha" in options else None,
    )
    return Planned(number, minutes, "P" + form[1:], dataset, setting, variant)


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


def _recipe(folder: Path, trained: dict[str, Any], dataset: str | None) -> dict[str, Any]:
    """Entries of a `Variant` that training decides, from its options and its recipe in the folder."""
    name = trained.get("recipe", "default")
    try:
        content = parse_toml(read_text(folder / f"{name}.toml"))
    except (OSError, ValueError):
        content = {}
    _apply(content, trained)
    steps, model = content.get("steps"), content.get("model", {})
    rules = [source["exclude_rule"] for source in content.get("data", []) if "exclude_rule" in source]
    return {
        "method": content.get("method", "qnet"),
        "recipe": base_name(Path(name).stem),
        "entries": entries(content, dataset),
        "steps": None if steps is None else int(steps),
        **{own: model.get(key, QNET[own]) for key, own in MODEL_KEYS.items()},
        "rule": rules[0] if rules else None,
        "seen": False,
    }


def _apply(content: dict[str, Any], trained: dict[str, Any]) -> None:
    """The options of a training replace entries of its recipe, in place."""
    settings = {key: _value(value) for key, value in trained["set"].items()}
    settings |= {key: _value(trained[key]) for key in ("steps", "start") if key in trained}
    if "scheme" in trained:
        settings["data.scheme"] = trained["scheme"]
    for key, value in settings.items():
        section, _, entry = key.rpartition(".")
        group, _, name = section.partition(".")
        if group == "data":
            for source in content.get("data", []):
                if name in ("", source["name"]):
                    source[entry] = value
        else:
            (content.setdefault(section, {}) if section else content)[entry] = value
    if "data" in content:
        content["data"] = [source for source in content["data"] if source.get("share", 1)]
    if "$" in content.get("start", ""):  # whoever runs the queue decides where the start's file lies
        del content["start"]


def _value(text: str) -> Any:
    """A setting's value as TOML; a bare word is text."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text
