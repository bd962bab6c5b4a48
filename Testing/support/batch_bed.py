"""What the tests of batches share: scans in a folder, a run without a worker, an event loop in a list."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
from slicer_session import session

BED = session()

from qnetseg.errors import Cancelled, QNetSegmentError, WorkerError, heard_oddities  # noqa: E402
from qnetseg.segment.result import Report, Segmentation  # noqa: E402
from qnetseg.volume import read_volume, volume_id  # noqa: E402
from QNetSegmentLib.runs.batch import Batch, StudyState  # noqa: E402
from QNetSegmentLib.runs.run import StructureResult  # noqa: E402
from QNetSegmentLib.signals import Signal  # noqa: E402
from support.cli_bed import scan_array, write_image  # noqa: E402

DONE, KEPT, FAILED, CANCELLED = (
    StudyState.DONE,
    StudyState.KEPT,
    StudyState.FAILED,
    StudyState.CANCELLED,
)


class FakeRun:
    """Takes the bright voxels; `trouble` by the query's name is an error, a bug, or None: never ends."""

    trouble: ClassVar[dict] = {}
    started: ClassVar[list] = []

    def __init__(self, worker, supports, query, *, model=None, options=None, device="auto"):
        self.progress, self.finished, self.failed = Signal(), Signal(), Signal()
        self.supports, self.query, self.settings = supports, query, (model, options, device)

    def start(self):
        FakeRun.started.append(self)
        self.progress.emit(SimpleNamespace(fraction=0.5))
        if self.query.name not in self.trouble:
            self.finished.emit(self.results())
        elif isinstance(error := self.trouble[self.query.name], WorkerError):
            self.failed.emit(error)
        elif error is not None:
            raise error

    def cancel(self, reason=None):
        self.failed.emit(reason or Cancelled("The segmentation was cancelled."))

    def results(self):
        found = []
        for number, support in enumerate(self.supports):
            mask = (self.query.array > 1 + 2 * number).astype(np.uint8)
            mask[self.query.array > 3 + 2 * number] = 0
            report = Report(support.name, "m", "cpu", "fp32", 0.1, 1.5, "axial", 0.0, (), ())
            found.append(StructureResult(support, mask, Segmentation(mask, mask.astype(np.float32), report)))
        return found


class FakeReader:
    """Reads at once and in this process; `trouble` by the file's name is an error, or None: never ends."""

    trouble: ClassVar[dict] = {}
    made: ClassVar[list] = []

    def __init__(self):
        self.finished, self.failed = Signal(), Signal()
        self.released = False
        FakeReader.made.append(self)

    def read(self, path):
        try:
            if path.name in self.trouble:
                error = self.trouble[path.name]
                if error is None:
                    return
                raise error
            with heard_oddities() as oddities:
                volume = read_volume(path)
        except QNetSegmentError as error:
            self.failed.emit(error)
        else:
            self.finished.emit(volume, volume_id(volume), oddities)

    def release(self):
        self.released = True


class Loop:
    """An event loop in one list: `run` calls what was scheduled until nothing is left."""

    def __init__(self):
        self.steps = deque()

    def __call__(self, step):
        self.steps.append(step)

    def run(self, most=10_000):
        while self.steps and most:
            self.steps.popleft()()
            most -= 1


def reset() -> None:
    """An empty scene, runs and readers without trouble."""
    BED.reset()
    FakeRun.trouble.clear()
    FakeRun.started.clear()
    FakeReader.trouble.clear()
    FakeReader.made.clear()


def scans(folder: Path) -> Path:
    """Three scans, in a folder with a blank and an umlaut."""
    folder = folder / "Patienten ü"
    folder.mkdir()
    for number, name in enumerate(("b.nii.gz", "A.nrrd", "c.mha")):
        write_image(folder / name, scan_array(number))
    return folder


def batch_of(studies, supports, output=None, **arguments):
    loop = Loop()
    worker = SimpleNamespace(busy=False)
    parts = {"make_run": FakeRun, "make_reader": FakeReader, "schedule": loop}
    batch = Batch(worker, supports, studies, output, **parts, **arguments)
    batch.heard = []
    batch.changed.connect(lambda index, study: batch.heard.append((index, study.state)))
    batch.finished.connect(batch.heard.append)
    batch.loop, batch.worker = loop, worker
    return batch


def run(*arguments, **named):
    batch = batch_of(*arguments, **named)
    batch.start()
    batch.loop.run()
    assert not batch.active
    return batch


def states(batch):
    return [study.state for study in batch.studies]


def results_in(folder):
    return sorted(path.name for path in folder.iterdir() if ".seg." in path.name)
