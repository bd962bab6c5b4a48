"""Slicer installs exactly the files of the module, and the extension's metadata agree."""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest

from cmake_list import CMAKE_FILE, ROOT, installed_files, listed_files, project_files, with_lists
from qnetseg import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize("name", ["MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"])
def test_cmake_lists_every_file_and_no_other(name):
    listed, existing = listed_files(CMAKE_FILE.read_text(), name), installed_files()[name]
    assert sorted(set(existing) - set(listed)) == [], "missing in the list: call `make cmake-list`"
    assert sorted(set(listed) - set(existing)) == [], "listed and not there: call `make cmake-list`"
    assert len(listed) == len(set(listed))


def test_the_files_are_the_same_without_git(tmp_path):
    for path in project_files():
        if path.startswith("QNetSegment/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "QNetSegment" / "__pycache__").mkdir()
    (tmp_path / "QNetSegment" / "__pycache__" / "left.pyc").touch()
    assert installed_files(tmp_path) == installed_files()


def test_git_ignores_no_code_of_the_module():
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "QNetSegment").rglob("*.py")}
    assert sorted(code - set(project_files())) == [], "a pattern of .gitignore hides them"


def test_lists_are_replaced_and_the_rest_stays():
    text = "set(MODULE_NAME a)\nset(SCRIPTS\n  old.py\n  )\nset(SCRIPTS_TOO b)\nfoo(SCRIPTS ${SCRIPTS})\n"
    new = with_lists(text, {"SCRIPTS": ["a.py", "b/c.py"]})
    assert new == text.replace("  old.py", "  a.py\n  b/c.py")
    assert listed_files(new, "SCRIPTS") == ["a.py", "b/c.py"]


def cmake_variable(name):
    return re.search(rf'set\({name} "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text()).group(1)


def test_paths_are_safe_for_cmake_and_windows():
    paths = [path for listed in installed_files().values() for path in listed]
    assert [path for path in paths if not re.fullmatch(r"[A-Za-z0-9_./-]+", path)] == []
    assert [path for path in paths if len(path) > 80] == []  # of 260 that Windows grants a whole path
    assert len({path.lower() for path in paths}) == len(paths)


def test_metadata_survive_slicers_macros():
    names = ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
    values = {name: cmake_variable(f"EXTENSION_{name}") for name in names}
    assert [name for name, value in values.items() if not value.strip() or re.search(r"[;\n$]", value)] == []


def test_licences_of_the_weights_and_patents_are_told_where_extensions_are_chosen():
    models = json.loads((ROOT / "QNetSegment/Resources/Models/manifest.json").read_text())["models"]
    for text in (cmake_variable("EXTENSION_DESCRIPTION"), (ROOT / "README.md").read_text(encoding="utf-8")):
        assert [one["name"] for one in models if one["name"] not in text or one["licence"] not in text] == []
        assert "Apache-2.0" in text and "No patents known" in text


def test_the_repository_has_the_name_that_the_extensions_index_demands():
    """Everywhere; the extension itself keeps its own name."""
    repository = re.compile(r"github(?:usercontent)?\.com/QNetSegment/(\w+)")
    texts = (
        ROOT / path
        for path in project_files()
        if path.endswith((".md", ".json", ".toml", ".txt", ".py", ".cff"))
    )
    named = {name for path in texts for name in repository.findall(path.read_text(encoding="utf-8"))}
    assert named == {"SlicerQNetSegment"}


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_extension_are_files_of_the_repository(name):
    main_branch = cmake_variable("EXTENSION_HOMEPAGE").replace("github.com", "raw.githubusercontent.com")
    for url in cmake_variable(name).split():
        assert url.removeprefix(f"{main_branch}/main/") in project_files()


def test_index_entry_has_the_keys_of_the_schema_and_agrees_with_cmake():
    entry = json.loads((ROOT / "QNetSegment.json").read_text())
    required = {"$schema", "category", "scm_url"}
    optional = {"scm_revision", "build_dependencies", "build_subdirectory", "enabled", "tier"}
    assert required <= set(entry) <= required | optional
    assert re.search(r"/slicer-extension-catalog-entry-schema-v1\.0\.\d\.json#?$", entry["$schema"])
    assert 1 <= entry["tier"] <= 5
    assert "project(QNetSegment)" in (ROOT / "CMakeLists.txt").read_text()
    assert entry["category"] == cmake_variable("EXTENSION_CATEGORY")
    assert entry["build_dependencies"] == cmake_variable("EXTENSION_DEPENDS").split()
    assert entry["scm_url"].removesuffix(".git") == cmake_variable("EXTENSION_HOMEPAGE")


OF_SLICER = {"numpy", "pydicom", "SimpleITK", "torch", "torchvision"}  # or of its PyTorch extension


def name_of(requirement):
    return re.split(r"[<>=; \[]", requirement)[0]


def imported_in(folder):
    """Names of what the engine's files import, without those that only the command line and notebooks run."""
    pattern = re.compile(r"^\s*(?:import|from) ([A-Za-z_]\w*)", re.MULTILINE)
    others = {"cli", "arrays.py"}
    files = [file for file in folder.rglob("*.py") if not others & {*file.relative_to(folder).parts}]
    return {name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))}


def test_slicer_installs_what_runs_there_imports_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = imported_in(ROOT / "QNetSegment/Logic") - OF_SLICER
    wanted = [line for line in project["dependencies"] if name_of(line) in found]
    assert (ROOT / "QNetSegment/Resources/requirements.txt").read_text().splitlines() == wanted
    assert all("<" in line for line in wanted), "a new major version may not work"
    others = {name_of(line) for line in project["dependencies"]} - OF_SLICER - found
    assert others == {"scikit-image", "tqdm"}, "only the command line and notebooks import these"


def test_the_lock_has_every_dependency_and_names_no_place_to_get_them_from():
    engine = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    laboratory = tomllib.loads((ROOT / "Training/pyproject.toml").read_text())["project"]
    extras = [one for name in ("demo", "slicer", "test") for one in engine["optional-dependencies"][name]]
    direct = {name_of(one).lower() for one in engine["dependencies"] + laboratory["dependencies"] + extras}
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {line.split("==")[0] for line in lines if not line.startswith("#")}
    assert direct - {"qnetseg"} <= locked
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_citation_names_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
