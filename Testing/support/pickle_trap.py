"""A pickle that runs code when it is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qnetseg.errors import WeightsError


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)


def assert_never_run(load: Callable[[Path], Any], path: Path) -> None:
    """Pickles of that name, plain and in PyTorch's archive, are refused and their code is not run."""
    trap = path.with_name("was_run")
    path.write_bytes(pickle.dumps({"state_dict": _Trap(trap)}, protocol=2))
    with pytest.raises(WeightsError, match=path.name.replace(".", r"\.")):
        load(path)
    torch.save({"weight": _Trap(trap)}, path)
    with pytest.raises(WeightsError, match=path.name.replace(".", r"\.")):
        load(path)
    assert not trap.exists()
