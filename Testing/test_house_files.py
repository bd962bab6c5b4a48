"""Files are short, documented, and name neither machines nor registries."""

from __future__ import annotations

import ast
import re

import pytest

from cmake_list import ROOT, project_files
from qnetseg_lab.toml import parse_toml

LONGEST = 400
FILES = project_files()
PYTHON_FILES = [path for path in FILES if path.endswith(".py")]
ENGINE = "QNetSegment/Logic/qnetseg/"

# Written in pieces so that this file does not find itself.
MACHINE_FOLDERS = ("w" + "ork", "t" + "mp", "ro" + "ot", "home/[a-z]+", "Users/[A-Za-z]+")
MACHINE_PATH = re.compile(rf"(?<![\w.])/({'|'.join(MACHINE_FOLDERS)})/")
REGISTRY = re.compile("pypi" + r"\.org|pythonhosted" + r"\.org|deb\.debian" + r"\.org|registry\.npmjs")


def text(path):
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_the_project_is_found():
    assert {"pyproject.toml", f"{ENGINE}__init__.py", "Testing/test_house_files.py"} <= set(FILES)


def test_no_file_of_code_is_too_long():
    code = [path for path in FILES if path.endswith((".py", ".toml", ".yaml", ".cff")) or "Makefile" in path]
    lengths = {path: text(path).count("\n") for path in code}
    assert {path: n for path, n in lengths.items() if n > LONGEST} == {}


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine paths", "registries"])
def test_nothing_names_a_machine(pattern):
    found = {path: match.group() for path in FILES if (match := pattern.search(text(path)))}
    assert found == {}


def test_the_patterns_find_what_they_are_for():
    assert MACHINE_PATH.search('open("/' + 'work/data")') and MACHINE_PATH.search("see /" + "tmp/x")
    assert not MACHINE_PATH.search("the network/" + "work/flow")
    assert REGISTRY.search("https://" + "pypi" + ".org/simple")


def test_public_modules_have_a_docstring():
    public = [p for p in PYTHON_FILES if p.startswith(ENGINE) and not p.rsplit("/", 1)[1].startswith("_")]
    packages = [path for path in PYTHON_FILES if path.startswith(ENGINE) and path.endswith("__init__.py")]
    assert [path for path in public + packages if not ast.get_docstring(ast.parse(text(path)))] == []


def test_every_place_names_the_same_version():
    places = {
        f"{ENGINE}__init__.py": r'__version__ = "(.+)"',
        "Training/qnetseg_lab/__init__.py": r'__version__ = "(.+)"',
        "CITATION.cff": r"(?m)^version: (.+)$",
        "CHANGELOG.md": r"(?m)^## \[(\d.+)\] - \d{4}-\d\d-\d\d$",
    }
    found = {path: re.search(pattern, text(path)) for path, pattern in places.items()}
    assert len({match and match.group(1) for match in found.values()}) == 1 and all(found.values()), found


@pytest.mark.parametrize(
    ("project", "package"), [("pyproject.toml", "qnetseg"), ("Training/pyproject.toml", "qnetseg_lab")]
)
def test_a_wheel_holds_every_package(project, package):
    build = parse_toml(text(project))["tool"]["setuptools"]
    homes = {name: (ROOT / project).parent / folder for name, folder in build["package-dir"].items()}
    code = homes.pop(package)  # the other homes are folders of data
    folders = [(ROOT / path).parent for path in PYTHON_FILES if path.endswith("/__init__.py")]
    inside = [folder.relative_to(code).parts for folder in folders if folder.is_relative_to(code)]
    assert sorted(build["packages"]) == sorted([*(".".join([package, *parts]) for parts in inside), *homes])
