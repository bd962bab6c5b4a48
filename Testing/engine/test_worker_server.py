"""The worker as a real process, spoken to in bare lines."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from qnetseg.segment import Query
from qnetseg.worker.protocol import VERSION
from qnetseg.worker.server import END_GRACE, Eta
from support.worker_bed import FAKE, LOGIC, PATIENCE, RawWorker, sample

REAL_WORKER = [sys.executable, "-m", "qnetseg.worker"]
SCHEDULING = 20.0  # seconds that a loaded machine may need besides; a worker that hangs would need forever


@pytest.fixture(scope="module")
def lasting():
    """One worker for all tests that leave it alive and idle."""
    with RawWorker() as worker:
        assert worker.hello()["event"] == "ready"
        yield worker
        assert worker.end() == 0


@pytest.fixture
def mortal():
    """A worker of its own."""
    with RawWorker() as worker:
        assert worker.hello()["event"] == "ready"
        yield worker


def test_hello_is_answered_with_version_and_process():
    with RawWorker() as worker:
        assert worker.hello() == {
            "event": "ready",
            "id": "h",
            "version": VERSION,
            "pid": worker.popen.pid,
            "torch": "0.0-fake",
            "device": "cpu",
            "shared": True,
        }


def test_a_second_hello_and_its_id_for_other_requests_are_refused(lasting):
    second = lasting.hello()
    assert (second["event"], second["kind"]) == ("error", "ProtocolError") and "one hello" in second[
        "message"
    ]
    lasting.segment("h")
    taken = lasting.event()
    assert (taken["event"], taken["kind"], taken["id"]) == ("error", "ProtocolError", "h")


def test_hello_of_another_version_is_refused():
    with RawWorker() as worker:
        worker.say("hello", "1", version=99, folder=str(worker.folder))
        error = worker.event()
        assert (error["event"], error["id"], error["kind"]) == ("error", "1", "ProtocolError")
        assert "version 99" in error["message"] and error["advice"]
        worker.segment("2")
        assert "hello" in worker.event()["message"]


def test_progress_then_result(lasting):
    lasting.segment("a")
    events = [lasting.event() for _ in range(5)]
    assert [event["event"] for event in events] == ["progress"] * 4 + ["result"]
    assert [event["done"] for event in events[:4]] == [1, 2, 3, 4]
    assert {event["id"] for event in events} == {"a"}
    assert events[0]["eta_s"] is None and events[1]["eta_s"] >= 0 and events[3]["eta_s"] == 0
    assert all((lasting.folder / events[4][name]).is_file() for name in ("confidence",))
    assert (lasting.folder / events[4]["mask"]["file"]).is_file()


def test_requests_wait_for_their_turn_in_one_process(lasting):
    for id in ("a", "b", "c"):
        lasting.segment(id)
    answers = [lasting.answer() for _ in range(3)]
    assert [answer["id"] for answer in answers] == ["a", "b", "c"]
    assert [answer["event"] for answer in answers] == ["result"] * 3, answers
    assert {answer["report"]["warnings"][0] for answer in answers} == {str(lasting.popen.pid)}


def test_cancel_stops_the_running_one_and_the_worker_lives(lasting):
    lasting.segment("a", "wait")
    assert lasting.event()["event"] == "progress"
    lasting.say("cancel", "a")
    error = lasting.answer()
    assert (error["id"], error["kind"]) == ("a", "Cancelled")
    lasting.segment("b")
    assert lasting.answer()["event"] == "result"


def test_cancel_of_a_waiting_one_leaves_the_running_one_alone(lasting):
    lasting.segment("a", "wait")
    assert lasting.event()["event"] == "progress"
    lasting.segment("b")
    lasting.say("cancel", "b")
    lasting.say("cancel", "never heard of")  # not an id: answered, which shows that b's cancel was read
    assert lasting.event()["kind"] == "ProtocolError"
    lasting.say("cancel", "a")
    assert [(e["id"], e["kind"]) for e in (lasting.answer(), lasting.answer())] == [
        ("a", "Cancelled"),
        ("b", "Cancelled"),
    ]


def test_a_late_cancel_does_nothing(lasting):
    lasting.segment("a")
    assert lasting.answer()["event"] == "result"
    lasting.say("cancel", "a")
    lasting.segment("a")
    assert lasting.answer()["event"] == "result"


def test_an_id_in_use_is_refused(lasting):
    lasting.segment("a", "wait")
    assert lasting.event()["event"] == "progress"
    lasting.segment("a")
    error = lasting.answer()
    assert (error["id"], error["kind"]) == ("a", "ProtocolError")
    lasting.say("cancel", "a")
    assert lasting.answer()["kind"] == "Cancelled"


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"[]", b"{}", b'{"request": "dance", "id": "7"}', b'{"request": "\xff\xfe"}', b"\x00\x01"],
)
@pytest.mark.parametrize("busy", [False, True])
def test_garbage_is_answered_at_once_and_the_worker_lives(lasting, line, busy):
    if busy:
        lasting.segment("a", "wait")
        assert lasting.event()["event"] == "progress"
    lasting.write(line)
    error = lasting.event()
    assert (error["event"], error["kind"]) == ("error", "ProtocolError")
    assert error["id"] == ("7" if b"7" in line else None)
    lasting.say("cancel", "a")
    if busy:
        assert lasting.answer()["kind"] == "Cancelled"
    lasting.segment("b")
    assert lasting.answer()["event"] == "result"


def test_empty_lines_and_windows_line_ends_are_no_garbage(lasting):
    lasting.write(b"\r\n\n  ")
    lasting.write(b'{"request": "cancel", "id": "1"}\r')
    lasting.segment("b")
    assert lasting.answer()["event"] == "result"


def test_printing_reaches_stderr_and_never_the_protocol(mortal):
    mortal.segment("a", "print")
    assert mortal.answer()["event"] == "result"
    assert mortal.end() == 0
    mortal.__exit__()
    for source in ("print", "the old sys.stdout", "C", "a child"):
        assert f"garbage from {source}" in mortal.log


def test_the_traceback_of_an_internal_error_is_logged(mortal):
    mortal.segment("a", "bug")
    assert mortal.answer()["kind"] == "InternalError"
    assert mortal.end() == 0
    mortal.__exit__()
    assert "Traceback" in mortal.log and "KeyError" in mortal.log


@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [
        ("user error", "InputError", "The option is unknown."),
        ("bug", "InternalError", "KeyError"),
        ("leave", "InternalError", "SystemExit"),
        ("no memory", "InternalError", "not enough memory"),
        ("nan", "InternalError", "JSON"),
    ],
)
def test_every_exception_is_an_error_event_and_the_worker_lives(lasting, do, kind, message):
    lasting.segment("a", do)
    error = lasting.answer()
    assert (error["id"], error["kind"]) == ("a", kind)
    assert message in error["message"] and error["message"].endswith(".") and error["advice"]
    assert ("Traceback" in error["details"]) == (kind == "InternalError")
    lasting.segment("b")
    assert lasting.answer()["event"] == "result"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"query": "absent"}, "NotOpen"),
        ({"support": "absent.npz"}, "InputError"),
        ({"background": {"file": "absent.npy", "start": [0, 0, 0]}}, "WorkerFailure"),
        ({"background": {"file": "support.npz", "start": [0, 0, 0]}}, "WorkerFailure"),
    ],
)
def test_files_that_cannot_be_used(lasting, changes, kind):
    lasting.segment("a", **changes)
    error = lasting.answer()
    assert (error["event"], error["kind"]) == ("error", kind)
    assert error["message"].endswith(".")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"array": "absent.npy"}, "WorkerFailure"),
        ({"ijk_to_ras": [[0] * 4] * 4}, "GeometryError"),
        ({"array": None, "ijk_to_ras": None, "path": "/absent/scan.nii.gz"}, "VolumeError"),
    ],
)
def test_volumes_that_cannot_be_opened(lasting, changes, kind):
    lasting.open("odd", **changes)
    error = lasting.answer()
    assert (error["event"], error["id"], error["kind"]) == ("error", "odd", kind)
    lasting.segment("a", query="odd")
    assert lasting.answer()["kind"] == "NotOpen"


def test_a_volume_is_open_until_it_is_closed_and_its_file_is_gone_at_once(lasting):
    lasting.open("v")
    opened = lasting.answer()
    query = Query.of(sample()[1])
    assert (opened["event"], opened["id"], opened["shape"]) == ("opened", "v", list(query.shape))
    assert opened["fingerprint"] == query.fingerprint and opened["oddities"] == []
    assert not (lasting.folder / "v.npy").exists()
    for id in ("a", "b"):
        lasting.segment(id, query="v")
        assert lasting.answer()["event"] == "result"
    lasting.say("close", "c", volume="v")
    lasting.say("close", "c", volume="never heard of")
    lasting.segment("a", query="v")
    assert "impossible" in lasting.answer()["message"]  # of the second close; the first needs no answer
    assert lasting.answer()["kind"] == "NotOpen"


def test_an_open_that_is_cancelled_leaves_nothing_open(lasting):
    lasting.segment("a", "wait")
    assert lasting.event()["event"] == "progress"
    lasting.open("late")
    lasting.say("cancel", "late")
    lasting.say("cancel", "a")
    assert {lasting.answer()["id"], lasting.answer()["id"]} == {"a", "late"}
    lasting.segment("b", query="late")
    assert lasting.answer()["kind"] == "NotOpen"


@pytest.mark.parametrize("do", [None, "wait", "hang"])
def test_the_end_of_stdin_ends_it_and_the_folder_with_it(mortal, do):
    if do:
        mortal.segment("a", do)
        assert mortal.event()["event"] == "progress"
    ends_with_its_folder(mortal)


def test_the_end_of_stdin_ends_a_busy_one():
    # Coverage would save its data statement by statement, and wait for the busy thread before each.
    with RawWorker(env={"COVERAGE_PROCESS_CONFIG": ""}) as worker:
        assert worker.hello()["event"] == "ready"
        worker.segment("a", "spin")
        assert worker.event()["event"] == "progress"
        ends_with_its_folder(worker)


def ends_with_its_folder(worker):
    start = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - start < END_GRACE + SCHEDULING
    assert not worker.folder.exists()


def test_shutdown_ends_it_with_stdin_still_open(mortal):
    mortal.segment("a", "hang")
    assert mortal.event()["event"] == "progress"
    mortal.say("shutdown", "x")
    assert mortal.popen.wait(SCHEDULING) == 0
    assert not mortal.folder.exists()


def test_answers_that_nobody_reads_do_not_disturb_the_end():
    reading, writing = os.pipe()
    environment = {**os.environ, "PYTHONPATH": str(LOGIC)}
    with subprocess.Popen(FAKE, stdin=subprocess.PIPE, stdout=writing, env=environment) as popen:
        os.close(writing)
        os.close(reading)
        popen.communicate(b"garbage\n", timeout=PATIENCE)
        assert popen.returncode == 0


def test_a_foreign_folder_is_never_removed(tmp_path):
    with RawWorker() as worker:
        worker.say("hello", "1", version=VERSION, folder=str(tmp_path))
        assert worker.event()["event"] == "ready"
        worker.end()
    assert tmp_path.is_dir()


def test_the_end_of_stdin_while_torch_is_imported(tmp_path):
    (tmp_path / "torch.py").write_text("import sys, threading; print('importing'); threading.Event().wait()")
    with RawWorker(REAL_WORKER, env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(LOGIC)])}) as worker:
        worker.say("hello", "1", version=1, folder=str(worker.folder))
        worker.write(b"garbage")
        assert worker.event()["kind"] == "ProtocolError"
        assert worker.end() == 0
        assert not worker.folder.exists()


BROKEN_TORCH = {
    "missing": (
        "raise ModuleNotFoundError('No module named torch', name='torch')",
        '"torch" is not installed',
    ),
    "dll": ("raise OSError('[WinError 126] c10.dll')", "c10.dll"),
    "abi": (
        "__version__ = '2.2.2'\ndef from_numpy(a): raise RuntimeError('Numpy is not available')",
        "2.2.2",
    ),
}


@pytest.mark.parametrize("fault", BROKEN_TORCH)
def test_a_broken_torch_is_a_sentence_in_the_answer_to_hello(fault, tmp_path):
    code, words = BROKEN_TORCH[fault]
    (tmp_path / "torch.py").write_text(code)
    with RawWorker(REAL_WORKER, env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(LOGIC)])}) as worker:
        error = worker.hello()
        assert (error["event"], error["id"], error["kind"]) == ("error", "h", "WorkerError")
        assert words in error["message"] and error["advice"]
        assert worker.end() == 0


def test_eta_follows_the_pace_of_the_stage():
    times = iter([0.0, 2.0, 4.0, 5.0, 8.0, 9.0])
    eta = Eta(clock=lambda: next(times))
    assert eta(1, 5, "slices") is None
    assert eta(2, 5, "slices") == 6.0
    assert eta(3, 5, "slices") == 4.0
    assert eta(0, 10, "clean-up") is None
    assert eta(1, 10, "clean-up") == 27.0
    assert eta(10, 10, "clean-up") == 0.0
