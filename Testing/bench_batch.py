"""How much faster `qnetseg batch` is with more workers; run by hand on a quiet machine:

    .venv/bin/python Testing/bench_batch.py [--studies N] [--workers N] [--jobs]

Segments phantoms after a drawing in another one, with the default models: first with one worker of Dask on
this machine, then with several (default: 2), each on one core. Prints the seconds of each, from the start of
the command to its end, and how many times as fast the workers are together. --jobs: processes without Dask.
"""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGIC = ROOT / "QNetSegment" / "Logic"
sys.path[:0] = [str(LOGIC)]

import numpy as np  # noqa: E402

from qnetseg.volume import support_from_mask, write_volume  # noqa: E402

PHANTOM = runpy.run_path(str(LOGIC / "QNetSegmentLib" / "sample_data" / "phantom.py"))
ORGAN = "Liver"


def make_studies(folder: Path, count: int) -> Path:
    """Write phantoms that lie a few voxels apart, with their own noise, and a drawing; the latter's file."""
    volume, truth = PHANTOM["abdomen"]()
    drawing = folder / "drawing.npz"
    support_from_mask(volume, PHANTOM["largest_slice"](truth[ORGAN]), name=ORGAN).save(drawing)
    (folder / "studies").mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        shifted = np.roll(volume.array, rng.integers(-6, 7, 2), (1, 2))
        noisy = shifted + rng.normal(0, 5, shifted.shape).astype(np.float32)
        write_volume(folder / "studies" / f"{number:03}.nii.gz", replace(volume, array=noisy))
    return drawing


def seconds(folder: Path, drawing: Path, how: list[str]) -> float:
    """Wall time of the command."""
    command = [sys.executable, "-m", "qnetseg", "batch", str(folder / "studies"), "--support", str(drawing)]
    command += ["--output", str(folder / "-".join(how).strip("-")), "--threads", "1", "--device", "cpu", *how]
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(LOGIC)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        drawing = make_studies(folder, chosen.studies)
        took = {}
        for count in (1, chosen.workers):
            how = ["--jobs", str(count)] if chosen.jobs else ["--cluster", f"local:{count}"]
            took[count] = seconds(folder, drawing, how)
            print(f"{chosen.studies} studies, {' '.join(how)}: {took[count]:.1f} s", flush=True)
    print(f"{took[1] / took[chosen.workers]:.2f} times as fast")


if __name__ == "__main__":
    main()
