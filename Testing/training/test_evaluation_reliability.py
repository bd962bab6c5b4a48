"""Whether a method is right in its confidence, with answers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg_lab.evaluation.whole_volume.reliability import binned, reliability, summarise_reliability
from qnetseg_lab.report.reliability_plot import reliability as section


def stacks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, mask and truth of four slices of one row of four voxels."""
    probability = np.array([[0.95, 0.95, 0.55, 0.0], [0.95, 0.15, 0.0, 0.0], [0.01] * 4, [1.0] * 4])
    truth = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    return probability[:, None].astype(np.float32), (probability > 0.5)[:, None], truth[:, None]


def test_voxels_and_slices_that_count() -> None:
    scored = np.array([True, True, True, False])  # the last slice was drawn
    found = reliability(*stacks(), {0: 0.9, 1: 0.8, 2: 1.0, 3: 1.0}, scored)
    assert found["voxels"][9] == [3, 3]
    assert found["voxels"][5] == [1, 0]
    assert found["voxels"][1] == [1, 0]
    assert sum(count for count, _ in found["voxels"]) == 5  # faint ones are nobody's doubt
    assert found["slices"] == [[0.9, 0.8], [0.8, pytest.approx(2 / 3, abs=1e-3)]]  # the empty slice is none


def test_summary() -> None:
    row = {"reliability": {"voxels": [[0, 0]] * 9 + [[20, 19]], "slices": [[0.9, 0.9], [0.5, 0.7]]}}
    sure = [[0.9, 0.9], [0.2, 0.1], [0.8, 0.8], [0.7, 0.6]]
    other = {"reliability": {"voxels": [[10, 0]] + [[0, 0]] * 9, "slices": sure}}
    found = summarise_reliability([row, other, {"reliability": None}, {}])
    assert found is not None
    assert found["voxel_error"] == pytest.approx(0.5 / 30)  # only the lowest bin is off, by 0.05 on 10 of 30
    assert found["slices"] == 6
    assert found["slice_error"] == pytest.approx(0.4 / 6)
    assert found["least_sure_hits"] == 100  # of the one result with enough slices
    assert summarise_reliability([{"reliability": None}]) is None


def test_bins_are_means() -> None:
    assert binned(np.array([[0.12, 0.3], [0.18, 0.5], [1.0, 0.9]])) == [
        [pytest.approx(0.15), pytest.approx(0.4)],
        [1.0, 0.9],
    ]


def test_report_draws_the_first_method(tmp_path) -> None:
    kept = {"voxels": [[10, 5]] * 10, "slices": [[0.9, 0.8], [0.4, 0.5]]}
    rows = [{"method": "qnet", "choice": "largest", "reliability": kept}]
    figures = {"qnet": {"reliability": summarise_reliability(rows)}, "copy": {"reliability": None}}
    result = {"protocol": "R1", "method": "qnet", "methods": ["qnet", "copy"], "dataset": "chaos"}
    result |= {"fold": None, "file": "r1.json"}
    result |= {"summary": {"largest": figures}, "rows": rows}
    text = "\n".join(section(result, tmp_path))
    assert "r1-reliability-largest.png" in text
    assert (tmp_path / "r1-reliability-largest.png").stat().st_size > 1000
    assert section({**result, "summary": {"largest": {"qnet": {}}}}, tmp_path) == []  # of an older version
