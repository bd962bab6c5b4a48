"""A real worker process with the mock engine, which does what the file in QNETSEG_ORDERS says.

Orders, read anew for every segmentation: "" segments; "wait" stops after three slices until the file is
emptied or the run is cancelled; "prepare" does so before the first slice; "fail" raises; "no memory" runs out
of memory; "slow start", read when the process starts, waits before it answers. Beside the orders lies "seen",
a line for every segmentation with what came with it. What is packed gets its patient only where a result
comes with it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from qnetseg.segment import Job
from qnetseg.worker.server import main
from QNetSegmentLib.selftest import mock_worker

BEFORE_THE_STOP = 3  # slices


def orders() -> str:
    path = Path(os.environ["QNETSEG_ORDERS"])
    return path.read_text(encoding="utf-8") if path.exists() else ""


def hold(order: str, job: Job | None = None) -> None:
    """Wait until the order is another one."""
    pause = threading.Event()
    while orders() == order:
        if job is not None:
            job.check()
        pause.wait(0.01)


def write_down(task: Any) -> None:
    empty = [part.index for part in task.support.slices if not part.mask.any()]
    background = 0 if task.background is None else task.background.count
    facts = {
        "structure": task.support.name,
        "empty": empty,
        "background": background,
        "result": None if task.result is None else task.result.count,
        "options": task.options,
    }
    with Path(os.environ["QNETSEG_ORDERS"]).with_name("seen").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def segment(task: Any, job: Job) -> Any:
    order = orders()
    write_down(task)
    if order == "fail":
        print("the engine's last words", file=sys.stderr, flush=True)
        raise KeyError("a bug")
    if order == "no memory":
        raise MemoryError
    if order == "prepare":
        hold(order, job)

    def tell(done: int, total: int, stage: str) -> None:
        job.tell(done, total, stage)
        if order == "wait" and done == BEFORE_THE_STOP:
            hold(order, job)

    return mock_worker.segment(task, Job(tell, job.cancel))


def pack(drawing: Any, volume: Any, _job: Job, result: Any) -> Any:
    if result is None:
        return volume.pack(drawing)
    from qnetseg.model import Networks
    from qnetseg.segment import with_patient

    return with_patient(volume.pack(drawing), volume, Networks(), result=result.placed(volume.shape))


if __name__ == "__main__":
    hold("slow start")
    main(segment, check=lambda: mock_worker.NAME, pack=pack)
