"""State dicts that others have pickled, such as official checkpoints; our own files are never pickles."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from qnetseg.errors import WeightsError
from qnetseg.model.storage import read_safetensors
from qnetseg.parsing import parsing

SAFE_TORCH = (2, 10)
"""The first torch that reads pickles without running code from them: before 2.6 they could run some all the
same (CVE-2025-32434), before 2.10 they could damage memory (CVE-2026-24747)."""


def require_safe_torch() -> None:
    """Raise `WeightsError` where this torch cannot read the pickles of others safely."""
    found = re.match(r"(\d+)\.(\d+)", str(torch.__version__))
    if found is None or (int(found[1]), int(found[2])) < SAFE_TORCH:
        raise WeightsError(
            f"PyTorch {torch.__version__} can be made to run code that is hidden in a pickled file"
            " (CVE-2025-32434, CVE-2026-24747), so it is not opened.",
            f"Update PyTorch to {'.'.join(map(str, SAFE_TORCH))} or later, or use a .safetensors file.",
        )


def read_pickle(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a pickled state dict, or of the entry "state_dict", read without running its code.

    Raises WeightsError: missing, damaged, holding more than tensors, or torch is too old to read it safely.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"The weights file {path} does not exist.", "Check the path.")
    require_safe_torch()
    with parsing(
        path.name,
        WeightsError,
        f"The weights file {path.name} is damaged or holds more than tensors.",
        "Save a plain state dict of tensors.",
    ):
        _require_not_packed(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(content.get("state_dict", content))
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("more than tensors")
    return state


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file or of a pickled state dict, see `read_pickle`. Raises `WeightsError`."""
    path = Path(path)
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_pickle(path)


def _require_not_packed(path: Path) -> None:
    """ValueError for an archive that is larger when unpacked; torch packs nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("a packed archive")
