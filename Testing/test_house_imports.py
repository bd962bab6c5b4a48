"""The arrows between packages point downward, and light packages stay light."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_list import ROOT

LOGIC = "QNetSegment/Logic"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the project at `root` against the engine at `root`."""
    run = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", run, "--no-cache"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / LOGIC)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_import_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


LAYERS = (
    "cli",
    "training",
    "evaluation",
    "worker",
    "segment",
    "data",
    "models",
    "methods",
    "model",
    "volume",
    "tensor_file",
    "parsing",
    "cores",
    "errors",
    "provenance",
)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("model.bad", "import qnetseg.volume"),
        ("segment.bad", "import qnetseg.training"),
        ("models.bad", "import qnetseg.volume"),
        ("data.bad", "import qnetseg.model"),
        ("volume.bad", "import torch"),
        ("evaluation.bad", "import slicer"),
        ("unplanned", "import qnetseg.errors"),
    ],
)
def test_import_contracts_catch(module, line, tmp_path):
    engine = tmp_path / LOGIC / "qnetseg"
    for package in ["", *LAYERS]:
        (engine / package).mkdir(parents=True)
        (engine / package / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sound = lint_imports(tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    (engine / f"{module.replace('.', '/')}.py").write_text(f"{line}\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode != 0 and module in broken.stdout


def imports(statements: str, heavy: str) -> bool:
    """Whether a fresh Python that runs the statements has loaded a heavy package."""
    code = f"import sys; {statements}; sys.exit({heavy!r} in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / LOGIC)}
    return subprocess.run([sys.executable, "-c", code], env=environment).returncode != 0


@pytest.mark.parametrize("module", ["qnetseg", "qnetseg.cores", "qnetseg.errors", "qnetseg.volume"])
def test_light_modules_leave_torch_alone(module):
    assert not imports(f"import {module}", "torch")


def test_the_propagation_network_waits_for_no_torchvision():
    start = "import qnetseg.worker.server; from qnetseg.segment import segment_volume; "
    assert not imports(start + "from qnetseg.model import PropagationNet; PropagationNet()", "torchvision")
    assert imports("from qnetseg.model import QNet; QNet()", "torchvision")
