"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from qnetseg.atomic import replacing, replacing_together, sweep
from qnetseg.errors import OutputError, why
from qnetseg.processes import gone, mark

KILLED = """
import os, signal, sys
from pathlib import Path
from qnetseg.atomic import replacing
with replacing(sys.argv[1]) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="permissions and signals of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write(path, text="new", **options):
    with replacing(path, **options) as part:
        part.write_text(text)


@posix
def test_permissions_links_and_protection_are_kept(tmp_path):
    private, link, fresh = tmp_path / "private", tmp_path / "link", tmp_path / "fresh"
    private.write_text("old")
    private.chmod(0o640)
    link.symlink_to(private)
    write(link)
    assert link.is_symlink() and private.read_text() == "new" and mode(private) == 0o640
    old = os.umask(0o027)
    try:
        write(fresh)
    finally:
        os.umask(old)
    assert mode(fresh) == 0o640
    write(private, mode=0o600)
    assert mode(private) == 0o600
    private.chmod(0o400)
    with pytest.raises(OutputError, match="write-protected"):
        write(private, "newer")
    assert private.read_text() == "new" and mode(private) == 0o400


@posix
def test_an_unfinished_file_is_private(tmp_path):
    with replacing(tmp_path / "a") as part:
        assert mode(part) == 0o600


@posix
def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    target, foreign = tmp_path / "a.txt", tmp_path / ".0123.part"
    target.write_text("old")
    foreign.write_text("not ours")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target)])
    assert ended.returncode == -signal.SIGKILL
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 3
    with replacing(tmp_path / "b.txt") as part:
        assert sweep(tmp_path) == 0 and part.exists()  # this process lives
        part.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt", foreign.name}


def test_no_name_is_empty_while_several_files_are_replaced(tmp_path, monkeypatch):
    targets = [tmp_path / name for name in ("a.mhd", "a.raw", "c.json")]
    for target in targets:
        target.write_text("old")
    move, seen = os.replace, []

    def watched(source, target):
        seen.append([path.read_text() for path in targets])
        move(source, target)
        seen.append([path.read_text() for path in targets])

    monkeypatch.setattr(os, "replace", watched)
    with replacing_together(targets, [".mhd", ".raw", ".json"]) as staged:
        for path in staged:
            path.write_text("new")
    assert seen[0] == ["old"] * 3 and seen[-1] == ["new"] * 3 and len(seen) == 6
    assert sorted(tmp_path.iterdir()) == targets


def test_the_file_and_then_its_folder_reach_the_disk(tmp_path, monkeypatch):
    calls, sync, move = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda n: (calls.append(stat.S_ISDIR(os.fstat(n).st_mode)), sync(n))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("move"), move(a, b))[1])
    write(tmp_path / "a")
    assert calls == [False, "move", True] or os.name != "posix"


def test_a_process_is_told_from_a_later_one_of_the_same_number():
    machine, pid, start = mark().split("-")
    assert not gone(mark())
    if sys.platform == "linux":
        assert gone(f"{machine}-{pid}-{int(start) - 1}")
    assert not gone(f"00000000-{pid}-1")  # another machine


def test_an_error_without_a_reason_has_words():
    assert why(OSError("4 requested and 0 written")) == "4 requested and 0 written"
    assert why(OSError()) == "OSError"
