"""Processes and timers are let go of after every worker, whatever PythonQt keeps."""

from __future__ import annotations

import gc
import weakref

import pytest
import slicer

from support.qt_worker_bed import (
    Heard,
    Worker,
    is_gone,
    run_events,
    submit,
    temporary_folder,  # noqa: F401
    wait_until,
)
from support.worker_bed import FAKE

from QNetSegmentLib.process.connection import Connection  # isort: skip
from QNetSegmentLib.timers import Later  # isort: skip


@pytest.fixture
def alive():
    """Counts the objects of a class that were made in this test and are not gone."""

    def found(cls):
        gc.collect()
        return [one for one in gc.get_objects() if type(one) is cls]

    older = found(Connection)
    return lambda cls: sum(all(one is not other for other in older) for one in found(cls))


def kept_at_quit():
    """How many slots the application calls when it quits, without those that other tests have left to die."""
    run_events()
    gc.collect()
    return len([one for one in slicer.app.aboutToQuit._functions() if one() is not None])


def test_no_connection_outlives_its_worker_process(temporary, alive):
    before = kept_at_quit()
    worker = Worker(FAKE, grace_s=5.0)
    heard = Heard(worker)
    for _turn in range(3):
        heard.end(submit(worker))
        assert alive(Connection) == 1 and kept_at_quit() == before + 1
        worker.shutdown()
        run_events()
        assert alive(Connection) == 0 and kept_at_quit() == before
    gone = weakref.ref(worker)
    del worker, heard
    gc.collect()
    assert gone() is None


def test_a_worker_that_cannot_start_is_let_go(temporary, alive):
    before = kept_at_quit()
    worker = Worker(["there is no such program"])
    heard = Heard(worker)
    heard.end(submit(worker))
    run_events()
    assert alive(Connection) == 0 and kept_at_quit() == before


def test_a_worker_that_only_the_application_keeps_finishes_and_ends_with_it(temporary):
    """A script may forget its logic, and still wants the result."""
    worker, ends, pids = Worker(FAKE, grace_s=5.0), [], []
    worker.finished.connect(lambda _token, result: ends.append(result))
    worker.ready.connect(lambda ready: pids.append(ready.pid))
    submit(worker)
    gone = weakref.ref(worker)
    del worker
    gc.collect()
    wait_until(lambda: ends)
    assert gone() is not None
    slicer.app.aboutToQuit.emit()
    assert is_gone(pids[0])
    run_events()
    gc.collect()
    assert gone() is None


def test_a_timer_keeps_nothing():
    class Owner:
        def __init__(self):
            self.later = Later(self.act)

        def act(self):
            raise AssertionError("nobody is there any more")

    owner = Owner()
    owner.later.request()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    run_events()
