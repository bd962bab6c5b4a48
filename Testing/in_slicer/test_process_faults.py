"""Whatever goes wrong with the worker ends in one typed error, and the next job works."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.worker.failures import InternalError, ProtocolError, WorkerFailure
from qnetseg.worker.process import running
from qnetseg.worker.protocol import FOLDER_PREFIX, VERSION
from support.qt_worker_bed import (
    SOURCE,
    SUPPORT,
    Heard,
    Worker,
    is_gone,
    python,
    run_events,
    submit,
    temporary_folder,  # noqa: F401
    wait_until,
)
from support.worker_bed import FAKE, LOGIC, speaking

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

READY = '{"event":"ready","id":"%s","version":%d,"pid":1,"torch":"x","device":"cpu","shared":true}'
REFUSAL = '{"event":"error","id":"2","kind":"WorkerError","message":"No torch.","advice":"","details":""}'


@pytest.fixture
def worker(temporary):
    worker = Worker(FAKE)
    yield worker
    worker.shutdown()


@pytest.fixture
def heard(worker):
    return Heard(worker)


STARTS = {
    "missing": (["/absent/python"], errors.WorkerError, "could not be started: "),
    "a folder": ([str(Path(__file__).parent)], errors.WorkerError, "could not be started: "),
    "no module": ([sys.executable, "-c", "import absent_module"], WorkerFailure, "exit code 1"),
    "leaves at once": ([sys.executable, "-c", ""], WorkerFailure, "exit code 0"),
    "no torch": (speaking(REFUSAL), errors.WorkerError, "^No torch.$"),
    "other version": (speaking(READY % ("2", 99)), ProtocolError, "version 99"),
    "older protocol": (
        speaking((READY % ("2", 1)).replace(',"device":"cpu"', "")),
        ProtocolError,
        "version 1 ",
    ),
    "another's answer": (speaking(READY % ("77", VERSION)), ProtocolError, "hello"),
    "garbage": (speaking("garbage"), ProtocolError, 'printed "garbage"'),
    "silent": ([sys.executable, "-c", "import sys; sys.stdin.read()"], WorkerFailure, "longer than"),
    "deaf": (
        [sys.executable, "-c", "import os, threading; os.close(1); threading.Event().wait()"],
        WorkerFailure,
        "longer than",
    ),
}


@pytest.mark.parametrize("fault", STARTS)
def test_a_process_that_does_not_become_ready(temporary, fault, monkeypatch):
    command, kind, words = STARTS[fault]
    timeout = 0.5 if fault in ("silent", "deaf") else 60.0
    worker = Worker(command, start_timeout_s=timeout, grace_s=0.2)
    heard = Heard(worker)
    token = submit(worker)
    assert heard.all == []  # nothing is emitted inside of the call
    error = heard.end(token)
    with pytest.raises(kind, match=words):
        raise error
    assert not worker.busy and worker.device is None
    assert [name for name, _ in heard.all if name != "log"] == ["failed"]
    monkeypatch.setattr(worker, "_command", FAKE)  # repaired
    monkeypatch.setattr(worker, "_start_timeout_s", 60.0)
    assert heard.end(submit(worker)).mask.count
    worker.shutdown()


def test_a_warm_up_that_fails_says_so_without_a_token(temporary):
    worker = Worker(["/absent/python"])
    heard = Heard(worker)
    worker.start()
    wait_until(lambda: heard["failed"])
    run_events()
    ((token, error),) = heard["failed"]
    assert token == "" and isinstance(error, errors.WorkerError) and error.advice
    worker.start()
    assert worker.wait("") and len(heard["failed"]) == 2


def test_the_log_of_a_failed_start_goes_into_the_details(temporary):
    flood = "import sys; sys.stderr.write('x' * 500_000 + '\\nthe end'); sys.exit(1)"
    worker = Worker([sys.executable, "-c", flood])
    heard = Heard(worker)
    error = heard.end(submit(worker))
    assert error.details.endswith("the end") and len(error.details) < 20_000
    assert heard["log"][-1] == ("the end",)


@posix_only
@pytest.mark.parametrize(
    ("do", "reason", "details"),
    [("exit", "exit code 3", "last words"), ("kill", "SIGKILL", ""), ("segfault", "SIGSEGV", "")],
)
def test_a_crash_is_a_sentence_with_the_log(worker, heard, do, reason, details):
    token = submit(worker, do)
    wait_until(lambda: worker.pid)
    pid = worker.pid
    error = heard.end(token)
    assert isinstance(error, WorkerFailure) and reason in error.message and error.advice
    assert details in error.details
    assert int(heard.end(submit(worker)).report.warnings[0]) != pid
    assert len(heard["stopped"]) == 1


@posix_only
def test_killed_from_outside_while_busy_and_while_idle(worker, heard):
    token = submit(worker, "hang")
    wait_until(lambda: heard["progress"])
    os.kill(worker.pid, signal.SIGKILL)
    error = heard.end(token)
    assert "SIGKILL" in error.message and "memory" in error.advice
    heard.end(submit(worker))
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: len(heard["stopped"]) == 2)
    assert worker.pid is None and worker.device is None and len(heard["failed"]) == 1
    assert heard.end(submit(worker)).mask.count


@pytest.mark.parametrize(
    ("do", "kind"),
    [
        ("user error", errors.InputError),
        ("bug", InternalError),
        ("no memory", InternalError),
        ("nan", InternalError),
        ("wrong type", WorkerFailure),
    ],
)
def test_errors_of_the_engine_and_results_that_do_not_fit_leave_the_worker_warm(worker, heard, do, kind):
    error = heard.end(submit(worker, do))
    assert type(error) is kind and error.advice
    pid = worker.pid
    assert heard.end(submit(worker)).report.warnings == (str(pid),)
    assert list(worker.folder.iterdir()) == []


OPENED = (
    '{"event":"opened","id":"3","shape":[6,24,20],"ijk_to_ras":[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]],'
    '"name":"","fingerprint":"","oddities":[]}'
)
ANSWERS = {
    "garbage": "garbage",
    "ready": READY % ("4", VERSION),
    "files missing": '{"event":"result","id":"4","mask":{"file":"m.npy","start":[0,0,0]},"confidence":null,'
    '"report":{}}',
    "its own garbage": '{"event":"error","id":null,"kind":"Odd","message":"Odd.","advice":"","details":""}',
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_is_none(temporary, answer):
    worker = Worker(speaking(READY % ("2", VERSION), OPENED, ANSWERS[answer]), grace_s=0.2)
    heard = Heard(worker)
    assert isinstance(heard.end(submit(worker)), WorkerFailure)
    assert (worker.pid is None) == (answer == "garbage")
    worker.shutdown()


def test_late_news_of_an_old_job_are_dropped(temporary):
    late = [
        '{"event":"progress","id":"4","done":9,"total":9,"stage":"slices","eta_s":null}',
        '{"event":"error","id":"4","kind":"InputError","message":"Late.","advice":"","details":""}',
        '{"event":"error","id":"6","kind":"InputError","message":"Mine.","advice":"","details":""}',
    ]
    cancelled = late[1].replace("InputError", "Cancelled")
    # hello, open 3, segment 4, cancel 4, segment 6: the answer to the last one begins with late news
    worker = Worker(speaking(READY % ("2", VERSION), OPENED, late[0], cancelled, "\n".join(late)))
    heard = Heard(worker)
    first = submit(worker)
    wait_until(lambda: heard["progress"])
    worker.cancel(first)
    assert isinstance(heard.end(first), errors.Cancelled)
    second = submit(worker)
    assert str(heard.end(second)) == "Mine."
    assert [token for token, _ in heard["progress"]] == [first] and len(heard.ends(first)) == 1
    worker.shutdown()


def test_an_exchange_folder_that_is_cleaned_up(worker, heard, temporary):
    gate = temporary / "gate"

    def clean_up(_token, news):
        if news.done == 1:
            shutil.rmtree(worker.folder)
            gate.touch()

    worker.progress.connect(clean_up)
    error = heard.end(submit(worker, "gate", options={"gate": str(gate)}))
    assert isinstance(error, errors.OutputError) and error.advice
    worker.progress.disconnect(clean_up)
    assert heard.end(submit(worker)).mask.count
    shutil.rmtree(worker.folder)  # while idle: not even noticed
    assert heard.end(submit(worker)).mask.count and len(heard["failed"]) == 1


def test_a_full_disk_while_the_request_is_written(worker, heard, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    token = submit(worker)
    error = heard.end(token)
    assert isinstance(error, errors.OutputError) and "space" in error.message and error.advice
    assert list(worker.folder.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(worker.folder.parent))
    pid = worker.pid
    assert heard.end(submit(worker)).report.warnings == (str(pid),)


def test_no_exchange_folder_can_be_made(temporary, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(temporary / "absent"))
    worker = Worker(FAKE)
    heard = Heard(worker)
    assert isinstance(heard.end(submit(worker)), errors.OutputError)
    monkeypatch.setenv("TMPDIR", str(temporary))
    assert heard.end(submit(worker)).mask.count
    worker.shutdown()


def test_a_bug_of_ours_ends_the_job_as_well(worker, heard, monkeypatch):
    def fail(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr("QNetSegmentLib.process.worker.requests.read_found", fail)
    error = heard.end(submit(worker))
    assert isinstance(error, InternalError) and "not enough memory" in error.message
    assert "Traceback" in error.details
    monkeypatch.undo()


@pytest.mark.parametrize("options", [{"alpha": float("nan")}, {"alpha": {1}}])
def test_options_that_cannot_be_sent(worker, heard, options):
    error = heard.end(worker.segment(SUPPORT, SOURCE, options=options))
    assert isinstance(error, errors.InputError) and "options" in error.message


def test_the_variables_of_the_worker_reach_it(temporary, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    resources = temporary / "resources"
    monkeypatch.setenv("QNETSEG_RESOURCES", str(resources))
    added = python.worker_environment()
    assert added["PYTHONPATH"] == os.pathsep.join([str(LOGIC), "elsewhere"])
    assert added["QNETSEG_RESOURCES"] == str(resources.resolve())
    code = "import os, sys; sys.stderr.write('|'.join(map(os.environ.get, ('MARK', 'PATH')))); sys.exit(1)"
    worker = Worker([sys.executable, "-c", code], {"MARK": "a blank and ü"})
    heard = Heard(worker)
    assert heard.end(submit(worker)).details == f"a blank and ü|{os.environ['PATH']}"


@pytest.mark.parametrize("there", [["python-real", "PythonSlicer"], ["PythonSlicer"], []])
def test_slicers_own_python_runs_the_worker(there, tmp_path, monkeypatch):
    for name in there:
        program = tmp_path / (f"{name}.bat" if os.name == "nt" else name)
        program.write_text("")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    program, *arguments = python.worker_command()
    assert Path(program).stem == (there[0] if there else Path(sys.executable).stem)
    assert arguments == running("qnetseg.worker")


@posix_only
def test_a_worker_whose_application_is_killed_ends_too(temporary):
    """It sees the end of its stdin."""
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[1]), str(LOGIC)]!r}
from support.qt_worker_bed import Heard, Worker, submit, wait_until
worker = Worker({FAKE!r})
heard = Heard(worker)
submit(worker, "wait")
wait_until(lambda: heard["progress"])
print(worker.pid, flush=True)
wait_until(lambda: False)
"""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as popen:
        pid = int(popen.stdout.readline())
        popen.kill()
    wait_until(lambda: is_gone(pid) and not list(temporary.glob(f"{FOLDER_PREFIX}*")))
