"""A real worker process with a fake engine."""

from __future__ import annotations

from fake_engine import segment

from qnetseg.worker.server import main

if __name__ == "__main__":
    main(segment, check=lambda: "0.0-fake")
