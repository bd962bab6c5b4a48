"""How a batch reads its files: in a process of their own, one at a time, nothing of them kept."""

from __future__ import annotations

import gc
import json
import os
import signal
import weakref

import numpy as np
import pytest
from slicer_session import session

session()

from qnetseg.errors import VolumeError, WorkerError  # noqa: E402
from qnetseg.volume import read_volume, volume_id  # noqa: E402
from QNetSegmentLib.process.reader import Reader  # noqa: E402
from QNetSegmentLib.process.worker import Worker  # noqa: E402
from QNetSegmentLib.runs import batch as of_batch  # noqa: E402
from QNetSegmentLib.runs.batch import Batch, StudyState, Summary, folder_studies, scene_studies  # noqa: E402
from QNetSegmentLib.sample_data import volume_node  # noqa: E402
from support.batch_bed import (  # noqa: E402
    CANCELLED,
    DONE,
    FAILED,
    KEPT,
    FakeReader,
    FakeRun,
    batch_of,
    reset,
    results_in,
    run,
    scans,
    states,
)
from support.cli_bed import scan_array, write_image  # noqa: E402
from support.qt_worker_bed import is_gone, wait_until, watched_folder  # noqa: E402
from support.worker_bed import FAKE, sample  # noqa: E402

RUNNING, WAITING = StudyState.RUNNING, StudyState.WAITING


@pytest.fixture(autouse=True)
def fresh():
    reset()
    yield
    reset()


@pytest.fixture
def folder(tmp_path):
    return scans(tmp_path)


@pytest.fixture
def supports():
    support, _ = sample()
    return [support]


def test_a_study_says_that_it_is_read_and_no_longer_when_it_is_segmented(folder, supports):
    FakeReader.trouble["b.nii.gz"] = None
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


def test_volumes_of_the_scene_are_not_read(tmp_path, supports):
    node, heard = volume_node(scan_array(), np.eye(4), "one"), []
    batch = batch_of(scene_studies([node]), supports, tmp_path)
    batch.changed.connect(lambda _index, study: heard.append(study.detail))
    batch.start()
    batch.loop.run()
    assert "reading" not in heard and states(batch) == [DONE] and FakeReader.made == []


@pytest.mark.parametrize("error", [VolumeError("It is constant.", "Choose another."), WorkerError("Killed.")])
def test_a_study_that_cannot_be_read_says_why_and_the_batch_goes_on(folder, supports, error):
    FakeReader.trouble["b.nii.gz"] = error
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [DONE, FAILED, DONE] and batch.studies[1].detail == str(error)


def test_cancelling_while_a_study_is_read(folder, supports):
    FakeReader.trouble["b.nii.gz"] = None
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    batch.loop.run()
    late = FakeReader.made[-1]
    assert not late.released
    batch.cancel()
    assert not batch.active and late.released and batch.heard[-1] == Summary(1, 0, 0, 2)
    late.finished.emit(*sample(), [])
    late.failed.emit(WorkerError("late"))
    batch.loop.run()
    assert states(batch) == [DONE, CANCELLED, CANCELLED] and len(FakeRun.started) == 1
    FakeReader.trouble.clear()
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
    assert states(batch) == [CANCELLED] * 3 and FakeRun.started == [] and FakeReader.made[0].released


def test_a_slot_that_fails_when_a_study_was_read_ends_that_study(folder, supports):
    batch = batch_of(folder_studies(folder), supports)

    def bug(index, study):
        if index == 1 and study.state is RUNNING and not study.detail:
            raise RuntimeError("a bug of the panel")

    batch.changed.connect(bug)
    batch.start()
    batch.loop.run()
    assert states(batch) == [DONE, FAILED, DONE] and not batch.active


