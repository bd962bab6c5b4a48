"""The worker over QProcess, on Qt stand-ins: results, cancelling, one job after the other."""

from __future__ import annotations

import os
from signal import SIGCONT, SIGSTOP

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.volume import Drawing, normalise
from qnetseg.worker.failures import WorkerFailure
from qnetseg.worker.protocol import Close
from qnetseg.worker.source import Source
from support.fake_engine import BRIGHT
from support.qt_worker_bed import (
    SOURCE,
    SUPPORT,
    VOLUME,
    Heard,
    Worker,
    is_gone,
    run_events,
    submit,
    temporary_folder,  # noqa: F401
    wait_until,
)
from support.worker_bed import FAKE, sample

from QNetSegmentLib.process.connection import Connection  # isort: skip

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def worker(temporary):
    worker = Worker(FAKE, grace_s=5.0)
    yield worker
    worker.shutdown()


@pytest.fixture
def heard(worker):
    return Heard(worker)


def test_a_result_is_rebuilt_as_the_engine_made_it(worker, heard):
    token = submit(worker, model="some-model")
    assert worker.busy and worker.device is None and heard.all == []
    found = heard.end(token)
    assert not worker.busy and worker.device == "cpu"
    image = normalise(VOLUME.array)
    assert np.array_equal(found.mask.placed(VOLUME.shape), image > BRIGHT)
    np.testing.assert_allclose(found.confidence, np.clip(image, 0, 1), atol=1e-5)
    assert found.report.model == "some-model" and found.report.warnings == (str(worker.pid),)
    assert [(t, news.done, news.total) for t, news in heard["progress"]] == [
        (token, n, 4) for n in (1, 2, 3, 4)
    ]
    assert [name for name, _ in heard.all if name != "log"] == ["ready", *["progress"] * 4, "finished"]
    assert list(worker.folder.iterdir()) == []


def test_warming_up_starts_the_process_that_later_jobs_use(worker, heard):
    worker.start()
    wait_until(lambda: heard["ready"])
    (greeting,) = heard["ready"][0]
    assert (greeting.pid, greeting.device, greeting.torch) == (worker.pid, "cpu", "0.0-fake")
    assert heard.end(submit(worker)).report.warnings == (str(greeting.pid),)
    worker.start()  # ready already: says so again
    wait_until(lambda: len(heard["ready"]) == 2)
    assert worker.pid == greeting.pid and heard["failed"] == []


def requests_of(worker, monkeypatch):
    """What the worker's process is sent from now on, by the kind of request."""
    sent, send = [], Connection.send
    monkeypatch.setattr(
        Connection, "send", lambda self, request: sent.append(request.TYPE) or send(self, request)
    )
    return sent


def test_structures_of_one_volume_need_one_open(worker, heard, monkeypatch):
    sent = requests_of(worker, monkeypatch)
    for _ in range(3):
        assert heard.end(submit(worker)).mask.count
    assert sent == ["hello", "open", "segment", "segment", "segment"]
    other = Source.of(sample()[1])  # equal, and yet another volume
    assert heard.end(worker.segment(SUPPORT, other, device="cpu")).mask.count
    worker.release(other)
    assert heard.end(worker.segment(SUPPORT, other, device="cpu")).mask.count
    assert sent[5:] == ["open", "segment", "close", "open", "segment"]


def test_volumes_that_were_not_used_for_long_are_closed(worker, heard, monkeypatch):
    sent = requests_of(worker, monkeypatch)
    sources = [Source.of(sample()[1]) for _ in range(4)]
    for source in (*sources, sources[1]):
        assert heard.end(worker.open(source)).shape == VOLUME.shape
    assert sent == ["hello", "open", "open", "open", "open", "close"]
    heard.end(worker.open(sources[0]))
    assert sent[-2:] == ["open", "close"]


def test_a_volume_that_the_worker_let_go_of_is_opened_again(worker, heard, monkeypatch):
    heard.end(submit(worker))
    opened = worker._held.used(SOURCE)
    worker._connection.send(Close("x", opened.id))  # as it does to make room
    sent = requests_of(worker, monkeypatch)
    assert heard.end(submit(worker)).mask.count and heard["failed"] == []
    assert sent == ["segment", "open", "segment"]


