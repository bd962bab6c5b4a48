"""How much memory the command line needs of its own, beside the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from support.worker_bed import FAKE, LOGIC

SHAPE = (24, 512, 512)
VOLUME = 4 * np.prod(SHAPE) / 2**20  # MB as float32

CODE = f"""
    import sys
    import qnetseg.worker.client as client
    from qnetseg.cli import main

    client.default_command = lambda: {FAKE!r}
    code = main(sys.argv[1:])
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024, file=sys.stderr)
    sys.exit(code)
"""


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A folder with a scan, and with drawings of one and of twelve structures."""
    folder = tmp_path_factory.mktemp("memory")
    array = np.random.default_rng(0).integers(0, 1000, SHAPE, np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "scan.mha"))
    for count in (1, 12):
        mask = np.zeros(SHAPE, np.uint8)
        for number in range(count):
            mask[12, 10 + 12 * number : 20 + 12 * number, 20:60] = number + 1
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / f"{count}.mha"))
    return folder


def peak(scan: Path, count: int) -> float:
    """Peak memory of the client, in volumes."""
    arguments = ["segment", scan / "scan.mha", "--mask", scan / f"{count}.mha"]
    arguments += ["--output", scan / "out.seg.nrrd", "--confidence", scan / "confidence.nrrd"]
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(LOGIC)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stderr.splitlines()[-1]) / VOLUME


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process from inside")
def test_memory_does_not_grow_with_the_number_of_structures(scan):
    one, twelve = peak(scan, 1), peak(scan, 12)
    assert twelve < one + 4, "besides what those before have found; twelve results would be 14 volumes more"
