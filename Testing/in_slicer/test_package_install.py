"""The tree that the extension installs: whole, nothing else, and usable from where it lies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_list import CMAKE_FILE, ROOT, installed_files, listed_files
from package_extension import MODULE_FOLDER, configure, install, run

STANDINS = ROOT / "Testing" / "standins"
SHARED = {f"share/Slicer-5.12/{name}" for name in ("QNetSegment.s4ext", "LICENSE", "README.md")}
CARDS = {f"Resources/Models/{path.name}": path for path in (ROOT / "docs" / "models").glob("*.md")}

# These run in a process of their own, with the installed folder as only argument.
NAMES_WHAT_IT_FINDS = """
import json, sys
import qnetseg, QNetSegmentLib
from qnetseg.models import resolve_model
print(json.dumps([qnetseg.__file__, QNetSegmentLib.__file__, str(resolve_model())]))
assert "torch" not in sys.modules
"""

BUILDS_THE_PANEL = """
import json, sys
from pathlib import Path
import qt, slicer
from slicer_session import load_module

module, widget = load_module(Path(sys.argv[1]) / "QNetSegment.py")
about = slicer.modules.QNetSegmentInstance.parent
assert about.categories and about.contributors and about.acknowledgementText
assert not about.icon.isNull()
assert len(widget.parent.findChildren(qt.QPushButton)) > 5
widget.parent.setMRMLScene(slicer.vtkMRMLScene())
widget.parent.setMRMLScene(slicer.mrmlScene)
assert "torch" not in sys.modules
packages = ("QNetSegment", "QNetSegmentLib", "qnetseg")
ours = [module for name, module in sys.modules.items() if name.split(".")[0] in packages]
print(json.dumps([module.__file__ for module in ours]))
"""

RUNS_THE_TESTS_OF_THE_APPLICATION = """
import sys, unittest
from pathlib import Path
from slicer_session import load_module

load_module(Path(sys.argv[1]) / "QNetSegment.py")
from QNetSegmentLib.selftest import cases
cases.engine_is_there = lambda: False  # the mock engine: quick, and a process from this tree as well
suite = unittest.defaultTestLoader.loadTestsFromName("QNetSegmentModuleTest")
assert suite.countTestCases() == 2
result = unittest.TextTestRunner(verbosity=2).run(suite)
sys.exit(not result.wasSuccessful())
"""


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Path:
    """Build folder of the configured extension."""
    folder = tmp_path_factory.mktemp("build")
    configure(folder)
    return folder


@pytest.fixture(scope="session")
def installed(build, tmp_path_factory) -> Path:
    """The module's folder in an installed tree whose path is hard on programs and cannot be written."""
    folder = install(build, tmp_path_factory.mktemp("Größe 3 µm, Projekt 脳") / "Slicer 5.12")
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    before = {path: path.stat().st_mtime_ns for path in paths}
    yield folder
    # Whoever may write everywhere (root) leaves traces here instead of an error.
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


def run_installed(code: str, folder: Path, tmp_path: Path, *paths: Path) -> subprocess.CompletedProcess:
    """Runs code in a new process that knows the installed tree, not the checkout's modules."""
    search = os.pathsep.join(map(str, (folder / "Logic", *paths)))
    own = ("QNETSEG_MODELS", "QNETSEG_RESOURCES", "QNETSEG_SUPPORTS", "COV")  # coverage is of the checkout
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= {"PYTHONPATH": search, "PYTHONPYCACHEPREFIX": str(tmp_path / "cache"), "PYTHONUTF8": "1"}
    environment |= {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8")


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_the_lists_are_installed_and_nothing_else(build, tmp_path):
    install(build, tmp_path)
    cmake = CMAKE_FILE.read_text()
    listed = [path for name in installed_files() for path in listed_files(cmake, name)]
    of_the_module = {(MODULE_FOLDER / path).as_posix() for path in [*listed, *CARDS]}
    assert files_below(tmp_path) == of_the_module | SHARED
    for name in ("LICENSE", "README.md"):
        assert (tmp_path / "share/Slicer-5.12" / name).read_bytes() == (ROOT / name).read_bytes()


def test_files_arrive_as_they_are(installed):
    different = [
        path
        for path in files_below(installed)
        if (installed / path).read_bytes() != CARDS.get(path, ROOT / "QNetSegment" / path).read_bytes()
    ]
    assert different == []


def test_every_model_comes_with_its_card_and_licence(installed):
    models = json.loads((installed / "Resources/Models/manifest.json").read_text())["models"]
    for model in models:
        card = (installed / "Resources/Models" / f"{model['name']}.md").read_text(encoding="utf-8")
        assert model["licence"].lower() in card.lower()


def test_tests_of_the_application_are_registered_and_not_said_to_pass(build):
    tests = json.loads(run("ctest", "--test-dir", build, "--show-only=json-v1"))["tests"]
    names = {"py_nomainwindow_qSlicerQNetSegmentModuleGenericTest", "py_QNetSegmentModuleTest"}
    assert {test["name"] for test in tests} == names
    assert all({"name": "DISABLED", "value": True} in test["properties"] for test in tests)


def test_packages_and_default_weights_are_found_where_they_were_installed(installed, tmp_path):
    process = run_installed(NAMES_WHAT_IT_FINDS, installed, tmp_path)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert [path for path in found if not Path(path).is_relative_to(installed)] == []


def test_panel_is_built_from_the_installed_tree_without_torch(installed, tmp_path):
    process = run_installed(BUILDS_THE_PANEL, installed, tmp_path, STANDINS)
    assert process.returncode == 0, process.stderr
    files = json.loads(process.stdout.splitlines()[-1])
    assert files and [path for path in files if not Path(path).is_relative_to(installed)] == []


def test_tests_of_the_application_pass_on_standins(installed, tmp_path):
    process = run_installed(RUNS_THE_TESTS_OF_THE_APPLICATION, installed, tmp_path, STANDINS, STANDINS.parent)
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize(
    "lists, message",
    [
        ("SCRIPTS absent.py", "no file 'absent.py'"),
        ("SCRIPTS a.py RESOURCES Resources", "no file 'Resources'"),
        ("SCRIPT a.py", "does not know"),
    ],
    ids=["absent script", "folder", "unknown keyword"],
)
def test_the_standin_refuses_what_slicer_would_not_install(tmp_path, lists, message, capfd):
    source = tmp_path / "source"
    (source / "Resources").mkdir(parents=True)
    (source / "a.py").touch()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16.3...3.28.0)\nproject(Other)\nfind_package(Slicer REQUIRED)\n"
        "include(${Slicer_USE_FILE})\n" + f"slicerMacroBuildScriptedModule(NAME Other {lists})\n"
    )
    with pytest.raises(subprocess.CalledProcessError):
        configure(tmp_path / "build", source)
    assert message in re.sub(r"\s+", " ", capfd.readouterr().err)
