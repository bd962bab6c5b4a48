"""A run of several structures on one volume: order, progress, overlaps, cancel."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.boxes import Box
from qnetseg.cli.inputs import Structure
from qnetseg.cli.results import combine
from qnetseg.segment.result import Found
from qnetseg.volume import Drawing, SegmentInfo, Volume, normalise, support_from_mask
from qnetseg.worker.source import Source
from support.fake_engine import BRIGHT
from support.qt_worker_bed import SOURCE, VOLUME, Worker, run_events, wait_until
from support.worker_bed import FAKE, sample

# isort: split
from QNetSegmentLib.runs.run import Run, RunProgress
from QNetSegmentLib.signals import Signal


def supports(*names):
    volume = sample()[1]
    masks = []
    for number, _name in enumerate(names):
        mask = np.zeros(volume.shape, np.uint8)
        mask[3, 8 : 12 + number, 6:14] = 1
        masks.append(mask)
    return [support_from_mask(volume, mask, name=name) for mask, name in zip(masks, names, strict=True)]


class Ended:
    """Hears the signals of a run."""

    def __init__(self, run):
        self.run, self.progress, self.results, self.errors = run, [], [], []
        run.progress.connect(self.progress.append)
        run.finished.connect(self.results.append)
        run.failed.connect(self.errors.append)

    def wait(self):
        wait_until(lambda: self.results or self.errors)
        run_events()
        assert len(self.results) + len(self.errors) == 1 and not self.run.active
        return (self.results or self.errors)[0]


@pytest.fixture(scope="module")
def worker():
    worker = Worker(FAKE)
    yield worker
    worker.shutdown()


def run_of(worker, *names, do="answer", **options):
    return Run(worker, supports(*names), SOURCE, options={"do": do, **options}, device="cpu")


def test_every_structure_gets_its_result_in_order(worker):
    run = run_of(worker, "liver", "spleen", "kidney")
    ended = Ended(run)
    assert not run.active
    run.start()
    assert run.active and worker.busy
    results = ended.wait()
    assert [found.example.name for found in results] == ["liver", "spleen", "kidney"]
    assert [found.report.structure for found in results] == ["liver", "spleen", "kidney"]
    bright = normalise(VOLUME.array) > BRIGHT
    assert np.array_equal(results[0].mask.placed(VOLUME.shape), bright)
    assert not results[1].mask.count and not results[2].mask.count  # the first of equals has them all
    assert all(np.array_equal(found.axes, results[0].example.axes) for found in results)
    assert list(worker.folder.iterdir()) == []


def test_confidence_crosses_only_where_structures_may_overlap():
    for names, expected in ((("a",), None), (("a", "b"), "mask")):
        worker = ScriptedWorker()
        Run(worker, supports(*names), SOURCE).start()
        assert worker.arguments.get("confidence_of") == expected


def test_examples_of_one_structure_are_used_together():
    worker = ScriptedWorker()
    liver, spleen, other = supports("liver", "spleen", "liver")
    run = Run(worker, [liver, spleen, other], SOURCE, others=["a", "b", "c"])
    run.start()
    assert worker.jobs == ["liver"] and worker.arguments["further"] == [other]
    assert worker.arguments["background"] == "a"
    worker.finished.emit("1", found([1, 0], [0.9, 0.1]))
    assert worker.jobs == ["liver", "spleen"] and worker.arguments["further"] == []
    assert worker.arguments["background"] == "b"


def test_each_structure_takes_its_accepted_result_along():
    for accepted, expected in (((), [None, None]), (("a", None), ["a", None]), ((None, "b"), [None, "b"])):
        worker = ScriptedWorker()
        Run(worker, supports("liver", "spleen"), SOURCE, SOURCE, accepted=accepted).start()
        given = [worker.arguments["result"]]
        worker.finished.emit("1", found([1], [1.0]))
        assert [*given, worker.arguments["result"]] == expected


def test_the_axes_of_a_drawing_are_those_of_its_volume(worker):
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    drawing = Drawing.of_mask(mask, VOLUME.shape, name="box")
    tilted = VOLUME.ijk_to_ras @ np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for matrix in (VOLUME.ijk_to_ras, tilted):
        other = Volume(VOLUME.array, matrix, "other")
        run = Run(worker, [drawing], SOURCE, Source.of(other), options={"do": "answer"}, device="cpu")
        run.start()
        (result,) = run.wait()
        np.testing.assert_allclose(result.axes, support_from_mask(other, mask).axes)


def test_progress_rises_over_all_structures_and_stages(worker):
    run = run_of(worker, "liver", "spleen")
    ended = Ended(run)
    run.start()
    ended.wait()
    fractions = [news.fraction for news in ended.progress]
    assert fractions == sorted(fractions) and fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert (ended.progress[0].number, ended.progress[0].structure) == (1, "liver")
    slices = [(news.number, news.done) for news in ended.progress if news.stage == "slices"]
    assert slices == [(number, done) for number in (1, 2) for done in (1, 2, 3, 4)]
    half = [news.fraction for news in ended.progress if (news.number, news.done) == (1, 4)]
    assert half == [pytest.approx(0.5)] and all(news.count == 2 for news in ended.progress)
    assert all(isinstance(news, RunProgress) for news in ended.progress)


def test_a_run_that_starts_the_process_says_so(worker):
    worker.shutdown()
    run = run_of(worker, "liver")
    ended = Ended(run)
    run.start()
    ended.wait()
    stages = [stage for stage, _ in itertools.groupby(news.stage for news in ended.progress)]
    assert stages == ["starting", "preparing", "slices"]


class ScriptedWorker:
    """Takes jobs, and says what the test tells it to."""

    def __init__(self):
        self.ready, self.progress, self.finished, self.failed = Signal(), Signal(), Signal(), Signal()
        self.device, self.busy, self.jobs, self.cancelled = "cpu", False, [], []

    def segment(self, support, _query, _drawn_on, **arguments):
        self.jobs.append(support.name)
        self.arguments = arguments
        return str(len(self.jobs))

    def cancel(self, token):
        self.cancelled.append(token)


def found(mask, confidence, seconds=1.0):
    shape = (1, 1, len(mask))
    box = Box.around(np.array(mask, np.uint8).reshape(shape))
    values = box.values(np.array(confidence, np.float32).reshape(shape))
    return Found(box, values, SimpleNamespace(seconds=seconds))


def news(done, total, stage, eta_s=None):
    return SimpleNamespace(done=done, total=total, stage=stage, eta_s=eta_s)


def test_overlaps_are_shared_out_as_on_the_command_line():
    answers = [
        found([1, 1, 1, 0, 0], [0.6, 0.9, 0.7, 0.4, 0.2]),
        found([0, 1, 1, 1, 0], [0.3, 0.8, 0.95, 0.3, 0.1]),
    ]
    worker = ScriptedWorker()
    run = Run(worker, supports("a", "b"), SOURCE)
    ended = Ended(run)
    run.start()
    for token, answer in zip("12", answers, strict=True):
        worker.finished.emit(token, answer)
    structures = [Structure(SegmentInfo(label, str(label), (0.0, 0.0, 0.0)), None) for label in (1, 2)]
    labelmap, _ = combine(structures, answers, Volume.blank((1, 1, 5), np.eye(4)))
    for label, result in enumerate(ended.wait(), 1):
        assert np.array_equal(result.mask.placed((1, 1, 5)), labelmap.array == label)


def test_time_left_counts_the_structures_that_follow():
    worker = ScriptedWorker()
    run = Run(worker, supports("a", "b", "c"), SOURCE)
    ended = Ended(run)
    run.start()
    worker.progress.emit("1", news(1, 4, "slices"))
    assert ended.progress[-1].eta_s is None
    worker.progress.emit("1", news(2, 4, "slices", 10.0))
    assert 30.0 <= ended.progress[-1].eta_s < 40.0  # this one and two more of at least as long
    worker.finished.emit("1", found([1], [1.0], seconds=20.0))
    worker.progress.emit("2", news(2, 4, "slices", 5.0))
    assert ended.progress[-1].eta_s == 25.0


def test_progress_never_falls_whatever_the_engine_says():
    worker = ScriptedWorker()
    run = Run(worker, supports("a", "b"), SOURCE)
    ended = Ended(run)
    run.start()
    for said in (
        *(news(1, 2, "support"), news(2, 2, "support"), news(3, 4, "slices"), news(1, 4, "slices")),
        *(news(0, 0, "clean-up"), news(5, 4, "slices"), news(4, 3, "outline")),
    ):
        worker.progress.emit("1", said)
    worker.progress.emit("another", news(4, 4, "slices"))
    fractions = [said.fraction for said in ended.progress]
    assert fractions == sorted(fractions) and fractions[-1] == 0.5 and len(fractions) == 8


def test_cancel_ends_the_run_and_keeps_the_worker(worker):
    run = run_of(worker, "liver", "spleen", do="wait")
    ended = Ended(run)
    run.start()
    wait_until(lambda: ended.progress[-1].stage == "slices")
    pid = worker.pid
    run.cancel()
    run.cancel()
    assert isinstance(ended.wait(), errors.Cancelled) and worker.pid == pid and not worker.busy
    run.cancel()
    assert ended.progress[-1].number == 1


def test_cancel_with_a_reason(worker):
    run = run_of(worker, "liver", do="wait")
    ended = Ended(run)
    run.start()
    wait_until(lambda: ended.progress[-1].stage == "slices")
    run.cancel(errors.VolumeError("The volume was removed."))
    run.cancel()
    assert str(ended.wait()) == "The volume was removed."


def test_cancel_between_two_structures_starts_no_other():
    worker = ScriptedWorker()
    run = Run(worker, supports("a", "b"), SOURCE)
    ended = Ended(run)
    worker.finished.connect(lambda *_: run.cancel())  # before the run hears of it
    run.start()
    worker.finished.emit("1", found([1], [1.0]))
    assert isinstance(ended.wait(), errors.Cancelled) and worker.jobs == ["a"]


@pytest.mark.parametrize(("do", "kind"), [("exit", errors.WorkerError), ("user error", errors.InputError)])
def test_an_error_of_one_structure_ends_the_run_and_the_next_run_works(worker, do, kind):
    run = run_of(worker, "liver", "spleen", do=do)
    ended = Ended(run)
    run.start()
    assert isinstance(ended.wait(), kind)
    again = run_of(worker, "liver")
    again.start()
    assert again.wait()[0].mask.count


def test_a_busy_worker_refuses_a_second_run(worker):
    first = run_of(worker, "liver", do="wait")
    ended = Ended(first)
    first.start()
    second = run_of(worker, "spleen")
    with pytest.raises(errors.WorkerError, match="running already"):
        second.start()
    assert not second.active
    first.cancel()
    ended.wait()
    second.start()  # may be tried again
    assert second.wait()


def test_a_run_needs_a_drawing(worker):
    with pytest.raises(errors.InputError, match="no drawing"):
        Run(worker, [], SOURCE)


def test_a_next_run_can_start_in_the_slot_that_ends_one(worker):
    second = run_of(worker, "spleen")
    ended = Ended(second)
    first = run_of(worker, "liver")
    first.finished.connect(lambda _: second.start())
    first.start()
    assert ended.wait()[0].example.name == "spleen"


def test_scripts_wait_for_results_and_errors(worker):
    run = run_of(worker, "liver", "spleen", do="wait")
    run.start()
    with pytest.raises(errors.WorkerError, match="longer"):
        run.wait(0.1)
    run.cancel()
    for _ in range(2):
        with pytest.raises(errors.Cancelled):
            run.wait()
    run = run_of(worker, "liver", "spleen")
    run.start()
    assert len(run.wait()) == 2 and len(run.wait()) == 2


def test_each_structure_is_told_what_stands_beside_it():
    asked, worker = [], ScriptedWorker()
    segment = worker.segment
    worker.segment = lambda *a, background, **named: asked.append(background) or segment(*a, **named)
    bone = Box(np.ones((2, 3, 4), bool), (1, 2, 3))
    Run(worker, supports("a", "b"), SOURCE, others=[bone, Box.empty()]).start()
    worker.finished.emit("1", found([1], [1.0]))
    assert asked[0] is bone and asked[1].is_empty
