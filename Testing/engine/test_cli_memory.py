"""How much memory many structures need: of the command line beside the engine, and of a worker's client."""

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

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells the peak of a process from inside"
)

TESTING = Path(__file__).resolve().parents[1]
SHAPE = (100, 512, 512)
VOLUME = 4 * np.prod(SHAPE) / 2**20  # MB as float32
COUNT = 20

COMMAND = """
    import sys
    from qnetseg.cli import compute, main
    from support.cli_bed import fake_engine

    compute.engine = fake_engine()
    sys.exit(main(sys.argv[1:]) or print_peak())
"""

CLIENT = f"""
    import sys
    import numpy as np
    from qnetseg.boxes import Box
    from qnetseg.segment.overlap import share_voxels
    from qnetseg.volume import Drawing, Volume
    from qnetseg.worker import WorkerClient

    array = np.zeros({SHAPE}, np.float32)
    array[10:90, 20:140:2, 20:60] = 1000
    disc = np.ones((1, 10, 40), bool)
    with WorkerClient({FAKE!r}) as client:
        scan = client.open(Volume(array, np.eye(4)))
        drawings = [Drawing(Box(disc, (50, 10 + 12 * number, 20)), str(number)) for number in range({COUNT})]
        share_voxels([client.segment(one, scan, confidence_of="mask") for one in drawings])
    print_peak()
"""

PEAK = """
def print_peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024, file=sys.stderr)

"""


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A folder with a scan of a hundred slices, and with drawings of one and of twenty structures."""
    folder = tmp_path_factory.mktemp("memory")
    array = np.zeros(SHAPE, np.int16)
    array[10:90, 20:140:2, 20:60] = 1000
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "scan.mha"))
    for count in (1, COUNT):
        mask = np.zeros(SHAPE, np.uint8)
        for number in range(count):
            mask[50, 10 + 12 * number : 20 + 12 * number, 20:60] = number + 1
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / f"{count}.mha"))
    return folder


def peak(code: str, *arguments: object) -> float:
    """Peak memory of a process in MB."""
    ended = subprocess.run(
        [sys.executable, "-c", PEAK + textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(LOGIC), str(TESTING)])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stderr.splitlines()[-1])


def test_the_command_needs_no_more_memory_for_many_structures_than_for_one(scan):
    def needed(count: int) -> float:
        files = ["--output", scan / "out.seg.nrrd", "--confidence", scan / "confidence.nrrd"]
        return peak(COMMAND, "segment", scan / "scan.mha", "--mask", scan / f"{count}.mha", *files)

    assert needed(COUNT) < needed(1) + VOLUME, "besides the voxels of those before"


def test_a_client_of_the_worker_needs_at_most_three_volumes():
    """One is its own, which the worker reads; of twenty structures it gets what is in their boxes."""
    assert peak(CLIENT) < 3 * VOLUME
