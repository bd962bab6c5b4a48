"""`python -m qnetseg.worker`: the worker process."""

from __future__ import annotations

from .server import main

if __name__ == "__main__":
    main()
