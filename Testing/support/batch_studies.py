"""Folders of small studies, some damaged, and `qnetseg batch` on them in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from support.cli_bed import Bed, drawing_array, scan_array, write_image
from support.worker_bed import LOGIC, PATIENCE

TESTING = Path(__file__).resolve().parents[1]
CODE = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script runs in the background
sys.path.insert(0, {str(TESTING)!r})
if __name__ == "__main__":
    from qnetseg.cli import batch, main
    from support import batch_engine
    batch.real_engine = getattr(batch_engine, os.environ.get("ENGINE", "bright_engine"))
    sys.exit(main(sys.argv[1:]))
"""
DAMAGE = {"constant": "07", "cut off": "13", "no image": "29"}
"""What is wrong with which study."""


class Studies:
    """A folder `studies` and what `qnetseg batch` needs: two files that make an example, and models."""

    def __init__(self, folder: Path, count: int = 40) -> None:
        self.bed, self.runs = Bed(folder), folder / "runs.txt"
        self.folder, self.output = folder / "studies", folder / "batch results"
        self.folder.mkdir()
        for number in range(count):
            write_image(self.folder / f"{number:02}.nii.gz", scan_array(number))
        self.image = write_image(folder / "patient.nii.gz", scan_array(1000))
        self.mask = write_image(folder / "mask.nii.gz", drawing_array())

    def damage(self) -> None:
        """Damage three studies, each in another way."""
        write_image(self.folder / f"{DAMAGE['constant']}.nii.gz", np.ones((4, 5, 6), np.float32))
        cut = self.folder / f"{DAMAGE['cut off']}.nii.gz"
        cut.write_bytes(cut.read_bytes()[:2000])
        (self.folder / f"{DAMAGE['no image']}.nii.gz").write_bytes(b"a text")

    @property
    def good(self) -> set[str]:
        """Names of the studies that are whole."""
        return {path.name[:2] for path in self.folder.iterdir()} - set(DAMAGE.values())

    def arguments(self, *more: object) -> list[str]:
        """Of the command line."""
        named = ["batch", self.folder, "--support", self.image, self.mask, "--output", self.output, *more]
        return list(map(str, named))

    def start(self, *more: object, **environment: str) -> subprocess.Popen[str]:
        """The command in a process group of its own; environment: see `batch_engine`."""
        script = self.bed.folder / "driver.py"
        script.write_text(CODE)
        env = {**os.environ, "PYTHONPATH": str(LOGIC), "RUNS": str(self.runs), **environment}
        env["QNETSEG_RESOURCES"] = str(self.bed.resources)
        command = [sys.executable, str(script), *self.arguments(*more)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def finish(self, *more: object, **environment: str) -> tuple[int, str, str]:
        """The same to its end: exit code, stdout and stderr."""
        process = self.start(*more, **environment)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def reports(self) -> dict[str, int]:
        """Name of each study that has a report beside a result, and when that was written (ns)."""
        paths = self.output.glob("*.seg.json")
        return {
            path.name[: -len(".seg.json")]: path.stat().st_mtime_ns
            for path in paths
            if path.with_suffix(".nrrd").exists() and '"next"' not in path.read_text()
        }

    def kill_after(self, count: int, process: subprocess.Popen[str]) -> None:
        """Kill the command's whole process group when so many reports are there."""
        wait_until(lambda: len(self.reports()) >= count)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)


def wait_until(met: Callable[[], bool]) -> None:
    """Fails where that takes longer than a slow machine needs."""
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
