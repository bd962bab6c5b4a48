"""The self-test's own cases run on stand-ins, and fail when something is wrong; the mock engine behaves."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from slicer_session import session

BED = session()

from qnetseg.boxes import Box  # noqa: E402
from qnetseg.errors import Cancelled  # noqa: E402
from qnetseg.segment import Job, Query  # noqa: E402
from qnetseg.volume import Volume, support_from_mask  # noqa: E402
from QNetSegmentLib.runs.prepare import prepare_run  # noqa: E402
from QNetSegmentLib.sample_data.phantom import abdomen, largest_slice  # noqa: E402
from QNetSegmentLib.selftest import cases, mock_worker  # noqa: E402
from support.worker_bed import LOGIC, RawWorker  # noqa: E402


class Logic:
    """Like the module's logic, whose file tests of its own load."""

    def __init__(self, worker):
        self.worker = worker

    def process(self, volume, drawing, waitForCompletion=True, onFailed=None):
        run = prepare_run(self.worker, volume, drawing)
        outcome = []
        run.finished.connect(outcome.append)
        if onFailed is not None:
            run.failed.connect(onFailed)
        run.start()
        if not waitForCompletion:
            return run
        run.wait()
        return outcome[0].node


@pytest.fixture(autouse=True)
def without_torch(monkeypatch):
    """The cases choose the mock engine."""
    BED.reset()
    monkeypatch.setattr(cases, "engine_is_there", lambda: False)
    yield
    BED.reset()


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.__name__)
def test_every_case_passes_with_the_mock_engine(case):
    case(Logic)


def test_a_wrong_result_fails_the_case():
    class Shifted(Logic):
        def process(self, volume, drawing, **arguments):
            node = super().process(volume, drawing, **arguments)
            matrix = np.diag([1.0, 1, 1, 1])
            matrix[0, 3] = 60
            transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
            transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
            node.SetAndObserveTransformNodeID(transform.GetID())
            return node

    with pytest.raises(AssertionError, match="Dice"):
        cases.segments_the_phantom(Shifted)


def test_a_worker_ends_with_its_case():
    pids = []

    class Watched(Logic):
        def process(self, *arguments, **named):
            node = super().process(*arguments, **named)
            pids.append(self.worker.pid)
            return node

    cases.segments_the_phantom(Watched)
    assert pids and not Path(f"/proc/{pids[0]}").exists()


def test_the_real_engine_is_chosen_only_when_all_is_installed(monkeypatch):
    monkeypatch.undo()
    versions = {"torch": "99.0", "torchvision": "99.0", "safetensors": "0.99", "scipy": "1.99"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    assert cases.engine_is_there()

    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    assert not cases.engine_is_there()


# The mock engine


def segment(
    volume, mask, progress=lambda *_: None, cancel=lambda: False, query=None, background=None, not_here=()
):
    support = support_from_mask(volume, mask, name="organ", not_here=not_here)
    others = None if background is None else Box.around(background)
    task = SimpleNamespace(query=Query.of(query or volume), support=support, model=None, background=others)
    return mock_worker.segment(task, Job(progress, cancel))


def test_the_mock_engine_finds_the_liver_and_tells_of_every_slice():
    volume, truth = abdomen()
    drawn, steps = largest_slice(truth["Liver"]), []
    result = segment(volume, drawn, lambda *step: steps.append(step))
    assert steps == [(n, volume.shape[0], "slices") for n in range(1, volume.shape[0] + 1)]
    assert result.mask.dtype == np.uint8 and result.confidence.dtype == np.float32
    assert result.confidence.min() >= 0 and result.confidence.max() <= 1
    index = int(drawn.any(axis=(1, 2)).argmax())
    assert np.array_equal(result.mask[index], drawn[index]), "the drawn slice is the drawing"
    assert [part.index for part in result.report.slices if part.drawn] == [index]
    assert result.report.volume_ml == pytest.approx(result.mask.sum() * np.prod(volume.spacing) / 1000)


def test_the_mock_engine_gives_the_same_for_every_order_of_the_axes():
    volume, truth = abdomen()
    drawn = largest_slice(truth["Liver"])
    straight = segment(volume, drawn)
    swap = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    turned = Volume(np.ascontiguousarray(volume.array.T), volume.ijk_to_ras @ swap, volume.name)
    assert np.array_equal(segment(turned, drawn.T).mask.T, straight.mask)


def test_the_mock_engine_stays_out_of_what_is_something_else_or_not_here():
    volume, truth = abdomen()
    drawn = largest_slice(truth["Liver"])
    index = int(drawn.any(axis=(1, 2)).argmax())
    found = segment(volume, drawn).mask > 0
    other = np.zeros(volume.shape, np.uint8)
    other[:, :, : volume.shape[2] // 2] = 1
    beside = segment(volume, drawn, background=other).mask > 0
    beside[index] = False
    assert not (beside & (other > 0)).any() and (found & ~(other > 0))[index + 1].any()
    ended = segment(volume, drawn, not_here=[index + 2]).mask > 0
    assert found[index + 2 :].any() and not ended[index + 2 :].any() and ended[index + 1].any()
    assert np.array_equal(ended[:index], found[:index])


def test_the_mock_engine_segments_another_volume():
    volume, truth = abdomen()
    other = Volume(volume.array * 2, volume.ijk_to_ras, "other")
    result = segment(volume, largest_slice(truth["Liver"]), query=other)
    assert result.mask.any() and not any(part.drawn for part in result.report.slices)


def test_the_mock_engine_can_be_cancelled():
    volume, truth = abdomen()
    with pytest.raises(Cancelled):
        segment(volume, largest_slice(truth["Liver"]), cancel=lambda: True)


def test_the_mock_worker_speaks_the_protocol_and_ends_with_its_input():
    command = [sys.executable, "-m", "QNetSegmentLib.selftest.mock_worker"]
    with RawWorker(command) as worker:
        ready = worker.hello()
        assert (ready["event"], ready["torch"], ready["device"]) == ("ready", "mock", "cpu")
        worker.segment("s", options={}, background=None)
        assert worker.answer()["event"] == "result"
        assert worker.end() == 0


def test_the_mock_worker_needs_neither_torch_nor_slicer():
    code = (
        "import sys; from QNetSegmentLib.selftest import mock_worker; import qnetseg.worker.server;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'slicer', 'qt', 'scipy', 'skimage')))"
    )
    environment = os.environ | {"PYTHONPATH": str(LOGIC)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
