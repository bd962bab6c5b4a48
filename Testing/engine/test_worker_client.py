"""The client against real worker processes: results, cancelling, crashes, and nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from qnetseg import errors
from qnetseg.segment import Job
from qnetseg.volume import normalise
from qnetseg.worker import exchange, protocol
from qnetseg.worker.client import WorkerClient
from qnetseg.worker.failures import InternalError, ProtocolError, WorkerFailure
from qnetseg.worker.fields import BoxFile
from qnetseg.worker.process import _reason, default_command, running
from qnetseg.worker.protocol import FOLDER_PREFIX, VERSION
from support.fake_engine import BRIGHT
from support.worker_bed import FAKE, LOGIC, PATIENCE, REPORT, sample, speaking

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder of our own, with a blank and an umlaut; no exchange folder stays in it."""
    folder = tmp_path / "a folder with ü"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.glob(f"{FOLDER_PREFIX}*")) == []


@pytest.fixture
def client(temporary):
    with WorkerClient(FAKE, grace=5.0) as client:
        yield client


def run(client, do="answer", progress=None, cancel=None, options=None, **arguments):
    """Open the sample, segment it, and close it."""
    support, volume = sample()
    query = client.open(volume, job=Job(cancel=cancel))
    job = Job(None if progress is None else lambda *event: progress(event), cancel)
    try:
        return client.segment(
            support, query, options={"do": do, **(options or {})}, device="cpu", job=job, **arguments
        )
    finally:
        client.release(query)


def test_result_is_rebuilt_as_the_engine_made_it(client):
    support, volume = sample()
    image = normalise(volume.array)
    found = run(client, model="some-model", confidence_of="volume")
    assert np.array_equal(found.mask.placed(volume.shape), image > BRIGHT)
    assert found.confidence.dtype == np.float32
    np.testing.assert_allclose(found.confidence, np.clip(image, 0, 1), atol=1e-5)
    assert (found.report.structure, found.report.plane, found.report.device) == ("box", support.plane, "cpu")
    assert found.report.model == "some-model" and found.report.slices[0].score == 0.5
    inside = run(client, confidence_of="mask")
    assert np.array_equal(inside.confidence, found.mask.values(found.confidence))
    assert run(client).confidence is None, "nobody has asked for it"


def test_progress_comes_in_order(client):
    seen = []
    run(client, progress=seen.append)
    assert seen == [(n, 4, "slices") for n in (1, 2, 3, 4)]


def test_two_requests_run_in_one_process_and_leave_no_file(client):
    assert run(client).report.warnings == run(client).report.warnings == (str(client.pid),)
    assert list(client.folder.iterdir()) == []


@posix_only
def test_the_exchange_folder_is_private(client):
    assert stat.S_IMODE(client.folder.stat().st_mode) == 0o700


def test_close_removes_everything_and_can_be_repeated(temporary):
    client = WorkerClient(FAKE)
    assert client.pid is None and client.folder is None
    client.close()
    run(client)  # starts on demand
    folder = client.folder
    client.close()
    client.close()
    assert client.pid is None and not folder.exists()


def cancelling():
    """A progress callback, and a cancel that says yes as soon as the work is under way."""
    seen = []
    return {"progress": seen.append, "cancel": lambda: bool(seen)}


def test_cancel_keeps_the_worker_warm(client):
    pid = client.pid
    with pytest.raises(errors.Cancelled):
        run(client, "wait", **cancelling())
    assert client.pid == pid and list(client.folder.iterdir()) == []
    assert run(client).report.warnings == (str(pid),)


@posix_only
@pytest.mark.parametrize("do", ["hang", "spin", "freeze", "die on cancel"])
def test_cancel_of_a_deaf_worker_ends_it_by_force(temporary, do):
    with WorkerClient(FAKE, grace=0.2) as client:
        pid = client.pid
        with pytest.raises(errors.Cancelled):
            run(client, do, **cancelling())
        assert client.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert run(client).report.warnings == (str(client.pid),)


