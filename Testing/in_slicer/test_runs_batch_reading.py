"""How a batch opens its volumes: in the worker, one at a time, and closes them; drawings are packed first."""

from __future__ import annotations

import gc
import json
import os
import signal
import weakref
from dataclasses import replace

import numpy as np
import pytest
from slicer_session import session

session()

from qnetseg.batch import StudyState, folder_studies  # noqa: E402
from qnetseg.errors import VolumeError, WorkerError  # noqa: E402
from qnetseg.volume import Drawing, Patient, PatientImage, Volume, read_volume, volume_id  # noqa: E402
from qnetseg.worker.source import Source  # noqa: E402
from QNetSegmentLib.process.worker import Worker  # noqa: E402
from QNetSegmentLib.runs.batch import Batch, Summary  # noqa: E402
from QNetSegmentLib.runs.scene_studies import scene_studies  # noqa: E402
from QNetSegmentLib.sample_data import volume_node  # noqa: E402
from support.batch_bed import (  # noqa: E402
    CANCELLED,
    DONE,
    FAILED,
    KEPT,
    FakeRun,
    FakeWorker,
    batch_of,
    folder_of_scans,  # noqa: F401
    fresh,  # noqa: F401
    one_support,  # noqa: F401
    results_in,
    run,
    states,
)
from support.cli_bed import scan_array, write_image  # noqa: E402
from support.qt_worker_bed import temporary_folder, wait_until  # noqa: E402, F401
from support.worker_bed import FAKE, sample  # noqa: E402

RUNNING, WAITING = StudyState.RUNNING, StudyState.WAITING


def test_a_study_says_that_it_is_read_and_no_longer_when_it_is_segmented(folder, supports):
    FakeWorker.trouble["b.nii.gz"] = None
    FakeRun.trouble["A"] = None
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    batch.loop.run()
    assert (states(batch), batch.studies[0].detail) == ([RUNNING, WAITING, WAITING], "")
    FakeRun.started[0].finished.emit(FakeRun.started[0].results())
    batch.loop.run()
    assert states(batch) == [DONE, RUNNING, WAITING] and batch.studies[1].detail == "reading"
    batch.cancel()


def test_what_is_odd_about_a_file_stands_beside_its_result(tmp_path, supports):
    plain, odd = (write_image(tmp_path / name, scan_array()) for name in ("a.nii.gz", "b.nii.gz"))
    odd.write_bytes(odd.read_bytes() + b"more")
    batch = batch_of(folder_studies(tmp_path), supports)
    batch.start()
    batch.loop.run()
    assert states(batch) == [DONE, DONE] and batch.studies[0].detail == "box 1.5 ml."
    assert batch.studies[1].detail.startswith("box 1.5 ml. 'b.nii.gz' has something behind its compressed")
    assert plain.exists()


def test_volumes_of_the_scene_are_no_files(tmp_path, supports):
    node, heard = volume_node(scan_array(), np.eye(4), "one"), []
    batch = batch_of(scene_studies([node]), supports, tmp_path)
    batch.changed.connect(lambda _index, study: heard.append(study.detail))
    batch.start()
    batch.loop.run()
    assert "reading" not in heard and states(batch) == [DONE]
    assert [source.path for source in FakeWorker.opened] == [None]


@pytest.mark.parametrize("error", [VolumeError("It is constant.", "Choose another."), WorkerError("Killed.")])
def test_a_study_that_cannot_be_read_says_why_and_the_batch_goes_on(folder, supports, error):
    FakeWorker.trouble["b.nii.gz"] = error
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [DONE, FAILED, DONE] and batch.studies[1].detail == str(error)


def test_cancelling_while_a_study_is_read(folder, supports):
    FakeWorker.trouble["b.nii.gz"] = None
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    batch.loop.run()
    token = str(len(FakeWorker.opened) - 1)
    batch.cancel()
    assert not batch.active and batch.worker.cancelled == [token]
    assert FakeWorker.released == FakeWorker.opened and batch.heard[-1] == Summary(1, 0, 0, 2)
    batch.worker.finished.emit(token, None)
    batch.worker.failed.emit(token, WorkerError("late"))
    batch.loop.run()
    assert states(batch) == [DONE, CANCELLED, CANCELLED] and len(FakeRun.started) == 1
    FakeWorker.trouble.clear()
    batch.start()
    batch.loop.run()
    assert states(batch) == [KEPT, DONE, DONE]


