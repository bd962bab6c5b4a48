"""What all tests share: where the development data lie, and hypothesis without deadlines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Where every core has a process of tests, each computes on one: several would wait for each other. Set before
# torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines that run tests are shared and slow at times; the same examples every time keep a
# change's tests from failing for reasons that the change does not have.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(scope="session")
def development_data() -> Path:
    """Folder with CHAOST2, CMR and sunnybrook_cc0; skips the test on machines that lack it."""
    beside_the_project = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("QNETSEG_DATA") or beside_the_project)
    if not (folder / "CHAOST2").is_dir():
        pytest.skip(f"the development data are not in {folder}; QNETSEG_DATA names their folder")
    return folder
