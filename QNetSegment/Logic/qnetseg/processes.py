"""Which process a left-over file or folder belongs to, and whether that process is gone."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

MARK = r"[0-9a-f]{8}-[0-9]+-[0-9]+"
"""Regular expression of what `mark` returns."""


def mark(pid: int | None = None) -> str:
    """Machine, number and start of a process of this machine (this one if None), fit for a file name."""
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}-{pid}-{_start(pid)}"


def gone(marked: str) -> bool:
    """Whether the process of this `mark` has ended; False for one of another machine, where nobody knows."""
    machine, pid, start = marked.split("-")
    if machine != _machine():
        return False
    return not _alive(int(pid)) or _start(int(pid)) != int(start)


def _machine() -> str:
    """This machine, and within it this container: what a process number is valid for."""
    name = platform.node()
    with suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _start(pid: int) -> int:
    """When a process started, in ticks since boot, which tells a reused number apart; 0 where unknown."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = told.rpartition(b")")[2].split()  # the name before the bracket may hold spaces
    return int(fields[19]) if fields[0] != b"Z" else -1  # ended, and not yet buried by its parent


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # there, os.kill would end it
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not handle:
            return bool(kernel.GetLastError() == 5)  # it runs, and belongs to somebody else
        waiting = kernel.WaitForSingleObject(handle, 0) == 258  # WAIT_TIMEOUT
        kernel.CloseHandle(handle)
        return bool(waiting)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to somebody else
        pass
    return True