def test_a_slot_may_cancel_when_a_study_was_read(folder, supports):
    batch = batch_of(folder_studies(folder), supports)
    batch.changed.connect(
        lambda _index, study: study.state is RUNNING and not study.detail and batch.cancel()
    )
    batch.start()
    batch.loop.run()
    assert (
        states(batch) == [CANCELLED] * 3
        and FakeRun.started == []
        and FakeWorker.released == FakeWorker.opened
    )


def test_a_slot_that_fails_when_a_study_was_read_ends_that_study(folder, supports):
    batch = batch_of(folder_studies(folder), supports)

    def bug(index, study):
        if index == 1 and study.state is RUNNING and not study.detail:
            raise RuntimeError("a bug of the panel")

    batch.changed.connect(bug)
    batch.start()
    batch.loop.run()
    assert states(batch) == [DONE, FAILED, DONE] and not batch.active


def test_every_volume_is_closed_when_its_study_has_ended(folder, supports):
    FakeRun.trouble["b"] = WorkerError("Killed.")
    for _ in range(2):  # the second time most are kept
        batch = run(folder_studies(folder), supports)
        assert FakeWorker.released == FakeWorker.opened
    assert states(batch) == [KEPT, FAILED, KEPT] and len(FakeWorker.opened) == 6


def test_the_fingerprint_of_the_worker_is_used(folder, supports, monkeypatch):
    expected = volume_id(read_volume(folder / "b.nii.gz"))

    run(folder_studies(folder), supports)
    assert json.loads((folder / "b.seg.json").read_text())["recipe"]["image"] == expected
    monkeypatch.setattr("support.batch_bed.volume_id", lambda _volume: "another image")
    assert states(run(folder_studies(folder), supports)) == [FAILED] * 3


# With real processes


class Real:
    """A batch with real processes."""

    def __init__(self, studies, supports, output=None, **arguments):
        self.worker, self.ended = Worker(FAKE), []
        self.batch = Batch(self.worker, supports, studies, output, **arguments)
        self.batch.finished.connect(self.ended.append)

    def run(self):
        try:
            self.batch.start()
            wait_until(lambda: self.ended)
        finally:
            self.worker.shutdown()
        return self.batch


def test_a_saved_patient_is_another_recipe_than_the_drawn_slices_alone(folder, temporary, tmp_path):
    """The whole patient helps to find the place: what was found without it would be stale."""
    support = sample()[0]
    image = PatientImage.of(np.random.default_rng(0).random((2, 8, 8), dtype=np.float32), (5.0, 2.0))
    whole = replace(support, patient=Patient(image, np.zeros((2, 8, 8), np.uint8), 3.0))
    batch = Real(folder_studies(folder), [support], tmp_path / "one").run()
    again, kept = (Real(folder_studies(folder), [whole], tmp_path / "one").run() for _ in range(2))
    assert states(batch) == states(again) == [DONE] * 3 and states(kept) == [KEPT] * 3


def test_a_drawing_that_cannot_be_packed_fails_every_study(folder, temporary):
    constant = Source.of(Volume(np.ones((3, 4, 5), np.float32), np.eye(4), "constant"))
    drawing = Drawing.of_mask(np.eye(3, 4)[..., None] * np.ones(5), (3, 4, 5))
    batch = Real(folder_studies(folder), [drawing], drawn_on=constant).run()
    assert states(batch) == [FAILED] * 3 and "constant" in batch.studies[0].detail
    assert results_in(folder) == []


def test_a_batch_that_is_over_is_not_kept(folder, supports, temporary):
    batch = weakref.ref(Real(folder_studies(folder), supports).run())
    gc.collect()
    assert batch() is None


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_worker_that_is_killed_while_it_reads_fails_one_study(folder, supports, temporary):
    real = Real(folder_studies(folder), supports)

    def kill(index, study):
        if index == 1 and study.detail == "reading":
            os.kill(real.worker.pid, signal.SIGKILL)

    real.batch.changed.connect(kill)
    batch = real.run()
    assert batch.studies[0].state is DONE and batch.studies[2].state is DONE
    assert batch.studies[1].state is DONE or "SIGKILL" in batch.studies[1].detail
