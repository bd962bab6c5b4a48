"""What a process leaves behind, and what it lets in."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from qnetseg.cli.common import escaped, print_text, say
from qnetseg.errors import OutputError
from qnetseg.processes import mark
from qnetseg.worker import exchange
from qnetseg.worker.process import python_paths, running
from qnetseg.worker.protocol import FOLDER_PREFIX

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and processes of POSIX")


@posix
def test_folders_of_processes_that_are_gone_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    gone = mark(ended.pid)
    ended.wait()
    names = [f"{FOLDER_PREFIX}{gone}-a", f"{FOLDER_PREFIX}old", f"{FOLDER_PREFIX}new", "another"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1-query.npy").write_bytes(b"a patient")
    days_ago = time.time() - 2 * exchange.DAY
    for name in (f"{FOLDER_PREFIX}old", "another"):
        os.utime(tmp_path / name, (days_ago, days_ago))
    first = exchange.make_folder()
    assert first.stat().st_mode & 0o777 == 0o700
    second = exchange.make_folder()
    assert set(tmp_path.iterdir()) == {tmp_path / f"{FOLDER_PREFIX}new", tmp_path / "another", first, second}


def test_a_temporary_folder_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    with pytest.raises(OutputError, match=r"No temporary folder could be made.*absent.*TMPDIR"):
        exchange.make_folder()


@pytest.mark.parametrize("safe_path", [True, False])
def test_no_code_of_the_working_folder_is_run(tmp_path, safe_path):
    for name in ("numpy", "runpy", "qnetseg", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of the working folder')")
    env = {**os.environ, **python_paths("")}
    if not safe_path:  # as for Python 3.10, which does not know it
        env.pop("PYTHONSAFEPATH")
    command = [sys.executable, *running("qnetseg.worker")]
    ended = subprocess.run(command, cwd=tmp_path, env=env, input=b"", capture_output=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_names_do_not_steer_the_terminal(capsys):
    say("a\x1b]0;title\x07b\r\x9b2J")
    print_text("Größe\n\x1b[31m")
    told = capsys.readouterr()
    assert told.err == "qnetseg: a\\x1b]0;title\\x07b\\r\\x9b2J\n" and told.out == "Größe\n\\x1b[31m\n"
    assert escaped("肝臓\tLiver") == "肝臓\tLiver"
