"""How much longer a segmentation takes on another machine: `python Testing/bench_far.py`.

The same volume goes to a worker beside us, which reads it from the disk, and to one over ssh to this machine
that does not find our folder; so the difference is what the line and the packing cost. `--worker COMMAND`
measures any other command instead, such as a real ssh to another machine.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "QNetSegment" / "Logic"), str(ROOT / "Testing")]

import numpy as np  # noqa: E402

from qnetseg.volume import Drawing, Volume  # noqa: E402
from qnetseg.worker import WorkerClient  # noqa: E402
from qnetseg.worker.process import split_command  # noqa: E402
from support.ssh_bed import Sshd  # noqa: E402

SHAPE = (36, 256, 256)
SPACING = (6.0, 1.5, 1.5)  # mm along k, j, i


def phantom() -> tuple[Volume, Drawing]:
    """An ellipsoid in noise, as an MR has it (int16), and one slice of it."""
    k, j, i = (axis / count for axis, count in zip(np.indices(SHAPE), SHAPE, strict=True))
    inside = ((k - 0.5) / 0.35) ** 2 + ((j - 0.5) / 0.25) ** 2 + ((i - 0.4) / 0.2) ** 2 < 1
    image = np.random.default_rng(0).normal(200 + 150 * inside, 25).astype(np.int16)
    mask = np.zeros(SHAPE, np.uint8)
    mask[18] = inside[18]
    matrix = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    return Volume(image, matrix, "phantom"), Drawing.of_mask(mask, SHAPE, name="ellipsoid")


def seconds(client: WorkerClient, confidence_of: str) -> tuple[float, float, np.ndarray]:
    """To open the volume and to segment it, and the mask."""
    volume, drawing = phantom()
    begin = time.monotonic()
    scan = client.open(volume)
    opened = time.monotonic()
    found = client.segment(drawing, scan, device="cpu", confidence_of=confidence_of)
    end = time.monotonic()
    client.release(scan)
    return opened - begin, end - opened, found.mask.placed(volume.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", metavar="COMMAND")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--confidence", default="mask", choices=("none", "mask", "volume"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sshd = None
        if arguments.worker is None:
            sshd = Sshd(Path(folder))
            time.sleep(1.0)
            command = sshd.worker([sys.executable, "-m", "qnetseg", "worker"])
        else:
            command = split_command(arguments.worker)
        try:
            compare(command, arguments.repeats, arguments.confidence)
        finally:
            if sshd is not None:
                sshd.close()


def compare(command: list[str], repeats: int, confidence_of: str) -> None:
    """Take turns, so that both have the same of what else the machine does."""
    print(f"there: {shlex.join(command)[:300]}")
    with WorkerClient() as near, WorkerClient(command) as far:
        times: dict[str, list[tuple[float, float]]] = {"here": [], "there": []}
        for repeat in range(repeats + 1):
            masks = []
            for name, client in (("here", near), ("there", far)):
                opening, segmenting, mask = seconds(client, confidence_of)
                masks.append(mask)
                if repeat:  # the first one reads the weights
                    times[name].append((opening, segmenting))
            assert np.array_equal(*masks), "the masks differ"
        print("the masks are the same, to the last voxel")
        medians = {}
        for name, pairs in times.items():
            opening, segmenting = (statistics.median(part) for part in zip(*pairs, strict=True))
            medians[name] = statistics.median(map(sum, pairs))
            print(
                f"{name:6s} open {opening:.2f} s, segment {segmenting:.2f} s, together {medians[name]:.2f} s"
            )
        print(f"ratio  {medians['there'] / medians['here']:.2f}")


if __name__ == "__main__":
    main()
