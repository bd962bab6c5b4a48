"""What the tests of batches share: scans in a folder, a run without a worker, an event loop in a list."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from slicer_session import session

BED = session()

from qnetseg.batch import StudyState  # noqa: E402
from qnetseg.boxes import Box  # noqa: E402
from qnetseg.errors import Cancelled, QNetSegmentError, WorkerError, heard_oddities  # noqa: E402
from qnetseg.segment.result import Report, StructureResult  # noqa: E402
from qnetseg.volume import Volume, read_volume, volume_id  # noqa: E402
from qnetseg.worker.protocol import Opened  # noqa: E402
from QNetSegmentLib.runs.batch import Batch  # noqa: E402
from QNetSegmentLib.signals import Signal  # noqa: E402
from support.cli_bed import scan_array, write_image  # noqa: E402
from support.worker_bed import sample  # noqa: E402

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

    def __init__(self, worker, supports, query, drawn_on=None, *, model=None, options=None, device="auto"):
        self.progress, self.finished, self.failed = Signal(), Signal(), Signal()
        self.supports, self.settings = supports, (model, options, device)
        self.query = volume_of(query)

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
            mask = (self.query.array > 1 + 2 * number) & (self.query.array <= 3 + 2 * number)
            report = Report(support.name, "m", "cpu", "fp32", 0.1, 1.5, "axial", 0.0, (), ())
            found.append(StructureResult(support, support.axes, Box.around(mask), report))
        return found


def volume_of(source):
    """The volume of a source, read in this process."""
    if source.path is not None:
        return read_volume(source.path)
    return Volume.checked(source.array, source.ijk_to_ras, source.name)


class FakeWorker:
    """Opens volumes in this process, when the loop has its turn; `trouble` by the file's name is an error, or
    None: never ends."""

    trouble: ClassVar[dict] = {}
    opened: ClassVar[list] = []  # sources, also those that failed
    released: ClassVar[list] = []

    def __init__(self, loop):
        self.finished, self.failed, self.busy = Signal(), Signal(), False
        self.loop, self.cancelled = loop, []

    def open(self, source):
        token = str(len(self.opened))
        self.opened.append(source)
        self.loop(lambda: self._answer(token, source))
        return token

    def _answer(self, token, source):
        name = "" if source.path is None else Path(source.path).name
        try:
            if name in self.trouble:
                if (error := self.trouble[name]) is None:
                    return
                raise error
            with heard_oddities() as oddities:
                volume = volume_of(source)
        except QNetSegmentError as error:
            self.failed.emit(token, error)
            return
        matrix = tuple(map(tuple, volume.ijk_to_ras.tolist()))
        identity = volume_id(volume)
        opened = Opened(token, volume.shape, matrix, volume.name, identity, tuple(oddities))
        self.finished.emit(token, opened)

    def release(self, source):
        self.released.append(source)

    def cancel(self, token):
        self.cancelled.append(token)


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


# Fixtures for test files to import. Here they have names of their own, which no argument of a test hides.


@pytest.fixture(autouse=True)
def fresh():
    """Before and after every test an empty scene, runs and files without trouble."""
    _reset()
    yield
    _reset()


def _reset() -> None:
    BED.reset()
    FakeRun.trouble.clear()
    FakeRun.started.clear()
    FakeWorker.trouble.clear()
    FakeWorker.opened.clear()
    FakeWorker.released.clear()


@pytest.fixture(name="folder")
def folder_of_scans(tmp_path: Path) -> Path:
    """Three scans, in a folder with a blank and an umlaut."""
    folder = tmp_path / "Patienten ü"
    folder.mkdir()
    for number, name in enumerate(("b.nii.gz", "A.nrrd", "c.mha")):
        write_image(folder / name, scan_array(number))
    return folder


@pytest.fixture(name="supports")
def one_support():
    """A list of one drawing."""
    support, _ = sample()
    return [support]


def batch_of(studies, supports, output=None, **arguments):
    loop = Loop()
    worker = FakeWorker(loop)
    parts = {"make_run": FakeRun, "schedule": loop}
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
