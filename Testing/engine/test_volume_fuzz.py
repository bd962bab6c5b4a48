"""300 odd files: each is read as what it is, or refused in a sentence; none ends or halts the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.worker_bed import LOGIC

FILES, PARTS, SECONDS = 300, 2, 60
PROGRAM = Path(__file__).parents[1] / "support" / "odd_files.py"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("part", range(PARTS))
def test_odd_files_are_read_or_refused_in_a_sentence(tmp_path, part):
    first = part * FILES // PARTS
    command = [sys.executable, str(PROGRAM), str(tmp_path), str(first), str(first + FILES // PARTS)]
    paths = os.pathsep.join([str(LOGIC), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": paths},
    )
    at = (tmp_path / "now").read_text()
    assert (done.returncode, at) == (0, "end"), f"ended at seed {at}: {done.stderr[-2000:]}"
    assert done.stdout == ""