def test_a_drawing_of_another_volume_is_two_opens(worker, heard, monkeypatch):
    sent, drawn_on = requests_of(worker, monkeypatch), Source.of(sample()[1])
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    drawing = Drawing.of_mask(mask, VOLUME.shape, name="box")
    assert heard.end(worker.segment(drawing, SOURCE, drawn_on, device="cpu")).report.structure == "box"
    packed = heard.end(worker.pack(drawing, drawn_on))
    assert np.array_equal(packed.slices[0].image, SUPPORT.slices[0].image)
    assert sent == ["hello", "open", "open", "segment", "pack"]
    assert list(worker.folder.iterdir()) == []


@posix_only
@pytest.mark.parametrize("goes_on", [True, False])
def test_reading_that_is_cancelled_is_not_waited_for(temporary, goes_on):
    """A stopped process stands for one that reads from a slow disk."""
    worker = Worker(FAKE, grace_s=5.0 if goes_on else 0.2)
    heard = Heard(worker)
    heard.end(submit(worker))
    pid = worker.pid
    os.kill(pid, SIGSTOP)
    token = worker.open(Source.of(sample()[1]))
    run_events()
    worker.cancel(token)
    assert isinstance(heard.end(token), errors.Cancelled)
    following = submit(worker)
    run_events()
    if goes_on:
        os.kill(pid, SIGCONT)
    assert (int(heard.end(following).report.warnings[0]) == pid) == goes_on
    worker.shutdown()


def test_one_job_at_a_time(worker, heard):
    token = submit(worker, "wait")
    with pytest.raises(errors.WorkerError, match="running already"):
        submit(worker)
    wait_until(lambda: heard["progress"])
    with pytest.raises(errors.WorkerError):
        submit(worker)
    worker.cancel(token)
    assert isinstance(heard.end(token), errors.Cancelled)


def test_cancel_keeps_the_worker_warm(worker, heard):
    token = submit(worker, "wait")
    wait_until(lambda: heard["progress"])
    pid = worker.pid
    worker.cancel(token)
    worker.cancel(token)
    assert heard["failed"] == [] and worker.busy
    assert isinstance(heard.end(token), errors.Cancelled)
    assert worker.pid == pid and list(worker.folder.iterdir()) == []
    assert heard.end(submit(worker)).report.warnings == (str(pid),)
    worker.cancel(token)  # over long since
    assert heard["stopped"] == []


def test_cancel_before_the_process_is_ready_leaves_it_to_the_next_job(worker, heard):
    token = submit(worker)
    worker.cancel(token)
    assert isinstance(heard.end(token), errors.Cancelled) and heard["progress"] == []
    token = submit(worker)
    wait_until(lambda: worker.pid)
    pid = worker.pid
    worker.cancel(token)
    assert isinstance(heard.end(token), errors.Cancelled) and heard["progress"] == []
    assert heard.end(submit(worker)).report.warnings == (str(pid),)
    assert len(heard["ready"]) == 1 and heard["stopped"] == []


@posix_only
@pytest.mark.parametrize("do", ["hang", "spin", "freeze", "stubborn", "die on cancel"])
def test_cancel_of_a_deaf_worker_ends_it_by_force(temporary, do):
    worker = Worker(FAKE, grace_s=0.2)
    heard = Heard(worker)
    token = submit(worker, do)
    wait_until(lambda: len(heard["progress"]) == (2 if do == "stubborn" else 1))
    pid, folder = worker.pid, worker.folder
    worker.cancel(token)
    assert isinstance(heard.end(token), errors.Cancelled)
    following = submit(worker)
    wait_until(lambda: heard["progress"][-1][0] == following)
    assert is_gone(pid) and not folder.exists()  # never two that share the GPU
    assert heard.end(following).report.warnings == (str(worker.pid),)
    assert len(heard["stopped"]) == 1 and len(heard.ends(token)) == 1
    worker.shutdown()


def test_a_result_that_outruns_the_cancel_is_dropped(worker, heard):
    def cancel_at_the_end(token, news):
        if news.done == 4:
            worker.cancel(token)

    worker.progress.connect(cancel_at_the_end)
    token = submit(worker)
    assert isinstance(heard.end(token), errors.Cancelled)
    worker.progress.disconnect(cancel_at_the_end)
    assert heard.end(submit(worker)).mask.count


def test_nothing_of_a_cancelled_job_arrives_after_the_cancel(worker, heard):
    token = submit(worker, "gate", options={"gate": os.devnull})
    wait_until(lambda: heard["progress"])
    worker.cancel(token)
    count = len(heard["progress"])
    heard.end(token)
    assert len(heard["progress"]) == count


