"""An engine that finds what is bright; the option "do" chooses whether it does something else."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.errors import InputError
from qnetseg.segment import Job, Report, Segmentation, SliceReport

BRIGHT = 1.0  # of the normalised image


def report_of(task: Any, seconds: float = 0.0) -> Report:
    """A report on one slice."""
    part = {"index": 0, "occupied": True, "score": 0.5, "support_index": 0, "area_mm2": 1.0, "drawn": False}
    names = {"structure": task.support.name, "model": str(task.model), "plane": task.support.plane}
    figures = {"seconds": seconds, "volume_ml": 0.0, "threshold_offset": 0.0}
    where = {"device": task.device, "precision": "fp32"}
    said = {"slices": (SliceReport(**part),), "warnings": (str(os.getpid()),)}
    return Report(**names, **figures, **where, **said)


def segmentation_of(task: Any, seconds: float = 0.0) -> Segmentation:
    """The bright part of the query."""
    image = task.query.orientation.back(task.query.image.array)
    mask = np.ascontiguousarray(image > BRIGHT, np.uint8)
    return Segmentation(mask, np.ascontiguousarray(np.clip(image, 0, 1)), report_of(task, seconds))


def forever(busy: bool = False) -> None:
    """Neither look at `cancel` nor return; `busy` holds a core as well."""
    while busy:
        pass
    while True:
        time.sleep(1.0)  # not for ever at once: a signal just before a wait does not end it


def until(met: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not met():
        pause.wait(0.005)


def print_everywhere() -> None:
    print("garbage from print")
    sys.__stdout__.write("garbage from the old sys.stdout\n")
    sys.__stdout__.flush()
    os.write(1, b"garbage from C\n")
    subprocess.run([sys.executable, "-c", "print('garbage from a child')"], check=True)
    assert sys.stdin.read() == ""


def segment(task: Any, job: Job) -> Segmentation:
    do = task.options.get("do", "answer")
    job.tell(1, 4, "slices")
    if do == "wait":
        while True:
            job.check()
            time.sleep(0.005)
    elif do == "started":
        Path(os.environ["STARTED"]).touch()
        forever()
    elif do == "gate":
        until(Path(task.options["gate"]).exists)
    elif do == "hang":
        forever()
    elif do == "spin":
        forever(busy=True)
    elif do == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        job.tell(2, 4, "slices")
        forever()
    elif do == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif do == "die on cancel":
        until(job.cancel)
        os._exit(3)
    elif do == "exit":
        print("last words")
        os._exit(3)
    elif do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "segfault":
        faulthandler._sigsegv()  # type: ignore[attr-defined]
    elif do == "print":
        print_everywhere()
    elif do == "no memory":
        raise MemoryError
    elif do == "user error":
        raise InputError("The option is unknown.", "Leave it out.")
    elif do == "bug":
        raise KeyError("a bug")
    elif do == "leave":
        sys.exit("a library that leaves")
    elif do == "nan":
        return segmentation_of(task, float("nan"))
    elif do == "wrong shape":
        found = segmentation_of(task)
        return replace(found, mask=found.mask[1:])
    elif do == "wrong type":
        found = segmentation_of(task)
        return replace(found, confidence=found.confidence.astype(np.float64))
    elif do == "list":
        found = segmentation_of(task)
        warnings = tuple(sorted(os.listdir(task.options["folder"])))
        return replace(found, report=replace(found.report, warnings=warnings))
    for done in (2, 3, 4):
        job.tell(done, 4, "slices")
    return segmentation_of(task)
