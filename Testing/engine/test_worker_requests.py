"""Requests and results as files of the exchange folder."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.boxes import Box
from qnetseg.segment import Query, Report, Segmentation
from qnetseg.volume import Drawing
from qnetseg.worker import exchange, requests
from qnetseg.worker.backend import read_task
from qnetseg.worker.failures import ProtocolError, WorkerFailure
from qnetseg.worker.fields import BoxFile
from qnetseg.worker.held import Held
from qnetseg.worker.protocol import Error, Ready, Result
from support.worker_bed import REPORT, sample


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def held():
    held = Held()
    held._queries["q"] = Query.of(sample()[1])
    return held


def test_a_background_goes_along_as_a_box(tmp_path, held):
    support, volume = sample()
    known = Box.around(volume.array > 2)
    request = requests.segment(tmp_path, "1", "q", support, background=known)
    task = read_task(request, tmp_path, held)
    assert np.array_equal(task.background.placed(volume.shape), volume.array > 2)
    for nothing in (None, Box.empty()):
        alone = requests.segment(tmp_path, "2", "q", support, background=nothing)
        assert alone.background is None and read_task(alone, tmp_path, held).background is None
    (tmp_path / request.background.file).unlink()
    with pytest.raises(WorkerFailure, match="cannot be read"):
        read_task(request, tmp_path, held)


def test_a_drawing_comes_back_as_it_was(tmp_path):
    box = Box(np.array([[[True, False]]]), (-1, 2, 3))
    drawing = Drawing(box, "ü", (0.1, 0.2, 0.3), "a~b", "coronal", (4, 5))
    again = requests.read_drawing(tmp_path, requests.drawn_on(tmp_path, "1", drawing, "v"))
    assert np.array_equal(again.box.mask, box.mask) and again.box.start == box.start
    values = ("name", "color", "terminology", "plane", "not_here")
    assert [getattr(again, name) for name in values] == [getattr(drawing, name) for name in values]


def test_a_result_goes_with_a_drawing_on_another_volume(tmp_path, held):
    volume = sample()[1]
    mask = np.zeros(volume.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    drawing, result = Drawing.of_mask(mask, volume.shape), Box.around(volume.array > 2)
    held._queries["d"] = Query.of(volume)
    request = requests.segment(tmp_path, "1", "q", drawing, "d", result=result)
    task = read_task(request, tmp_path, held)
    assert task.drawn_on is held["d"]
    assert np.array_equal(task.result.placed(volume.shape), volume.array > 2)
    alone = requests.segment(tmp_path, "2", "q", drawing, "d")
    assert alone.drawing.result is None and read_task(alone, tmp_path, held).result is None
    own = requests.segment(tmp_path, "3", "q", drawing, result=result)
    assert read_task(own, tmp_path, held).result is None
    (tmp_path / request.drawing.result.file).unlink()
    with pytest.raises(WorkerFailure, match="cannot be read"):
        read_task(request, tmp_path, held)


@pytest.mark.parametrize("options", [{"alpha": float("nan")}, {"alpha": {1, 2}}])
def test_options_that_json_lacks_are_refused(tmp_path, options):
    with pytest.raises(errors.InputError, match="options"):
        requests.segment(tmp_path, "1", "q", sample()[0], options=options)


def request_of(confidence_of="none"):
    return requests.protocol.Segment("1", "q", None, "s.npz", (), None, {}, "cpu", None, confidence_of)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("confidence_of", ["none", "mask", "volume"])
def test_a_result_crosses_as_its_box(tmp_path, confidence_of, empty):
    mask, confidence = np.zeros((4, 5, 6), np.uint8), np.random.default_rng(0).random((4, 5, 6), np.float32)
    mask[1:3, 2, 3:5] = 0 if empty else 1
    mask[1, 2, 3] = 0
    request = request_of(confidence_of)
    result = requests.write_result(
        tmp_path, request, Segmentation(mask, confidence, Report.from_json({**REPORT}))
    )
    found = requests.read_found(tmp_path, request, result)
    assert np.array_equal(found.mask.placed(mask.shape), mask > 0)
    expected = {"none": None, "mask": confidence[mask > 0], "volume": confidence}[confidence_of]
    assert found.confidence is None if expected is None else np.array_equal(found.confidence, expected)
    assert (tmp_path / result.mask.file).stat().st_size < 200, "only the box"


def test_a_report_with_other_fields_than_ours(tmp_path):
    answer = Result("1", BoxFile("m.npy", (0, 0, 0)), None, {"slices": [{}], "warnings": []})
    with pytest.raises(ProtocolError, match="report"):
        requests.read_found(tmp_path, request_of(), answer)


def test_the_arrays_of_a_result_are_checked(tmp_path):
    exchange.save_array(tmp_path / "m.npy", np.ones((1, 2, 3), np.uint8))
    exchange.save_array(tmp_path / "six.npy", np.ones(6, np.float32))
    exchange.save_array(tmp_path / "five.npy", np.ones(5, np.float32))
    box = BoxFile("m.npy", (0, 0, 0))
    found = requests.read_found(tmp_path, request_of("mask"), Result("1", box, "six.npy", REPORT))
    assert found.mask.count == 6 and found.report.warnings == ("Look.",)
    for answer in (
        Result("1", box, "five.npy", REPORT),
        Result("1", box, "m.npy", REPORT),
        Result("1", BoxFile("absent.npy", (0, 0, 0)), None, REPORT),
        Result("1", BoxFile("six.npy", (0, 0, 0)), None, REPORT),
    ):
        with pytest.raises(WorkerFailure):
            requests.read_found(tmp_path, request_of("mask"), answer)


def test_answers_that_are_no_result(tmp_path):
    with pytest.raises(errors.InputError, match="No"):
        requests.read_found(tmp_path, request_of(), Error("1", "InputError", "No.", "", ""))
    with pytest.raises(ProtocolError, match="did not answer"):
        requests.read_found(tmp_path, request_of(), Ready("1", 2, 1, "", "cpu", True))
