"""Pack the development data and the radiology start for a machine without internet.

    python Training/pack.py OUTPUT

writes data trees for QNETSEG_DATA in parts of at most ten cases (OUTPUT/chaos-0, OUTPUT/cmr-0, ...; images
as int16, labels as uint16) and OUTPUT/start/radiology50.safetensors (bfloat16). Every part is small enough to
travel on its own; on the other side, merge the data trees and give the file as `--start`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import SimpleITK
import torch
from safetensors.torch import save_file

from qnetseg.data import CATALOGUE
from qnetseg.model.starts import radiology_state

CASES = 10  # a part


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
    """Write the radiology start of one depth."""
    state = {
        key: value.to(torch.bfloat16).contiguous()
        for key, value in radiology_state(depth).items()
        if not key.endswith("num_batches_tracked")
    }
    folder = output / "start"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / f"radiology{depth}.safetensors")


if __name__ == "__main__":
    pack_data(Path(sys.argv[1]))
    pack_start(Path(sys.argv[1]))
