"""5 000 damaged and hostile files: each is read or refused in a sentence, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.worker_bed import LAB, LOGIC

TESTING = Path(__file__).parents[1]
MOST_MB = 500
SECONDS = 300
EACH = 560  # files of each of the nine kinds


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell how much memory was held")
@pytest.mark.parametrize(
    ("kinds", "counted"),
    [
        (("support", "manifest", "message", "description"), "peak"),  # in the process of an application
        (
            ("weights", "checkpoint", "recipe", "options", "account"),
            "grown",
        ),  # beside torch, which takes more by itself
    ],
)
def test_damaged_files_are_read_or_refused_in_a_sentence(tmp_path, kinds, counted):
    done = subprocess.run(
        [sys.executable, "-m", "support.damaged_files", str(tmp_path), str(EACH), *kinds],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(LOGIC), str(LAB), str(TESTING)])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not found["wrong"], "\n".join(found["wrong"][:5])
    assert sum(found["outcomes"].values()) == EACH * len(kinds)
    assert all(found["outcomes"][f"{kind}: refused"] > EACH / 4 for kind in kinds), found["outcomes"]
    assert found[counted] < MOST_MB
