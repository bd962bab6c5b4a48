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

from qnetseg_lab.training import parse_setting, read_recipe

TRAINING = Path(__file__).resolve().parents[2] / "Training"
QUEUE = TRAINING / "GPU_QUEUE.md"


def commands():
    lines = QUEUE.read_text(encoding="utf-8").split("\n")
    return [line.split("|")[3].strip(" `") for line in lines if re.match(r"\| \d+ \|", line)]


PROPAGATION = "qnetseg train propagation"  # starts from random weights


def test_every_training_is_a_recipe_with_a_start_that_the_machine_decides():
    trainings = [words for command in commands() for words in re.findall(r"qnetseg train [^;)]*", command)]
    assert len(commands()) > 30 and len(trainings) > 40
    for words in map(shlex.split, trainings):
        options = list(pairwise(words))
        if " ".join(words).startswith(PROPAGATION):
            assert "--start" not in words and read_recipe(
                TRAINING / "recipes" / f"{words[2]}.toml"
            ).volumes == ("open",)
            continue
        assert ("--start", "$START") in options or ("--start", "$COCO") in options
        settings = dict(parse_setting(value) for key, value in options if key == "--set")
        recipe = read_recipe(TRAINING / "recipes" / f"{words[2]}.toml", settings)
        if any("liver" in source.exclude for source in recipe.data):
            assert [source.name for source in recipe.data] == ["chaos"]  # CMR may show it


@pytest.mark.skipif(sys.platform == "win32", reason="the queue is written for a POSIX shell")
def test_a_command_ends_with_the_first_training_that_fails(tmp_path):
    assert all(command.startswith("( set -eu; ") and command.endswith(" )") for command in commands())
    (tmp_path / "qnetseg").write_text('#!/bin/sh\necho "$1" >> calls\n[ $(wc -l < calls) -lt 2 ]\n')
    (tmp_path / "qnetseg").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = next(command for command in commands() if PROPAGATION not in command)
    for start in ({"START": "radiology"}, {}):
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env={"PATH": path, **start})
        assert done.returncode != 0
    assert (tmp_path / "calls").read_text() == "train\ntrain\n"  # not a third one, and none without a start
