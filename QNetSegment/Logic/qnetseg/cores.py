"""How the engine shares the processor with other programs. Imports nothing heavy."""

from __future__ import annotations

import os

SPINS = 2000  # turns, a few microseconds: most waits are shorter; chosen with `qnetseg bench correction`
_QUIET = {"GOMP_SPINCOUNT": str(SPINS), "KMP_BLOCKTIME": "0"}


def let_waiting_threads_sleep() -> None:
    """Call before torch is imported: threads that wait for others soon sleep instead of keeping a core busy.

    Where other programs need the cores, too, threads that wait in a loop slow each other down; threads that
    fall asleep at once do so on quiet cores.
    What the user has set in the environment stays. See GCC's libgomp manual, GOMP_SPINCOUNT.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
