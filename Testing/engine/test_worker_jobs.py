"""Requests and results as files of the exchange folder."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.volume import Volume
from qnetseg.worker import exchange
from qnetseg.worker.backend import read_job
from qnetseg.worker.jobs import read_answer, write_request
from qnetseg.worker.protocol import Error, ProtocolError, Ready, Result, WorkerFailure, decode_request, encode
from support.worker_bed import sample

REPORT = {
    "structure": "box",
    "model": "m",
    "device": "cpu",
    "precision": "fp32",
    "seconds": 1.0,
    "volume_ml": 2.0,
    "plane": "axial",
    "threshold_offset": 0.0,
    "slices": [],
    "warnings": ["Look."],
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_structures_of_one_volume_share_its_file(tmp_path):
    support, query = sample()
    first = write_request(tmp_path, "1", support, query, model="m", options={"do": "x"}, device="cpu")
    written = (tmp_path / first.query).stat().st_mtime_ns
    second = write_request(tmp_path, "2", support, query, query_file=first.query)
    assert second.query == first.query and second.support != first.support
    assert (tmp_path / first.query).stat().st_mtime_ns == written
    assert names(tmp_path) == ["1-query.npy", "1-support.npz", "2-support.npz"]
    exchange.clear_folder(tmp_path, keep=first.query)
    assert names(tmp_path) == [first.query]


def test_the_volume_that_was_drawn_on_goes_along(tmp_path):
    support, query = sample()
    other = Volume(query.array + 1, query.ijk_to_ras @ np.diag([2.0, 2, 2, 1]), "another patient")
    request = write_request(tmp_path, "1", support, query, drawn_on=other)
    assert decode_request(encode(request)) == request
    job = read_job(request, tmp_path)
    assert np.array_equal(job.drawn_on.array, other.array)
    assert np.array_equal(job.drawn_on.ijk_to_ras, other.ijk_to_ras)


def test_a_background_of_any_type_goes_along_as_a_mask(tmp_path):
    support, query = sample()
    known = np.where(query.array > 2, 3.0, 0.0)
    request = write_request(tmp_path, "1", support, query, background=known)
    assert request.background == "1-background.npy"
    job = read_job(request, tmp_path)
    assert job.background.dtype == np.uint8 and np.array_equal(job.background, known > 0)
    alone = write_request(tmp_path, "2", support, query)
    assert alone.background is None and read_job(alone, tmp_path).background is None
    (tmp_path / "1-background.npy").unlink()
    with pytest.raises(WorkerFailure, match="cannot be read"):
        read_job(request, tmp_path)


@pytest.mark.parametrize("options", [{"alpha": float("nan")}, {"alpha": {1, 2}}])
def test_options_that_json_lacks_are_refused_before_anything_is_written(tmp_path, options):
    with pytest.raises(errors.InputError, match="options"):
        write_request(tmp_path, "1", *sample(), options=options)
    assert names(tmp_path) == []


def test_a_report_with_other_fields_than_ours(tmp_path):
    answer = Result("1", "m.npy", "c.npy", {"slices": [{}], "warnings": []})
    with pytest.raises(ProtocolError, match="report"):
        read_answer(tmp_path, answer, (1, 1, 1))


def test_a_result_is_read_and_its_arrays_are_checked(tmp_path):
    exchange.save_array(tmp_path / "m.npy", np.ones((1, 2, 3), np.uint8))
    exchange.save_array(tmp_path / "c.npy", np.ones((1, 2, 3), np.float32))
    found = read_answer(tmp_path, Result("1", "m.npy", "c.npy", REPORT), (1, 2, 3))
    assert found.mask.sum() == 6 and found.report.warnings == ("Look.",)
    for answer, shape in (
        (Result("1", "m.npy", "c.npy", REPORT), (1, 2, 2)),
        (Result("1", "c.npy", "m.npy", REPORT), (1, 2, 3)),
        (Result("1", "absent.npy", "c.npy", REPORT), (1, 2, 3)),
    ):
        with pytest.raises(WorkerFailure):
            read_answer(tmp_path, answer, shape)


def test_answers_that_are_no_result(tmp_path):
    with pytest.raises(errors.InputError, match="No"):
        read_answer(tmp_path, Error("1", "InputError", "No.", "", ""), (1, 1, 1))
    with pytest.raises(ProtocolError, match="did not answer"):
        read_answer(tmp_path, Ready("1", 2, 1, "", "cpu"), (1, 1, 1))
