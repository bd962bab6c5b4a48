"""Pack the development data, the open volumes and the radiology weights for a machine without internet.

    python Training/pack.py OUTPUT

writes data trees for QNETSEG_DATA in parts of at most ten cases (OUTPUT/open-0, ... with supervoxels;
OUTPUT/chaos-0, OUTPUT/cmr-0, ...: images as int16, labels as uint16) and OUTPUT/start/radiology50.safetensors
(bfloat16). Every part is small enough to travel on its own; on the other side, merge the data trees and give
the file as `--start`. With "open", "data" or "start" behind OUTPUT only these are written; with "wheels" the
laboratory and a few packages for a machine that has PyTorch, torchvision, SciPy, scikit-image, matplotlib and
tensorboard (OUTPUT/wheels-0, ..., for Linux and Python 3.12, in pieces).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import SimpleITK
import torch
from safetensors.torch import save_file

from qnetseg_lab.data import CATALOGUE, open_volumes
from qnetseg_lab.training.propagation_learner import SUPERVOXELS
from qnetseg_lab.training.starts import radiology_state
from qnetseg_lab.training.synthesis import OPEN, keep_supervoxels

CASES = 10  # a part
PART = 18 * 2**20  # bytes of a wheel's part
TARGET = ("--only-binary=:all:", "--python-version=3.12", "--platform=manylinux2014_x86_64")
LACKING = ("SimpleITK", "pydicom", "safetensors", "tqdm")
HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements.lock"


def pack_open(output: Path) -> None:
    """Copy the open volumes as they are, with the supervoxels that a run keeps in its folder."""
    computed = output / SUPERVOXELS
    keep_supervoxels([OPEN], computed)
    volumes = open_volumes()
    parts = -(-len(volumes) // CASES)
    for number, (name, image, segmentation) in enumerate(volumes):
        part = output / f"open-{number % parts}"  # neighbours are of one kind and size
        for folder in (part / OPEN, part / SUPERVOXELS):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(computed / f"{name}.npz", part / SUPERVOXELS)
        for file in (image, segmentation):
            if file is not None:
                shutil.copy2(file, part / OPEN)


def pack_data(output: Path) -> None:
    """Copy images, labels and supervoxels with smaller voxel types."""
    for name, data in CATALOGUE.items():
        for number, case in enumerate(data.case_names()):
            for pattern, pixel in (
                (data.images, SimpleITK.sitkInt16),
                (data.annotations, SimpleITK.sitkUInt16),
                (data.supervoxels, SimpleITK.sitkUInt16),
            ):
                target = output / f"{name}-{number // CASES}" / pattern.format(case)
                target.parent.mkdir(parents=True, exist_ok=True)
                image = SimpleITK.ReadImage(str(data.path(pattern, case)))
                SimpleITK.WriteImage(SimpleITK.Cast(image, pixel), str(target), True)


def pack_start(output: Path, depth: int = 50) -> None:
    """Write the radiology weights of one depth."""
    state = {
        key: value.to(torch.bfloat16).contiguous()
        for key, value in radiology_state(depth).items()
        if not key.endswith("num_batches_tracked")
    }
    folder = output / "start"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / f"radiology{depth}.safetensors")


def pack_wheels(output: Path) -> None:
    """Write the missing packages and the laboratory, the large ones in parts to be joined."""
    for older in output.glob("wheels-*"):
        shutil.rmtree(older)
    with tempfile.TemporaryDirectory() as folder:
        pip, wheels, source = (sys.executable, "-m", "pip"), Path(folder, "wheels"), Path(folder, "source")
        # setuptools builds beside the source, and packs what an older build has left there
        shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
        fetch = [*pip, "download", "--no-deps", *TARGET, "--constraint", str(LOCK)]
        subprocess.run([*fetch, "--dest", str(wheels), *LACKING], check=True)
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(source)], check=True)
        for wheel in wheels.glob("*.whl"):
            content = wheel.read_bytes()
            for number, start in enumerate(range(0, len(content), PART)):
                piece = content[start : start + PART]
                part = output / (f"wheels-{number}" if len(piece) == PART else "wheels-rest")
                part.mkdir(parents=True, exist_ok=True)
                (part / f"{wheel.name}.part{number}").write_bytes(piece)


if __name__ == "__main__":
    parts = {"open": pack_open, "data": pack_data, "start": pack_start, "wheels": pack_wheels}
    for name in sys.argv[2:] or ("open", "data", "start"):
        parts[name](Path(sys.argv[1]))
