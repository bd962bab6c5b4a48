"""Passes a worker's streams on as if it ran on another machine: it does not find the client's folder.

python far_worker.py [--bytes-per-second N] COMMAND ...
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time

CHUNK = 1 << 14


def copy(source: int, target: int, rate: float) -> None:
    """Pass bytes on until there are no more, at most so many in a second; 0 for any number."""
    while chunk := os.read(source, CHUNK):
        if rate:
            time.sleep(len(chunk) / rate)
        while chunk:
            chunk = chunk[os.write(target, chunk) :]
    os.close(target)


def first_line(source: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        if not (one := os.read(source, 1)):
            break
        line += one
    return line


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes-per-second", type=float, default=0.0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    rate = arguments.bytes_per_second
    child = subprocess.Popen(arguments.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    hello = json.loads(first_line(0))
    hello["folder"] = "/absent/" + os.path.basename(hello["folder"])
    os.write(child.stdin.fileno(), json.dumps(hello).encode() + b"\n")
    up = threading.Thread(target=copy, args=(0, child.stdin.fileno(), rate), daemon=True)
    down = threading.Thread(target=copy, args=(child.stdout.fileno(), 1, rate), daemon=True)
    up.start()
    down.start()
    code = child.wait()
    down.join()
    return code


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)
