"""A real worker process with a fake engine."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # not done by a Python that is told to be safe

from fake_engine import segment

from qnetseg.worker.server import main

if __name__ == "__main__":
    main(segment, check=lambda: "0.0-fake")
