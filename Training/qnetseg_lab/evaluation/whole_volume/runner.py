"""What R1, R2 and R3 share: the settings, the cases, the methods, the result file.

Full native volumes, opened as a user would open them; the structure's range is unknown; our method runs
through `segment_volume` like everywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from qnetseg.errors import DatasetError, QNetSegmentError
from qnetseg.model import Model, Networks
from qnetseg.models import PROPAGATION, QNET, load_networks, weights_for
from qnetseg.segment import SegmentOptions
from qnetseg.segment.device import choose_device

from ...data import CATALOGUE, dataset
from ..results import RowLog, describe_run, has_seen, run_name, sha256, write_json
from .collections import Collection, Study, collection
from .methods import METHODS, Answer, Task, chosen_methods, needs_model, run_method
from .parallel import Report, Unit, work_through
from .rows import MethodRow


@dataclass(frozen=True)
class WholeVolumeRun:
    """What is scored, by which methods: the settings that R1, R2 and R3 have in common.

    Attributes:
        dataset: see `studies.collection`.
        methods: names out of `methods.METHODS`; the first is compared with every other.
        weights: a weights file of either network, instead of the default one; None for the defaults.
        labels: names and values of the structures; None for all.
        cases: only these studies; empty for all.
        fold, scheme: only the test cases of a fold of chaos or cmr; None for all cases.
        partly_labelled, plane: see `studies.collection`.
        device, precision: see `SegmentOptions`.
        studies: what these settings mean, found once by `prepared`.
        lengths: structure -> study -> mm, measured once by `prepared` where a method wants it.
    """

    dataset: str
    methods: tuple[str, ...] = ("qnet",)
    weights: str | None = None
    labels: dict[str, int] | None = None
    cases: tuple[str, ...] = ()
    fold: int | None = None
    scheme: str = "strict"
    partly_labelled: bool = False
    plane: str | None = None
    device: str = "auto"
    precision: str = "auto"
    studies: Collection | None = None
    lengths: dict[str, dict[str, float]] = field(default_factory=dict)

    protocol = ""  # set by the subclasses

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", chosen_methods(self.methods, self.protocol))
        if self.fold is not None and self.dataset not in CATALOGUE:
            raise DatasetError(
                f"{self.dataset} has no folds.", f"Folds are defined for {', '.join(CATALOGUE)}."
            )

    def collection(self) -> Collection:
        """The studies to score."""
        if self.studies is not None:
            return self.studies
        cases = self.cases
        if self.fold is not None:
            fold = dict.fromkeys(dataset(self.dataset).fold(self.fold, self.scheme))
            cases = tuple(name for name in fold if not cases or name in cases)
            if not cases:
                raise DatasetError(f"Fold {self.fold} holds none of the cases.", "Choose others.")
        return collection(self.dataset, self.labels, cases, self.partly_labelled, self.plane)

    def everybody(self) -> Collection:
        """All studies of the data set, whichever are scored: the other patients."""
        return collection(self.dataset, self.labels, (), self.partly_labelled, self.plane)

    def options(self) -> SegmentOptions:
        """The engine's defaults, as for a user."""
        return SegmentOptions(device=self.device, precision=self.precision)

    def networks(self) -> Networks | None:
        """The networks, loaded once a process; None where no method needs them."""
        return _loaded(self.weights) if needs_model(self.methods) else None

    def asked(self, name: str) -> list[str]:
        """Kinds of the networks that a method asks, the deciding one first; empty for a baseline."""
        options = METHODS[name].options
        if options is None:
            return []
        if options.get("method") == "q-net":
            return [QNET]
        return [PROPAGATION, QNET] if self.protocol == "r3" else [PROPAGATION]

    def used_weights(self) -> list[Path]:
        """Files of the networks that the methods ask, the deciding one first.

        Raises WeightsError for one that is missing, and InputError for weights that no method asks.
        """
        kinds = self._kinds()
        return weights_for(kinds, self.weights) if kinds else []

    def used_models(self) -> list[Model[Any]]:
        """The networks that the methods ask, in the order of `used_weights`."""
        networks = self.networks()
        return [] if networks is None else [getattr(networks, kind) for kind in self._kinds()]

    def _kinds(self) -> list[str]:
        return list(dict.fromkeys(kind for name in self.methods for kind in self.asked(name)))

    def usual_length(self, structure: str, study: str) -> float | None:
        """Mean length in mm of a structure in all other patients; None if there are none."""
        others = [mm for name, mm in self.lengths.get(structure, {}).items() if name != study]
        return float(np.mean(others)) if others else None

    def described(self) -> dict[str, Any]:
        """JSON-able settings, without what follows from them and without anybody's folders."""
        settings = asdict(self)
        for name in {"lengths", "weights", "studies", "sources"} & set(settings):
            del settings[name]
        for name in {"dataset", "support_dataset"} & set(settings):
            settings[name] = settings[name] and Path(settings[name]).resolve().name
        return {"protocol": self.protocol.upper(), **settings}


Run = TypeVar("Run", bound=WholeVolumeRun)
Own = TypeVar("Own", bound=MethodRow)


