"""The container file: what it copies is there and is enough for an installation, and nothing runs as root.

It is not built here: that needs a container engine.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_list import ROOT

LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [tuple(line.split(None, 1)) for line in LINES if line.strip() and not line.startswith("#")]
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}


def copied() -> list[tuple[str, str]]:
    """(source, target) of every file and folder."""
    pairs = []
    for name, rest in STEPS:
        if name == "COPY":
            *sources, target = rest.split()
            pairs += [(source, target) for source in sources]
    return pairs


def test_every_line_is_a_step_that_docker_knows():
    assert {name for name, _ in STEPS} <= KNOWN and STEPS[0][0] == "FROM"
    for name, rest in STEPS:
        if name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(part, str) for part in json.loads(rest))


def test_the_base_is_pinned_and_within_what_the_project_supports():
    (base,) = [rest for name, rest in STEPS if name == "FROM"]
    assert re.fullmatch(r"python:3\.(10|11|12)\.\d+-slim-\w+", base)


def test_it_ends_as_a_user_who_is_not_root():
    names = [name for name, _ in STEPS]
    users = [rest for name, rest in STEPS if name == "USER"]
    assert users == ["qnetseg"] and "RUN" not in names[names.index("USER") :]


def test_what_is_copied_is_there_and_not_ignored():
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    sources = [source for source, _ in copied()]
    assert all((ROOT / source).exists() for source in sources)
    assert sorted(kept) == sorted(sources), "no more is sent to the engine than is copied"
    assert not any(fnmatch.fnmatch("README.md", pattern) for pattern in patterns if pattern != "*")


def test_what_is_copied_can_be_installed(tmp_path: Path):
    for source, target in copied():
        here, there = ROOT / source, tmp_path / ("" if target == "./" else target)
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            there.mkdir(exist_ok=True)
            shutil.copy(here, there)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*wheel, "-w", "wheels", "."], cwd=tmp_path, capture_output=True, text=True)
    if "No module named" in done.stderr or "BackendUnavailable" in done.stderr:
        pytest.skip("setuptools is not installed")
    assert done.returncode == 0, done.stderr
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", *map(str, (tmp_path / "wheels").glob("*.whl"))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "qnetseg/cli/worker_command.py" in names and "qnetseg/shipped/manifest.json" in names