def test_a_result_that_outruns_the_cancel_is_dropped(client):
    seen = []
    with pytest.raises(errors.Cancelled):
        run(client, progress=seen.append, cancel=lambda: len(seen) == 4)
    assert run(client)


def test_a_failing_progress_callback_stops_the_work(client):
    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(client, "wait", progress=fail)
    assert run(client).report.warnings == (str(client.pid),)


def test_timeout_is_a_worker_error(client):
    with pytest.raises(errors.WorkerError, match="longer"):
        run(client, "wait", timeout=0.2)
    assert run(client)


@posix_only
@pytest.mark.parametrize(
    ("do", "reason", "details"),
    [("exit", "exit code 3", "last words"), ("kill", "SIGKILL", ""), ("segfault", "SIGSEGV", "")],
)
def test_a_crash_is_a_sentence_and_the_next_call_works(client, do, reason, details):
    pid = client.pid
    with pytest.raises(errors.WorkerError, match=reason) as caught:
        run(client, do)
    assert caught.value.advice and details in caught.value.details
    assert run(client).report.warnings == (str(client.pid),) and client.pid != pid


@posix_only
def test_killed_from_outside_while_busy(client):
    def kill(_):
        os.kill(client.pid, signal.SIGKILL)

    with pytest.raises(errors.WorkerError, match="SIGKILL") as caught:
        run(client, "hang", progress=kill)
    assert "memory" in caught.value.advice
    assert run(client)


@posix_only
def test_killed_while_idle_is_not_even_noticed(client):
    os.kill(client.pid, signal.SIGKILL)
    os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOWAIT)
    assert run(client).report.warnings == (str(client.pid),)


@pytest.mark.parametrize(
    ("do", "kind"), [("user error", errors.InputError), ("bug", InternalError), ("no memory", InternalError)]
)
def test_errors_of_the_engine_arrive_as_they_were_raised(client, do, kind):
    pid = client.pid
    with pytest.raises(kind) as caught:
        run(client, do)
    assert ("Traceback" in getattr(caught.value, "details", "")) == (kind is InternalError)
    assert run(client).report.warnings == (str(pid),)


def test_printing_in_the_engine_harms_nothing(client):
    assert run(client, "print").report.structure == "box"


def test_an_exchange_folder_that_is_cleaned_up_while_busy(client, temporary):
    gate = temporary / "gate"

    def clean_up(event):
        if event[0] == 1:
            shutil.rmtree(client.folder)
            gate.touch()

    with pytest.raises(errors.OutputError) as caught:
        run(client, "gate", options={"gate": str(gate)}, progress=clean_up)
    assert caught.value.message and caught.value.advice
    assert run(client)


def test_an_exchange_folder_that_is_cleaned_up_while_idle(client):
    shutil.rmtree(client.folder)
    assert run(client)


IDENTITY = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))
OPENED = protocol.encode(protocol.Opened("2", (6, 24, 20), IDENTITY, "", "", ())).decode().strip()
RESULT = protocol.encode(protocol.Result("3", BoxFile("m.npy", (0, 0, 0)), None, REPORT)).decode().strip()
READY = '{"event":"ready","id":"1","version":%d,"pid":1,"torch":"x","device":"cpu","shared":true}'


@pytest.mark.parametrize(
    "line",
    [
        READY % 99,
        "garbage",
        '{"event":"result","id":"1","mask":{"file":"m","start":[0,0,0]},"confidence":null,"report":{}}',
    ],
    ids=["version", "garbage", "wrong event"],
)
def test_a_worker_that_does_not_speak_our_protocol(temporary, line):
    client = WorkerClient(speaking(line), grace=0.2)
    with pytest.raises(ProtocolError) as caught:
        client.start()
    assert caught.value.advice and client.pid is None


@pytest.mark.parametrize(
    "answer",
    [
        "garbage",
        READY.replace('"1"', '"3"', 1) % VERSION,
        '{"event":"packed","id":"3","support":"s.npz"}',
        RESULT,
    ],
    ids=["garbage", "ready", "another answer", "files missing"],
)
def test_an_answer_to_segment_that_is_none(temporary, answer):
    command = speaking(READY % VERSION, OPENED, answer)
    with WorkerClient(command, grace=0.2) as client, pytest.raises(WorkerFailure):
        run(client)


