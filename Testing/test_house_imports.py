"""The arrows between packages point downward, and light packages stay light."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_list import ROOT

LOGIC = ROOT / "QNetSegment" / "Logic"
ROOMS = {
    "QNetSegment/Logic/qnetseg": (
        *(
            "__main__",
            "cli",
            "batch",
            "arrays",
            "worker",
            "segment",
            "models",
            "imagelike",
            "model",
            "volume",
        ),
        *("atomic", "boxes", "catalogue", "cores", "errors", "extras", "memory", "parsing", "processes"),
        "tensor_file",
    ),
    "QNetSegment/Logic/QNetSegmentLib": (
        *("panel", "selftest", "runs", "sample_data", "scene", "process", "setup", "library"),
        *("compat", "timers", "signals"),
    ),
    "Training/qnetseg_lab": (
        *("commands", "report", "training", "evaluation", "data", "baselines", "weights"),
        *("provenance", "toml"),
    ),
}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the project at `root` against the packages at `root`."""
    run = "from importlinter.cli import lint_imports_command as run; run()"
    paths = dict.fromkeys(str(root / package.rsplit("/", 1)[0]) for package in ROOMS)
    return subprocess.run(
        [sys.executable, "-c", run, "--no-cache"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_import_contracts_hold():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("qnetseg/model/bad", "import qnetseg.volume"),
        ("qnetseg/segment/bad", "import qnetseg_lab.training"),
        ("qnetseg/models/bad", "import qnetseg.volume"),
        ("qnetseg/volume/bad", "import torch"),
        ("qnetseg/unplanned", "import qnetseg.errors"),
        ("qnetseg_lab/data/bad", "import qnetseg.model"),
        ("qnetseg_lab/training/bad", "import qnetseg_lab.evaluation"),
        ("qnetseg_lab/evaluation/bad", "import slicer"),
        ("qnetseg_lab/unplanned", "import qnetseg.errors"),
    ],
)
def test_import_contracts_catch(module, line, tmp_path):
    for package, rooms in ROOMS.items():
        for room in ["", *rooms]:
            (tmp_path / package / room).mkdir(parents=True)
            (tmp_path / package / room / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sound = lint_imports(tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    folder = next(p.rsplit("/", 1)[0] for p in ROOMS if p.endswith(f"/{module.split('/')[0]}"))
    (tmp_path / folder / f"{module}.py").write_text(f"{line}\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode != 0 and module.replace("/", ".") in broken.stdout


def imports(statements: str, heavy: str) -> bool:
    """Whether a fresh Python that runs the statements has loaded a heavy package."""
    code = f"import sys; {statements}; sys.exit({heavy!r} in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(LOGIC)}
    return subprocess.run([sys.executable, "-c", code], env=environment).returncode != 0


LIGHT = ("qnetseg", "qnetseg.batch", "qnetseg.cores", "qnetseg.errors", "qnetseg.volume")


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_leave_torch_alone(module):
    assert not imports(f"import {module}", "torch")


def test_the_propagation_network_waits_for_no_torchvision():
    start = "import qnetseg.worker.server; from qnetseg.segment import segment_volume; "
    assert not imports(start + "from qnetseg.model import PropagationNet; PropagationNet()", "torchvision")
    assert imports("from qnetseg.model import QNet; QNet()", "torchvision")


@pytest.mark.parametrize("script", ["screenshots.py", "bench_panel.py"])
def test_scripts_find_slicer_s_side_by_themselves(script):
    """pytest names folders to import from; make calls these without."""
    code = f"import runpy; runpy.run_path({str(ROOT / 'Testing' / script)!r}); import QNetSegmentLib.setup"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT.parent)
