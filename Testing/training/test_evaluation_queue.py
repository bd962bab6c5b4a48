"""The project's queue of GPU jobs: complete, readable by the report, and safe to run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from qnetseg_lab.report import queue
from qnetseg_lab.report.paper_tables import ABLATIONS, SCHEMES, of_method
from qnetseg_lab.report.published import TABLE1, TABLE2
from qnetseg_lab.report.runs import Question
from qnetseg_lab.training import parse_setting, read_recipe

TRAINING = Path(__file__).resolve().parents[2] / "Training"
QUEUE = TRAINING / "GPU_QUEUE.md"


def test_the_queue_fills_every_row_of_the_tables():
    plans = queue.read_queue(QUEUE)
    for (dataset, setting), part in TABLE1.items():
        for scheme in SCHEMES:
            for method in part:
                fits = [p for p in plans if p.answers(Question("P", dataset, setting, of_method(method)))]
                assert any(p.variant.scheme == scheme for p in fits), (dataset, setting, scheme, method)
    for row in (row for part in TABLE2.values() for row in part):
        fits = [p for p in plans if p.answers(Question("P", "chaos", 2, ABLATIONS[row]))]
        assert {p.variant.scheme for p in fits} == set(SCHEMES), row
    modes = {(p.variant.scheme, p.variant.mode) for p in plans if p.variant.recipe == "default-h100"}
    assert modes == {(scheme, mode) for scheme in SCHEMES for mode in ("none", "closed_form", "released")}


def test_the_groups_of_setting_2_are_planned_as_one_row():
    plans = [p for p in queue.read_queue(QUEUE) if (p.protocol, p.setting) == ("P", 2)]
    counts = Counter(plan.variant for plan in plans)
    assert set(counts.values()) == {2}
    assert all("start" not in dict(plan.variant.entries) for plan in plans)


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
