"""Runs a script of this folder in two processes of one group, as a user's `torchrun` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.worker_bed import LAB, LOGIC


def torchrun(script: str, *arguments: Path, restarts: int = 0) -> None:
    """Run a script in two processes, to the end; they may be started anew so many times."""
    path = os.pathsep.join([str(LOGIC), str(LAB), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [
            *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
            *["--max-restarts", str(restarts), "--monitor-interval", "0.1", script],
            *map(str, arguments),
        ],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
