"""Works for other processes, which import this file and nothing heavy."""

from __future__ import annotations

import os
import sys


def upper(unit):
    """The unit's name in capitals."""
    return {"value": unit["query"].upper()}


def end_process(unit):
    """What the system does to a process that takes too much memory."""
    os._exit(1)


def threads(unit):
    """What torch would find when it is imported."""
    return {"threads": os.environ["OMP_NUM_THREADS"], "torch": "torch" in sys.modules}
