"""The project's queue of GPU jobs: its recipes and options exist, and it is safe to run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from qnetseg.cli import build_parser
from qnetseg_lab.evaluation.plan import chosen
from qnetseg_lab.training import read_recipe

TRAINING = Path(__file__).resolve().parents[2] / "Training"
QUEUE = TRAINING / "GPU_QUEUE.md"
PROPAGATION = "propagation"  # starts from random weights


def commands():
    lines = QUEUE.read_text(encoding="utf-8").split("\n")
    return [line.split("|")[3].strip(" `") for line in lines if re.match(r"\| \d+ \|", line)]


def calls():
    """(words, whether it is stopped) of every call of qnetseg."""
    for command in commands():
        loop = re.search(r"for what in (.*?); do", command)
        for stopped, words in re.findall(r"(timeout 480 )?(qnetseg [^;)]*)", command):
            for what in shlex.split(loop[1]) if loop and "$what" in words else [""]:
                yield shlex.split(words.replace("$what", what).strip()), bool(stopped)


def test_every_call_is_understood_stops_in_time_and_starts_from_what_the_machine_decides():
    found = list(calls())
    assert len(found) >= len(commands()) > 8
    for words, stopped in found:
        arguments = build_parser().parse_args(
            ["0" if word == "$f" else word for word in words[1:]]  # a loop over folds
        )
        assert stopped
        if words[1] in ("bench", "evaluate", "weights"):
            continue
        if words[1] == "tables":
            assert chosen(arguments.only) and (TRAINING / "recipes" / "tables-h100.toml").is_file()
        else:
            recipe = read_recipe(TRAINING / "recipes" / f"{words[2]}.toml")
            if words[2].startswith(PROPAGATION):
                assert "--start" not in words and recipe.volumes == ("open",)
                continue
        assert {("--start", "$START"), ("--start", "$COCO")} & set(pairwise(words))


@pytest.mark.skipif(sys.platform == "win32", reason="the queue is written for a POSIX shell")
def test_a_command_ends_where_no_start_is_named(tmp_path):
    assert all(command.startswith("( set -eu; ") and command.endswith(" )") for command in commands())
    (tmp_path / "qnetseg").write_text('#!/bin/sh\necho "$1" >> calls\nfalse\n')
    (tmp_path / "qnetseg").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = next(command for command in commands() if "$START" in command)
    for start in ({"START": "radiology"}, {}):
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env={"PATH": path, **start})
        assert done.returncode != 0
    assert (tmp_path / "calls").read_text() == "tables\n"  # none without a start