def test_a_worker_that_refuses_hello(temporary):
    refusal = '{"event":"error","id":"1","kind":"WorkerError","message":"No torch.","advice":"","details":""}'
    client = WorkerClient(speaking(refusal), grace=0.2)
    with pytest.raises(errors.WorkerError, match="No torch"):
        client.start()
    assert client.pid is None


def test_a_worker_that_says_nothing(temporary):
    silent = WorkerClient(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], grace=0.2, start_timeout=0.3
    )
    with pytest.raises(errors.WorkerError, match="longer"):
        silent.start()
    with pytest.raises(errors.Cancelled):
        run(silent, cancel=lambda: True)


def test_a_worker_that_cannot_start(temporary):
    with pytest.raises(errors.WorkerError, match="could not be started"):
        WorkerClient([str(temporary / "absent")]).start()
    with pytest.raises(errors.WorkerError, match="exit code 1") as caught:
        WorkerClient([sys.executable, "-c", "import absent_module"]).start()
    assert "absent_module" in caught.value.details


def test_the_log_is_kept_in_bounds(temporary):
    flood = "import sys; sys.stderr.write('x' * 500_000 + 'the end'); sys.exit(1)"
    with pytest.raises(errors.WorkerError) as caught:
        WorkerClient([sys.executable, "-c", flood]).start()
    assert caught.value.details.endswith("the end") and len(caught.value.details) < 20_000


def test_a_worker_that_closes_stdout_but_stays_is_killed(temporary):
    lingering = "import os, threading; os.close(1); threading.Event().wait()"
    with pytest.raises(errors.WorkerError, match="ended unexpectedly"):
        WorkerClient([sys.executable, "-c", lingering]).start()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a grandchild the way Linux can")
def test_a_client_that_is_killed_leaves_neither_process_nor_folder(temporary):
    code = f"""
        import os, signal
        from qnetseg.worker.client import WorkerClient
        client = WorkerClient({FAKE!r})
        client.start()
        print(client.pid, client.folder, flush=True)
        input()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(LOGIC), "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as popen:
        pid, folder = popen.stdout.readline().strip().split(" ", 1)
        assert Path(folder).is_dir()
        worker = os.pidfd_open(int(pid))
        popen.communicate("\n")
    assert select.select([worker], [], [], PATIENCE)[0]
    os.close(worker)
    assert not Path(folder).exists()


@posix_only
def test_control_c_stops_the_work_and_not_the_worker(client):
    """The terminal sends SIGINT to both; the worker leaves it to the client."""

    def interrupt(_):
        os.kill(client.pid, signal.SIGINT)
        raise KeyboardInterrupt

    pid = client.pid
    with pytest.raises(KeyboardInterrupt):
        run(client, "wait", progress=interrupt)
    assert run(client).report.warnings == (str(pid),)


def test_a_client_loads_no_torch_even_for_a_result(temporary):
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from support.worker_bed import FAKE, sample
        from qnetseg.worker.client import WorkerClient
        with WorkerClient(FAKE) as client:
            support, volume = sample()
            client.segment(support, client.open(volume), device="cpu")
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(LOGIC), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_no_room_for_arrays(tmp_path, monkeypatch):
    with pytest.raises(errors.OutputError):
        exchange.save_array(tmp_path / "absent" / "a.npy", np.zeros((1, 1, 1)))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    with pytest.raises(errors.OutputError):
        exchange.make_folder()


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 2), np.int32), np.zeros((2, 2, 3), np.uint8)]
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(errors.WorkerError, match="does not fit"):
        exchange.load_array(tmp_path / "a.npy", np.uint8, (2, 2, 2))


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(errors.WorkerError, match="cannot be read"):
        exchange.load_array(tmp_path / "a.npy", np.uint8)


def test_reasons():
    assert _reason(3) == "exit code 3" and _reason(-11) == "signal SIGSEGV" and _reason(-250) == "signal 250"
    assert default_command() == [sys.executable, *running("qnetseg.worker")]