def test_every_file_is_given_back_when_its_study_has_ended(folder, supports):
    FakeRun.trouble["b"] = WorkerError("Killed.")
    open_ones = []
    for _ in range(2):  # the second time most are kept
        batch = batch_of(folder_studies(folder), supports)
        batch.changed.connect(
            lambda _index, study: (
                study.state in (DONE, KEPT, FAILED)
                and open_ones.extend(reader for reader in FakeReader.made if not reader.released)
            )
        )
        batch.start()
        batch.loop.run()
    assert states(batch) == [KEPT, FAILED, KEPT] and len(FakeReader.made) == 6 and open_ones == []


def test_the_fingerprint_of_the_reader_is_used(folder, supports, monkeypatch):
    expected = volume_id(read_volume(folder / "b.nii.gz"))

    run(folder_studies(folder), supports)
    assert json.loads((folder / "b.seg.json").read_text())["recipe"]["image"] == expected
    monkeypatch.setattr("support.batch_bed.volume_id", lambda _volume: "another image")
    assert states(run(folder_studies(folder), supports)) == [FAILED] * 3


# With the real reader


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    with watched_folder(tmp_path, monkeypatch) as temporary:
        yield temporary
        wait_until(Reader.all_over)


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


def test_results_are_those_of_files_read_in_this_process(folder, supports, temporary, tmp_path):
    for output, reader in (("one", None), ("other", FakeReader)):
        batch = Real(folder_studies(folder), supports, tmp_path / output, make_reader=reader).run()
        assert states(batch) == [DONE] * 3, [study.detail for study in batch.studies]
    names = results_in(tmp_path / "one")
    assert len(names) == 6 and names == results_in(tmp_path / "other")
    for name in names:
        one, other = ((tmp_path / output / name).read_bytes() for output in ("one", "other"))
        if name.endswith(".json"):  # all but the seconds and the process's number
            one, other = (json.loads(content) for content in (one, other))
            assert (one["recipe"], one["sha256"]) == (other["recipe"], other["sha256"])
        else:
            assert one == other


def test_the_image_is_gone_when_its_file_is_removed(folder, supports, temporary, monkeypatch):
    """Windows removes no file that is mapped into memory, and Python may take its time with cycles."""
    images, left, clean_up = [], [], Reader._clean_up

    def make_reader():
        reader = Reader()
        reader.finished.connect(lambda volume, *_: images.append(weakref.ref(volume)))
        return reader

    def watched(reader):
        left.extend(image for image in images if image() is not None)
        clean_up(reader)

    monkeypatch.setattr(Reader, "_clean_up", watched)
    gc.disable()
    try:
        batch = Real(folder_studies(folder), supports, make_reader=make_reader).run()
        wait_until(Reader.all_over)
    finally:
        gc.enable()
    assert states(batch) == [DONE] * 3 and len(images) == 3 and left == []


def test_a_batch_that_is_over_is_not_kept(folder, supports, temporary):
    batch = weakref.ref(Real(folder_studies(folder), supports).run())
    wait_until(Reader.all_over)
    gc.collect()
    assert batch() is None


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_reader_fails_one_study(folder, supports, temporary, monkeypatch):
    made = []

    def make_reader():
        made.append(Reader())
        return made[-1]

    def kill(index, study):
        if index == 2 and study.detail == "reading":
            real.batch._later(lambda: os.kill(made[-1].pid, signal.SIGKILL))

    real = Real(folder_studies(folder), supports, make_reader=make_reader)
    real.batch.changed.connect(kill)
    batch = real.run()
    assert states(batch) == [DONE, DONE, FAILED]
    assert "SIGKILL" in batch.studies[2].detail


def test_cancelling_ends_the_process_that_reads(folder, supports, temporary):
    real, pids = Real(folder_studies(folder), supports), []

    def cancel(*_):
        pids.append(real.batch._reader.pid)
        real.batch.cancel()

    real.batch.changed.connect(lambda _index, study: study.detail == "reading" and real.batch._later(cancel))
    batch = real.run()
    assert states(batch) == [CANCELLED] * 3 and list(temporary.glob("*")) == []
    wait_until(lambda: is_gone(pids[0]))


def test_the_real_reader_is_the_default():
    assert of_batch._reader_class() is Reader
