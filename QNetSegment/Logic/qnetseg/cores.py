"""How the engine shares the processor with other programs. Imports nothing heavy."""

from __future__ import annotations

import os

_QUIET = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def let_waiting_threads_sleep() -> None:
    """Call before torch is imported: threads that wait for others then sleep instead of keeping a core busy.

    Where other programs need the cores, too, threads that wait in a loop slow each other down.
    What the user has set in the environment stays. See GCC's libgomp manual, GOMP_SPINCOUNT.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