def test_a_failing_slot_disturbs_nobody(worker, heard, capsys):
    def fail(*_):
        raise ZeroDivisionError

    for signal in (worker.ready, worker.progress, worker.finished):
        signal.connect(fail)
    assert heard.end(submit(worker)).mask.count and heard.end(submit(worker)).mask.count
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_job_can_be_submitted_in_the_slot_that_ends_another(worker, heard):
    tokens = []

    def again(*_):
        if len(tokens) < 3:
            tokens.append(submit(worker))

    worker.finished.connect(again)
    again()
    wait_until(lambda: len(heard["finished"]) == 3)
    assert [token for token, _ in heard["finished"]] == tokens


def test_the_log_comes_line_by_line(worker, heard):
    heard.end(submit(worker, "print"))
    wait_until(lambda: len(heard["log"]) >= 4)
    assert {"garbage from print", "garbage from C", "garbage from a child"} <= {
        line for (line,) in heard["log"]
    }


@pytest.mark.parametrize("do", [None, "answer", "wait", "hang", "stubborn"])
def test_shutdown_leaves_no_process_and_no_folder(temporary, do):
    worker = Worker(FAKE)
    heard = Heard(worker)
    token = submit(worker, do) if do else None
    if do == "answer":
        heard.end(token)
    elif do:
        wait_until(lambda: heard["progress"])
    else:
        worker.start()
        wait_until(lambda: heard["ready"])
    pid, folder = worker.pid, worker.folder
    worker.shutdown()
    assert is_gone(pid) and not folder.exists()
    worker.shutdown()
    assert worker.pid is None and worker.device is None and not worker.busy and heard["stopped"] == [()]
    if do not in (None, "answer"):
        assert isinstance(heard.end(token), errors.Cancelled)
    assert heard.end(submit(worker)).mask.count
    worker.shutdown()


@pytest.mark.parametrize("moment", ["at once", "starting"])
def test_shutdown_while_it_starts(temporary, moment):
    worker = Worker(FAKE)
    heard = Heard(worker)
    token = submit(worker)
    if moment == "starting":
        wait_until(lambda: worker.pid)
    pid = worker.pid
    worker.shutdown()
    assert isinstance(heard.end(token), errors.Cancelled) and (pid is None or is_gone(pid))
    run_events()
    assert worker.pid is None and heard["ready"] == []


def test_an_idle_worker_ends_and_the_next_job_starts_another(temporary):
    worker = Worker(FAKE, idle_s=0.05)
    heard = Heard(worker)
    pid = int(heard.end(submit(worker)).report.warnings[0])
    wait_until(lambda: heard["stopped"])
    assert is_gone(pid) and worker.pid is None and worker.device is None and heard["failed"] == []
    assert int(heard.end(submit(worker)).report.warnings[0]) != pid
    worker.shutdown()


def test_a_busy_worker_is_not_idle(temporary):
    worker = Worker(FAKE, idle_s=0.0)
    heard = Heard(worker)
    token = submit(worker, "wait")
    wait_until(lambda: heard["progress"])
    run_events(200)
    assert heard["stopped"] == [] and heard.ends(token) == []
    worker.shutdown()


def test_scripts_wait_without_an_event_loop(worker, heard):
    worker.start()
    assert worker.wait("") and heard["ready"]
    token = submit(worker)
    assert worker.wait(token) and heard.ends(token)[0].mask.count
    assert worker.wait(token) and worker.wait("never heard of")
    token = submit(worker, "wait")
    assert not worker.wait(token, 0.2) and worker.busy
    worker.cancel(token)
    assert worker.wait(token) and isinstance(heard.ends(token)[0], errors.Cancelled)
    token = submit(worker, "exit")
    assert worker.wait(token) and isinstance(heard.ends(token)[0], WorkerFailure)
    token = submit(worker)
    assert worker.wait(token) and heard.ends(token)[0].mask.count


@posix_only
def test_scripts_wait_for_the_end_of_a_deaf_worker(temporary):
    worker = Worker(FAKE, grace_s=0.2)
    heard = Heard(worker)
    token = submit(worker, "stubborn")
    while len(heard["progress"]) < 2:
        worker.wait(token, 0.05)
    worker.cancel(token)
    assert worker.wait(token) and isinstance(heard.ends(token)[0], errors.Cancelled)
    token = submit(worker)
    assert worker.wait(token) and heard.ends(token)[0].mask.count
    worker.shutdown()


def test_a_slot_may_wait_for_the_job_that_calls_it(worker, heard):
    waited = []
    token = submit(worker)
    worker.progress.connect(lambda token, _: waited or waited.append(worker.wait(token)))
    assert heard.end(token).mask.count and waited and all(waited)
    assert heard.end(submit(worker)).mask.count
