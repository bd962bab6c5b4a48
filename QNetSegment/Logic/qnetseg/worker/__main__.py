"""`python -m qnetseg.worker`: the worker process."""

from __future__ import annotations

from ..cores import let_waiting_threads_sleep
from .server import main

if __name__ == "__main__":
    let_waiting_threads_sleep()
    main()