@lru_cache(maxsize=1)
def _loaded(weights: str | None) -> Networks:
    return load_networks(weights)


def answer(run: WholeVolumeRun, name: str, task: Task) -> tuple[Answer, float]:
    """What a method gives for a task, and the seconds that it took."""
    networks = run.networks()
    for kind in run.asked(name):
        getattr(networks, kind)  # read before the clock starts
    began = time.perf_counter()
    found = run_method(name, task, networks, run.options() if networks is not None else None)
    return found, time.perf_counter() - began


@dataclass
class Findings(Generic[Own]):
    """Rows of one unit of work, and what had to be left out with a sentence why."""

    rows: list[Own] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def _kept(work: Callable[[Unit], Findings[Own]], unit: Unit) -> dict[str, Any]:
    """What a log keeps of a unit."""
    return vars(work(unit))


def loaded_study(studies: Collection, name: str, found: Findings[Own]) -> Study | None:
    """Read a study; None, and a sentence among the findings, for a bad one."""
    try:
        return studies.load(name)
    except QNetSegmentError as error:
        found.skipped.append(f"{name}: {error}")
        return None


def score_structures(
    run: WholeVolumeRun, unit: Unit, rows_of: Callable[[Study, str, np.ndarray], Iterable[Own]]
) -> Findings[Own]:
    """`Findings` of a unit of one study: rows of each structure, or the sentence why one has none.

    rows_of: gives the rows of a study's structure, with its name and its mask of the study's shape.
    """
    found: Findings[Own] = Findings()
    studies = run.collection()
    study = loaded_study(studies, unit["query"], found)
    if study is None:
        return found
    for structure, label in studies.structures.items():
        truth = study.mask(label)
        if not truth.any():
            continue  # this patient lacks it; nothing is wrong
        try:
            found.rows += rows_of(studies.scored(study, structure), structure, truth)
        except QNetSegmentError as error:
            found.skipped.append(f"{study.name}, {structure}: {error}")
    return found


def execute(
    run: WholeVolumeRun,
    units: Sequence[Unit],
    work: Callable[[Unit], Findings[Own]],
    summarise: Callable[[list[Own], list[str]], dict[str, Any]],
    output: Path | None,
    jobs: int,
    report: Report,
    beside: Sequence[Own] = (),
) -> dict[str, Any]:
    """Do a run's work, go on where an identical one stopped, and write its result file.

    Args:
        run: what is scored.
        units: its pieces of work.
        work: picklable; gives the `Findings` of a unit.
        summarise: (rows, structures) -> entries of the result file.
        output: the result file; None writes none.
        jobs: processes.
        report: receives a line for each piece of work, and for what was left out.
        beside: rows of further methods, which were scored before.

    Returns:
        The content of the result file.

    Raises:
        DatasetError: nothing could be scored.
    """
    files = run.used_weights()
    device = choose_device(run.device)[0].type if files else "cpu"
    origin = {**run.described(), **describe_run(files[0] if files else None, device)}
    origin["further_weights"] = {run_name(path): sha256(path) for path in files[1:]}
    folder = {"folder": str(Path(run.dataset).resolve())}  # two folders may share their bare name
    log: RowLog[dict[str, Any]] = RowLog(output, {**origin, **folder})
    kept = work_through(units, partial(_kept, work), log, jobs, report)
    results = [Findings[Own](**entry) for entry in kept]
    rows = [row for result in results for row in result.rows]
    skipped = list(dict.fromkeys(sentence for result in results for sentence in result.skipped))
    for sentence in skipped:
        report(f"left out   {sentence}")
    if not rows:
        raise DatasetError(
            f"Nothing of {run.dataset} could be scored.", skipped[0] if skipped else "It has no cases."
        )
    structures = [name for name in run.collection().structures if any(r["structure"] == name for r in rows)]
    scored = sorted({row["query"] for row in rows})
    rows += [row for row in beside if row["query"] in scored and row["structure"] in structures]
    content = {
        **origin,
        "method": run.methods[0],
        **_model_facts(run, files, scored),
        "structures": structures,
        "studies": len(scored),
        "left_out": len(skipped),
        **summarise(rows, structures),
        "skipped": skipped,
        "rows": rows,
    }
    if output is not None:
        write_json(output, content)
    log.remove()
    return content


def prepared(run: Run) -> Run:
    """The run with its studies looked up, and with the structures' lengths in all patients where wanted."""
    lengths = run.everybody().lengths() if "ellipsoid" in run.methods else {}
    return replace(run, studies=run.collection(), lengths=lengths)


def _model_facts(run: WholeVolumeRun, files: list[Path], studies: list[str]) -> dict[str, Any]:
    """Name and steps of the deciding network, and whether any was trained on a scored case (None: it does not
    say)."""
    used = run.used_models()
    if not used:
        return {"model": None, "steps": None, "trained_on_scored_cases": None}
    seen = [has_seen(run.dataset, studies, model) for model in used]
    return {
        "model": run_name(files[0]),
        "steps": used[0].provenance.get("steps"),
        "trained_on_scored_cases": True if True in seen else None if None in seen else False,
    }
