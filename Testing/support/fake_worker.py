"""A real worker process with a fake engine; the option "do" of a request chooses what it does."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from qnetseg.errors import Cancelled, InputError
from qnetseg.worker.backend import Job, Progress
from qnetseg.worker.server import main


def segmentation_of(job: Job, seconds: float = 0.0) -> SimpleNamespace:
    """The bright part of the query; like a `Segmentation`, whose package would import torch."""
    part = {"index": 0, "occupied": True, "score": 0.5, "support_index": 0, "area_mm2": 1.0, "drawn": False}
    report = {
        "structure": job.support.name,
        "model": str(job.model),
        "device": job.device,
        "precision": "fp32",
        "seconds": seconds,
        "volume_ml": 0.0,
        "plane": job.support.plane,
        "threshold_offset": 0.0,
        "slices": [part],
        "warnings": [str(os.getpid())],
    }
    return SimpleNamespace(
        mask=(job.query.array > 1).astype(np.uint8),
        confidence=np.clip(job.query.array, 0, 1),
        report=SimpleNamespace(to_json=lambda: report),
    )


def forever(busy: bool = False) -> None:
    """Neither look at `cancel` nor return; `busy` holds a core as well."""
    while busy:
        pass
    threading.Event().wait()


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


def segment(job: Job, progress: Progress, cancel: Callable[[], bool]) -> SimpleNamespace:
    do = job.options.get("do", "answer")
    progress(1, 4, "slices")
    if do == "wait":
        until(cancel)
        raise Cancelled("The segmentation was cancelled.")
    elif do == "gate":
        until(Path(job.options["gate"]).exists)
    elif do == "hang":
        forever()
    elif do == "spin":
        forever(busy=True)
    elif do == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        progress(2, 4, "slices")
        forever()
    elif do == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif do == "die on cancel":
        until(cancel)
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
        return segmentation_of(job, float("nan"))
    elif do == "wrong shape":
        found = segmentation_of(job)
        found.mask = found.mask[1:]
        return found
    elif do == "wrong type":
        found = segmentation_of(job)
        found.confidence = found.confidence.astype(np.float64)
        return found
    elif do == "list":
        found = segmentation_of(job)
        found.report.to_json()["warnings"] = sorted(os.listdir(job.options["folder"]))
        return found
    for done in (2, 3, 4):
        progress(done, 4, "slices")
    return segmentation_of(job)


if __name__ == "__main__":
    main(segment, check=lambda: "0.0-fake")
