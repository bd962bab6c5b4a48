"""What the tests of the worker share: sample data, and a worker driven by bare lines."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.volume import SupportSet, Volume, support_from_mask
from qnetseg.worker.exchange import leave_token, make_folder, remove_folder, save_array
from qnetseg.worker.protocol import VERSION

FAKE = [sys.executable, str(Path(__file__).with_name("fake_worker.py"))]
LOGIC = Path(__file__).resolve().parents[2] / "QNetSegment" / "Logic"
LAB = Path(__file__).resolve().parents[2] / "Training"
REPORT = {
    "structure": "box",
    "model": "m",
    "device": "cpu",
    "precision": "fp32",
    "seconds": 1.0,
    "volume_ml": 2.0,
    "plane": "axial",
    "threshold_offset": 0.0,
    "slices": [],
    "warnings": ["Look."],
}
PATIENCE = 300.0  # seconds until a missing event fails a test, on a slow machine


def sample() -> tuple[SupportSet, Volume]:
    """A volume of noise with a bright box, and one drawn slice of it."""
    array = np.random.default_rng(0).random((6, 24, 20), dtype=np.float32)
    array[2:5, 8:16, 6:14] += 2
    volume = Volume.checked(array, np.diag([-1.5, -1.5, 4.0, 1.0]), "sample")
    mask = np.zeros(array.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    return support_from_mask(volume, mask, name="box"), volume


def speaking(*lines):
    """A command that answers every line with the next of `lines`."""
    code = """
import sys
for line in LINES:
    sys.stdin.readline()
    print(line, flush=True)
sys.stdin.read()
"""
    return [sys.executable, "-c", code.replace("LINES", repr(lines))]


class RawWorker:
    """A worker process spoken to in lines, without the client's help."""

    def __init__(self, command: list[str] = FAKE, env: dict[str, str] | None = None) -> None:
        self.folder = make_folder()
        leave_token(self.folder)
        paths = [str(LOGIC), os.environ.get("PYTHONPATH", "")]
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(env or {})},
        )
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._log: list[bytes] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_log)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> RawWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()  # type: ignore[union-attr]
        for thread in self._threads:
            thread.join()
        remove_folder(self.folder)

    @property
    def log(self) -> str:
        return b"".join(self._log).decode()

    def write(self, line: bytes) -> None:
        self.popen.stdin.write(line + b"\n")  # type: ignore[union-attr]
        self.popen.stdin.flush()  # type: ignore[union-attr]

    def say(self, request: str, id: str, **fields: Any) -> None:
        self.write(json.dumps({"request": request, "id": id, **fields}).encode())

    def hello(self) -> dict[str, Any]:
        self.say("hello", "h", version=VERSION, folder=str(self.folder))
        return self.event()

    def open(self, id: str, **changes: Any) -> None:
        """Ask for the sample."""
        _, query = sample()
        save_array(self.folder / f"{id}.npy", query.array)
        fields = {
            "path": None,
            "series": None,
            "array": f"{id}.npy",
            "ijk_to_ras": query.ijk_to_ras.tolist(),
            "name": query.name,
            "oddities": [],
        }
        self.say("open", id, **{**fields, **changes})

    def segment(self, id: str, do: str = "answer", **changes: Any) -> None:
        """Ask for the structure in the sample, which is opened first."""
        if not (self.folder / "support.npz").exists():
            sample()[0].save(self.folder / "support.npz")
            self.open("sample")
            self.event()
        fields: dict[str, Any] = {
            "query": "sample",
            "drawing": None,
            "support": "support.npz",
            "further": [],
            "model": None,
            "options": {"do": do},
            "device": "cpu",
            "background": None,
            "confidence_of": "volume",
        }
        self.say("segment", id, **{**fields, **changes})

    def event(self) -> dict[str, Any]:
        """The next event; every line of stdout must be one."""
        return self._events.get(timeout=PATIENCE)

    def answer(self) -> dict[str, Any]:
        """The next event that is not a progress."""
        while (event := self.event())["event"] == "progress":
            pass
        return event

    def end(self) -> int:
        """Close stdin, wait for the end; the exit code."""
        self.popen.stdin.close()  # type: ignore[union-attr]
        return self.popen.wait(PATIENCE)

    def _read(self) -> None:
        with self.popen.stdout as stream:  # type: ignore[union-attr]
            for line in stream:
                try:
                    self._events.put(json.loads(line))
                except ValueError:
                    self._events.put({"event": "garbage", "line": line})

    def _read_log(self) -> None:
        with self.popen.stderr as stream:  # type: ignore[union-attr]
            for line in stream:
                self._log.append(line)
